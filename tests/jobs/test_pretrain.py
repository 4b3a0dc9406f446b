"""jobs/pretrain.py from the command line to a folder that loads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jobs.pretrain import main
from motion_ray.evaluation.clip import load_image_text_encoder

TINY = ["scenes=8", "steps=2", "batch=8", "checkpoint_every=1", "warmup=1"]


@pytest.mark.slow
def test_the_clip_stage_writes_a_folder_that_loads_with_its_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--stage", "clip", "--out", str(tmp_path / "clip"), "--threads", "1"]
    line += ["--test-scenes", "6"]
    line += [word for change in TINY for word in ("--set", change)]
    before = torch.get_num_threads()
    try:
        assert main(line) == 0
        shown = capsys.readouterr().out
        assert "zero-shot accuracy" in shown and "steps=2" in shown
        encoder = load_image_text_encoder(str(tmp_path / "clip"))
        assert encoder.encode_texts(["a robot"]).shape == (1, 96)
        assert main(line) == 2  # the folder is there already
        assert "is there already" in capsys.readouterr().err
    finally:
        torch.set_num_threads(before)


def test_an_unknown_setting_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--stage", "clip", "--out", str(tmp_path / "clip"), "--set", "stepz=1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --set stepz") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
