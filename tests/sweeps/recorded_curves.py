"""Courses of real runs: the embedded model learns dabbing at several learning rates.

160 steps of the recipe ``puppet`` on one core, batch 4, a validation every 20 steps on four prompts
with eight denoising steps. Losses on D^m are of single steps, as the trainer reports them.
"""

from __future__ import annotations

import json
from pathlib import Path

from motion_ray.sweeps.curves import Curve, Scored

FILE = Path(__file__).parent / "recorded" / "dabbing.json"


def recorded(upto: int = 160) -> dict[str, Curve]:
    """Name of a run to its course, as it was known at a step."""
    curves = {}
    for name, run in json.loads(FILE.read_text()).items():
        losses = {step: loss for step, loss in enumerate(run["losses"], 1) if loss is not None}
        curves[name] = Curve(
            trial=name,
            yardstick="dabbing",
            draws=f"dabbing, seed {run['seed']}",
            max_steps=run["max_steps"],
            scored=tuple(Scored(*each) for each in run["validations"] if each[0] <= upto),
            losses={step: loss for step, loss in losses.items() if step <= upto},
        )
    return curves
