"""A motion without a name: every clip of it shows another gesture, composed by lot.

The base models of the paper have seen far more motions than their captions have words for, and a
customized motion can be put together from those. Improvised gestures give the small base model of
this project the same: it learns how bodies move beyond the base motions, while captions only ever
say "doing something". Shapes and units: :mod:`motion_ray.data.puppets.pose`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from motion_ray.data.puppets.pose import Beat, Pose


def improvising(beat: Beat) -> Pose:
    """Arms, and sometimes legs and trunk, each in a slow wave of its own; ``beat.style`` decides.

    The second arm does as the first, or half a cycle later, or goes its own way.
    """
    # Some numbers serve twice: which gestures there are is fixed by the shipped base model.
    (
        pace,
        elbow_lag,
        centre,
        swing,
        bend,
        lag,
        partner,
        other_centre,
        other_swing,
        other_bend,
        other_lag,
        steps,
        step_lag,
        sways,
        sway_lag,
        tilt,
    ) = (number[:, None] for number in beat.style.unbind(-1))
    turn = 2 * math.pi * beat.phase
    rate = torch.where(pace < 0.25, 2.0, 1.0)

    def wave(lag: Tensor) -> Tensor:
        return torch.sin(rate * turn + 2 * math.pi * lag)

    def arm(centre: Tensor, swing: Tensor, bend: Tensor, lag: Tensor) -> tuple[Tensor, Tensor]:
        shoulder = 0.2 + 2.3 * centre + (0.1 + 0.9 * swing) * wave(lag) * beat.amplitude
        return shoulder, -1.7 + 2.2 * bend + 0.9 * (1 - swing) * wave(lag + elbow_lag)

    left = arm(centre, swing, bend, lag)
    later = arm(centre, swing, bend, lag + 0.5)
    own = arm(other_centre, other_swing, other_bend, other_lag)
    right_shoulder, right_elbow = (
        torch.where(partner < 1 / 3, same, torch.where(partner < 2 / 3, lagging, different))
        for same, lagging, different in zip(left, later, own, strict=True)
    )
    legs = (steps < 0.4).float() * 0.5 * wave(step_lag)
    sway = (sways < 0.5).float() * wave(sway_lag)
    return Pose(
        left_shoulder=left[0],
        left_elbow=left[1],
        right_shoulder=right_shoulder,
        right_elbow=right_elbow,
        left_hip=0.15 + legs,
        left_knee=-0.5 * legs.abs(),
        right_hip=torch.where(tilt < 0.5, 0.15 + legs, 0.15 - legs),
        right_knee=-0.5 * legs.abs(),
        lean=0.3 * sway * (tilt - 0.2),
        head=0.3 * sway * (step_lag - 0.5),
        shift_x=0.15 * sway * (lag - 0.5),
        shift_y=0.1 * sway.clamp(min=0) * torch.cos(math.pi * sway_lag).clamp(min=0),
    )
