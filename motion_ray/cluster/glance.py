"""What the driver of a trial gets to see of it.

Apart from the desk that shows it: drivers are many, on one node, and start without PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass

from motion_ray.sweeps.status import TrialStatus


@dataclass(frozen=True)
class Glance:
    """What a trial's driver sees of it.

    Attributes:
        status: as in the ledger.
        step: of the attempt that runs, or ran last.
        loss: smoothed, on the motion.
        appearance: last validated.
    """

    status: TrialStatus
    step: int
    loss: float | None
    appearance: float | None
