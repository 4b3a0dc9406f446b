"""Trials and results as the record of a sweep holds them; nothing is behind their paths."""

from __future__ import annotations

import hashlib
from typing import Any

from motion_ray.recipes.puppet import puppet
from motion_ray.sweeps.trial import Trial
from motion_ray.types import RunFinished


def trial(number: int, motion: str = "waving", **settings: Any) -> Trial:
    config = puppet().replace({"motion": f"clips/{motion}", "seed": number})
    identity = hashlib.sha256(f"{number} {motion}".encode()).hexdigest()
    return Trial(identity, motion, settings or {"seed": number}, config)


def result(step: int = 400, delta_step: int | None = None, motion: str = "waving") -> RunFinished:
    return RunFinished(
        step=step,
        delta_step=step if delta_step is None else delta_step,
        reason="max_steps" if delta_step is None else "appearance_floor",
        delta=f"{motion}@1",
        store="runs/store",
        report="runs/report.html",
        sha256="ab" * 32,
        extra={"appearance": 0.78, "base_appearance": 0.8},
    )
