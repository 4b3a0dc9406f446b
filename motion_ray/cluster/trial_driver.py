"""A trial as Ray Tune sees it: light, without resources of its own, on the head node.

It has its trial run by the next free slot and reports what the desk knows. Killed, it is started
again by Tune and finds the trial running, or done.

A driver that ends says nothing about its trial: Tune starts a second one for a trial when the first
was killed, gives the trial to a third that has just become free, and ends the second. Who ends a
trial early, tells the desk so (:mod:`motion_ray.cluster.policy`).
"""

from __future__ import annotations

import time
from typing import Any

import ray
import ray.tune
from ray.tune.result import DONE

from motion_ray.cluster.glance import Glance
from motion_ray.cluster.patience import Patience
from motion_ray.sweeps.status import TrialState

LOOK_SECONDS = 0.25
REPORT_SECONDS = 5.0  # without a new validation
IDENTITY = "identity"


class TrialDriver(ray.tune.Trainable):
    """One trial: posts it, reports step, loss and appearance, and ends when its record does."""

    def setup(self, config: dict[str, Any], desk: Any = None) -> None:
        """See :class:`ray.tune.Trainable`.

        Args:
            config: has the trial's identity.
            desk: handle of the :class:`~motion_ray.cluster.desk.SweepDesk`.
        """
        self._desk = desk
        self._begin(config[IDENTITY])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go on with another trial in the same process."""
        self._begin(new_config[IDENTITY])
        return True

    def step(self) -> dict[str, Any]:
        """Wait for something to tell.

        Raises:
            LedgerError: the record has not been usable for
                :data:`~motion_ray.cluster.patience.PATIENCE_SECONDS`.
        """
        deadline = time.monotonic() + REPORT_SECONDS
        while True:
            with self._patience:
                glance: Glance = ray.get(self._desk.look.remote(self._identity))
                over = glance.status.state.over
                if over or glance.appearance != self._appearance or time.monotonic() > deadline:
                    self._appearance = glance.appearance
                    return _metrics(glance)
            time.sleep(LOOK_SECONDS)

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing to save: the record of a trial is the ledger, its state the run folder."""
        return {}

    def load_checkpoint(self, checkpoint: Any) -> None:
        """See :meth:`save_checkpoint`."""

    def _begin(self, identity: str) -> None:
        self._identity, self._appearance = identity, None
        self._patience = Patience(f"trial {identity[:12]} cannot be looked at now")
        while True:
            with self._patience:
                ray.get(self._desk.post.remote(identity))
                return
            time.sleep(LOOK_SECONDS)


def _metrics(glance: Glance) -> dict[str, Any]:
    return {
        "step": glance.step,
        "loss": glance.loss,
        "appearance": glance.appearance,
        "state": str(glance.status.state),
        "finished": glance.status.state is TrialState.FINISHED,
        DONE: glance.status.state.over,
    }
