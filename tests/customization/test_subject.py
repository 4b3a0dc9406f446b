"""A subject from pictures: one frame a clip, keys, values and a token; it composes with a motion
(paper section 3.2, "Customizing appearance and motion")."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.customization.delta import TOKEN_EMBEDDING
from motion_ray.customization.loop import customize
from motion_ray.customization.swap import alone_on, exchanged
from motion_ray.errors import DataError
from motion_ray.recipes import RECIPES
from motion_ray.serving.blending import blend, plan_blend
from motion_ray.serving.mix import Part
from motion_ray.store import DeltaStore
from motion_ray.types import RunStarted


@pytest.fixture
def pictures(tmp_path):
    """A folder of three pictures of a subject."""
    folder = tmp_path / "cat"
    folder.mkdir()
    for number, suffix in enumerate(("jpg", "png", "jpeg")):
        Image.new("RGB", (40, 32), (80 * number, 40, 200)).save(folder / f"view{number}.{suffix}")
    (folder / "motion.yaml").write_text(
        "pictures: true\ntoken: sks\ntemplate: a <token> person\nname: cat\n"
    )
    return folder


@pytest.fixture
def subject(tiny_run, pictures):
    recipe = RECIPES["paper-subject"]().model_dump(
        mode="json", include={"groups", "train_token", "density", "validation", "recipe"}
    )
    return tiny_run.replace(
        {
            **recipe,
            "motion": str(pictures),
            "clips": {"frames": 1},
            "regularization": {"source": "none", "folder": None},
        }
    )


def test_pictures_teach_a_subject(subject, tmp_path):
    events = list(customize(subject, tmp_path / "run", device="cpu"))
    started = next(event for event in events if isinstance(event, RunStarted))
    assert started.motion_clips == 3
    delta = DeltaStore(events[-1].store).load(events[-1].delta)
    backbone = load_backbone(subject.base, "cpu")
    names = {n for n, _ in backbone.denoiser.named_parameters()}
    assert set(delta.tensors) == {TOKEN_EMBEDDING} | {
        name for name in names if backbone.group_of(name) in subject.groups
    }
    page = (tmp_path / "run" / "report.html").read_text()
    assert "a sks person smiling" in page.replace("<mark>", "").replace("</mark>", "")


def test_pictures_are_clips_only_where_the_folder_says_so(subject, pictures, tmp_path):
    (pictures / "motion.yaml").write_text("token: sks\ntemplate: a <token> person\n")
    with pytest.raises(DataError, match=r"holds no clips; .*pictures: true in motion\.yaml"):
        list(customize(subject, tmp_path / "run", device="cpu"))


def test_a_picture_is_no_clip_of_several_frames(subject, tmp_path):
    longer = subject.replace({"clips": {"frames": 4}})
    with pytest.raises(DataError, match="needs 4 frames"):
        list(customize(longer, tmp_path / "run", device="cpu"))


def test_a_subject_composes_with_a_motion(subject, tiny_run, tmp_path):
    """Where both changed a parameter, the changes add up; elsewhere each one's values are used."""
    store = DeltaStore(tmp_path / "store")
    references = []
    for name, config in (("motion", tiny_run), ("subject", subject)):
        out = tmp_path / name
        *_, finished = customize(config, out, store=str(tmp_path / "store"), device="cpu")
        references.append(finished.delta)
    motion, cat = deltas = [store.load(reference) for reference in references]
    parts = [Part(store.resolve(reference), 1.0) for reference in references]
    backbone = load_backbone(tiny_run.base, "cpu")
    parameters = dict(backbone.denoiser.named_parameters())
    base = {name: p.data.clone() for name, p in parameters.items()}
    plan = plan_blend(parts, deltas)
    assert set(plan.summed) == set(cat.parameters)  # all of them are the motion's as well
    prepared = blend(plan, parts, deltas, base, "test")
    values = {n: motion.tensors[n] for n in plan.borrowed[0]} | dict(prepared.values)
    text = backbone.encode_text(["a sks person doing the pll", "a person doing the pll"])
    with (
        alone_on(backbone.denoiser, "test", "both"),
        exchanged(backbone, values, prepared.rows, "test", parameters),
    ):
        now = {name: p.data.clone() for name, p in backbone.denoiser.named_parameters()}
        both = backbone.encode_text(["a sks person doing the pll", "a person doing the pll"])
    for name in plan.summed:
        expected = motion.tensors[name] + cat.tensors[name] - base[name]
        torch.testing.assert_close(now[name], expected, rtol=0, atol=1e-6)
    assert all(torch.equal(now[name], motion.tensors[name]) for name in plan.borrowed[0])
    assert not torch.allclose(both[0], text[0])  # X* is the subject's
    torch.testing.assert_close(both[1], text[1])  # and V* is as the base has it
