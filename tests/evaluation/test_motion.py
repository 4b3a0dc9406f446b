"""Loading motion classifiers, and that their frames are prepared as transformers does it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import VideoMAEImageProcessor, VivitImageProcessor, VJEPA2VideoProcessor

from motion_ray.errors import BaseModelError
from motion_ray.evaluation.motion import load_motion_classifier, own_accuracy, preprocessor_of
from motion_ray.evaluation.motion_input import evenly, read_preparation
from motion_ray.evaluation.statistics import Share
from motion_ray.manifest import sha256_of
from tests.evaluation.fake_evaluators import PREPROCESSOR, SIDE, build_tiny_classifier


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_tiny_classifier(tmp_path / "classifier", labels=("waving", "walking", "bowing"))


def videos(n: int, f: int, h: int = 48, w: int = 80, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, f, 3, 6, 10, generator=generator).flatten(0, 1)
    smooth = torch.nn.functional.interpolate(coarse, (h, w), mode="bilinear")
    return (smooth * 255).byte().unflatten(0, (n, f))


@pytest.mark.parametrize("kind", ["videomae", "timesformer", "vivit", "vjepa2"])
def test_every_allowed_class_loads_and_gives_probabilities(kind: str, tmp_path: Path) -> None:
    built = build_tiny_classifier(tmp_path / kind, kind, labels=("a", "b", "c"))
    classifier = load_motion_classifier(str(built))
    chances = classifier.probabilities(videos(3, 9))
    assert classifier.labels == ("a", "b", "c") and chances.shape == (3, 3)
    assert torch.allclose(chances.sum(1), torch.ones(3), atol=1e-5)
    assert classifier.sha256 == sha256_of(built / "model.safetensors")
    assert classifier.name == str(built) and not classifier.model.training


def test_a_video_does_not_depend_on_its_batch(folder: Path) -> None:
    classifier = load_motion_classifier(str(folder))
    some = videos(20, 4)
    together = classifier.probabilities(some)
    alone = torch.cat([classifier.probabilities(one[None]) for one in some])
    assert torch.allclose(together, alone, atol=1e-5)


def test_the_order_of_frames_reaches_the_model(folder: Path) -> None:
    classifier = load_motion_classifier(str(folder))
    some = videos(2, 4)
    assert not torch.allclose(
        classifier.probabilities(some), classifier.probabilities(some.flip(1)), atol=1e-4
    )


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(1, 4, 3, 8, 8),
        torch.zeros(4, 3, 8, 8, dtype=torch.uint8),
        torch.zeros(0, 4, 3, 8, 8, dtype=torch.uint8),
    ],
)
def test_videos_of_another_form_are_refused(folder: Path, wrong: Tensor) -> None:
    with pytest.raises(ValueError, match="videos"):
        load_motion_classifier(str(folder)).probabilities(wrong)


# --- preparation ----------------------------------------------------------------------------------


def test_frames_are_taken_evenly() -> None:
    assert evenly(8, 8).tolist() == list(range(8))
    assert evenly(24, 8).tolist() == [1, 4, 7, 10, 13, 16, 19, 22]
    assert evenly(2, 4).tolist() == [0, 0, 1, 1]


def test_pictures_are_prepared_as_by_transformers(tmp_path: Path) -> None:
    """VideoMAE's own processor on the same file and clip; it also serves TimeSformer."""
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(PREPROCESSOR))
    some = videos(2, 4)
    ours = read_preparation(path, 4, (SIDE, SIDE))(some)
    processor = VideoMAEImageProcessor(**PREPROCESSOR)
    theirs = processor([list(video) for video in some], return_tensors="pt")["pixel_values"]
    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_an_offset_is_prepared_as_by_transformers(tmp_path: Path) -> None:
    """ViViT's own processor; it resizes with PIL, which rounds by itself, hence the tolerance."""
    values = {**PREPROCESSOR, "offset": True, "rescale_factor": 1 / 127.5}
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(values))
    some = videos(1, 4)
    ours = read_preparation(path, 4, (SIDE, SIDE))(some)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the processor, about the frames' own types
        frames = [frame.permute(1, 2, 0).numpy() for frame in some[0]]
        theirs = VivitImageProcessor(**values)(frames, return_tensors="pt")["pixel_values"]
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 2.5 / 127.5 / 0.224


def test_videos_are_prepared_as_by_the_processor_of_v_jepa_2(tmp_path: Path) -> None:
    processor = VJEPA2VideoProcessor(crop_size=SIDE)
    processor.save_pretrained(tmp_path)
    some = videos(2, 4)
    ours = read_preparation(preprocessor_of(tmp_path), 4, (SIDE, SIDE))(some)
    theirs = processor(list(some), return_tensors="pt")["pixel_values_videos"]
    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_a_folder_says_how_good_its_classifier_is(folder: Path) -> None:
    assert own_accuracy("puppet") == own_accuracy(str(folder)) == ""
    (folder / "accuracy.json").write_text(json.dumps(Share(93, 100).to_dict()))
    assert own_accuracy(str(folder)) == str(Share(93, 100)) and "93" in str(Share(93, 100))
    (folder / "accuracy.json").write_text('{"right": "many"}')
    with pytest.raises(BaseModelError, match=r"accuracy\.json: does not say right and of"):
        own_accuracy(str(folder))


def test_a_file_that_leads_to_another_size_is_refused(folder: Path) -> None:
    values = {**PREPROCESSOR, "crop_size": {"height": 16, "width": 16}}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    with pytest.raises(BaseModelError, match="16 x 16, the model takes 32 x 32"):
        load_motion_classifier(str(folder))


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_refused() -> None:
    with pytest.raises(BaseModelError, match="no such folder") as error:
        load_motion_classifier("no/such/folder")
    assert "'puppet'" in error.value.fix


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BaseModelError, match=f"{name}.*missing"):
        load_motion_classifier(str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["BertModel"]}, "a class that is not allowed"),
        ({"architectures": None}, "names no class"),
        ({"auto_map": {"AutoModel": "x.Y"}}, "code of its own"),
        ({"id2label": {"0": "a", "2": "b", "3": "c"}}, "does not name each class"),
        ({"num_frames": None}, "num_frames"),
        ({"hidden_size": 32}, "does not fit|cannot load"),
    ],
)
def test_a_config_that_must_not_load_is_refused(
    folder: Path, change: dict[str, object], message: str
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(BaseModelError, match=message) as error:
        load_motion_classifier(str(folder))
    assert "\n" not in str(error.value)


def test_weights_that_are_not_in_the_file_are_not_made_up(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseModelError, match=r"classifier\.weight"):
        load_motion_classifier(str(folder))


@pytest.mark.parametrize("content", ["{", "[]"])
def test_an_unreadable_config_is_refused(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(BaseModelError, match="JSON"):
        load_motion_classifier(str(folder))
