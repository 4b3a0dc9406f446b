"""The measurements of a run, across a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from motion_ray.errors import RunFolderError
from motion_ray.locks import only_process
from motion_ray.metrics import MetricsLog


def test_a_resumed_run_goes_on_without_gap_or_repeat(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    assert log.read() == []
    for step in (1, 2, 3, 4):
        log.append({"step": step, "loss": step / 10})
    with log.path.open("a") as stream:
        stream.write('{"step": 5, "lo')  # the kill
    log.rewind(2)
    log.append({"step": 3, "loss": 0.5})
    assert [(line["step"], line["loss"]) for line in log.read()] == [(1, 0.1), (2, 0.2), (3, 0.5)]


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        only_process(tmp_path, "--work"),
        pytest.raises(RunFolderError, match="another --work"),
        only_process(tmp_path, "--work"),
    ):
        pass
    with only_process(tmp_path, "--work"):
        pass
