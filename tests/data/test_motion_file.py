"""``motion.yaml`` that the YAML reader itself cannot make sense of."""

from __future__ import annotations

from pathlib import Path

import pytest

from motion_ray.data.motion_file import MOTION_FILE, MotionFile, read_motion_file


@pytest.mark.parametrize("text", ["name: 2024-02-30", f"clips: {'[' * 5000}"])
def test_what_yaml_stumbles_over_is_told_like_any_mistake(tmp_path: Path, text: str) -> None:
    (tmp_path / MOTION_FILE).write_text(text)
    told: list[tuple[str | Path, str, str]] = []
    found = read_motion_file(tmp_path, lambda *problem: told.append(problem))
    assert found == MotionFile()
    assert told == [(tmp_path / MOTION_FILE, "is no valid YAML", "for example token: pll")]
