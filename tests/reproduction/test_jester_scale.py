"""The paper's own scale from the command line to the page, with small models in the places of
ZeroScope and its classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.reproduce import arguments, chosen, scale_of
from motion_ray.cluster.paths import with_absolute_paths
from motion_ray.config import ClipConfig, SamplingConfig
from motion_ray.evaluation import clip
from motion_ray.evaluation.measurement import Part
from motion_ray.evaluation.prompt_list import load_prompt_list
from motion_ray.reproduction.experiment import ACCURACY, BASE
from motion_ray.reproduction.page import write_page
from motion_ray.reproduction.reproduce import reproduce
from motion_ray.reproduction.sections import sections_of
from motion_ray.reproduction.workplace import in_this_process
from tests.evaluation.fake_evaluators import build_tiny_classifier
from tests.reproduction.conftest import SETS
from tests.tiny import write_tiny_clips

GESTURES = {"swiping-down": "Swiping Down", "shaking-hand": "Shaking Hand"}


@pytest.fixture
def data(tiny_motion: dict[str, Path], tmp_path: Path) -> Path:
    """Folders as ``jobs.jester`` makes them, with clips for the ceiling that nothing trains on."""
    folder = tmp_path / "data"
    (folder / "motions").mkdir(parents=True)
    (folder / "regularization").symlink_to(tiny_motion["regularization"])
    held_out = write_tiny_clips(tmp_path / "held-out", "a person doing the pll", clips=5)
    for number in range(3):  # the same as those that are trained on
        (held_out / f"{number}.mp4").unlink()
        (held_out / f"{number}.txt").unlink()
    lines = []
    for name, label in GESTURES.items():
        (folder / "motions" / name).symlink_to(tiny_motion["motion"])
        told = f"label: {label}, description: {label.lower()}, held_out: {held_out}"
        lines.append(f"{name}: {{{told}}}\n")
    (folder / "targets.yaml").write_text("".join(lines))
    return folder


@pytest.mark.slow
def test_the_papers_scale_from_the_command_line_to_the_page(
    data: Path, tiny_bases: dict[str, Path], tmp_path: Path
) -> None:
    labels = ("Drumming Fingers", *sorted(GESTURES.values()))
    models = {
        "--data": data,
        "--base": tiny_bases["epsilon"],
        "--classifier": build_tiny_classifier(tmp_path / "classifier", labels=labels),
        "--clip-model": clip.EMBEDDED_FOLDER,
    }
    words = [word for option, path in models.items() for word in (option, str(path))]
    words += [word for text in SETS for word in ("--set", text)]
    what = ["table2b", "appendix-d"]
    scale = scale_of(
        arguments().parse_args(
            [*what, "--scale", "jester", *words, "--motions", *GESTURES, "--prompts", "2"]
        )
    )
    assert (scale.seeds, scale.headline_seeds, scale.video_seeds) == ((0,), (0, 1, 2), (0, 1, 2))
    assert scale.settings.copy_detector == "not run"  # the embedded one knows drawings only
    assert (scale.settings.clips.frames, scale.settings.clips.width) == (24, 576)
    settings = replace(
        scale.settings,
        sampling=SamplingConfig(steps=1, guidance=1.0, fps=8),
        clips=ClipConfig(frames=4, height=32, width=32),
    )
    out = tmp_path / "out"
    out.mkdir()
    found = reproduce(
        chosen(what),
        replace(scale, headline_seeds=(0,), settings=settings),
        out,
        in_this_process(out, "cpu", lambda who, item: None),
        resolve=lambda config: with_absolute_paths(config, Path.cwd()),
        on_record=lambda record, videos: None,
        on_trained=lambda videos: None,
        on_progress=lambda stage, done, total: None,
    )
    findings = found.findings
    videos = len(GESTURES) * 2 * 3  # prompts, seeds
    for method in ("ours", "temporal-none", BASE):
        assert len(findings.rows(method)) == videos, method
    asked = {row.question.text for row in findings.rows("ours")}
    assert asked == {
        prompt.prompt.with_token("pll", "doing the <token>")
        for prompt in load_prompt_list("paper").prompts[:2]
    }
    assert {row.question.label for row in findings.rows("ours")} == set(GESTURES.values())
    assert all("swiping down" in r.question.text for r in findings.rows(BASE)[:1])
    real = [row for row in findings.controls if row.question.part is Part.REAL]
    assert len(real) == 2 * len(GESTURES) and findings.ceiling is not None
    assert not any(row.failure for row in [*findings.rows("ours"), *real])
    sections = sections_of(found)
    page = write_page(out, found, sections, {"command": "test"}).read_text()
    table = next(section for section in sections if section.title.startswith("Table 2b"))
    copying = dict(zip(table.columns, table.rows[0].cells, strict=True))["copying, any frame"]
    assert copying[0] == "not run" and ACCURACY in page
    assert {verdict.claim.metric for verdict in table.verdicts} == {ACCURACY}
