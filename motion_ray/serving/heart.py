"""Signs of life of a running job, from a thread of their own: generation never waits for a disk."""

from __future__ import annotations

import logging
import threading
import time

from motion_ray.errors import JobStoreError
from motion_ray.serving.job_store import JobStore
from motion_ray.serving.jobs import Claim
from motion_ray.serving.logs import about

log = logging.getLogger(__name__)

LOOK_S = 0.5  # seconds between two looks whether the job was cancelled, while no step ends
PACE_S = 0.1  # seconds at least between two signs of life


class Heart:
    """Renews a claim and reports progress while its context lives.

    Args:
        store: that the job is in.
        claim: to renew.
        lease_s: seconds that a sign of life is good for.

    Attributes:
        lost: the claim no longer holds, so the work is for nobody.
        cancelling: somebody asked for the job to be cancelled.
    """

    def __init__(self, store: JobStore, claim: Claim, lease_s: float) -> None:
        self._store, self._claim, self._lease_s = store, claim, lease_s
        self.lost = self.cancelling = False
        self._progress = (0, 0)
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heart", daemon=True)

    def __enter__(self) -> Heart:
        self._thread.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def step(self, done: int, total: int) -> None:
        """A denoising step has ended."""
        self._progress = (done, total)
        self._wake.set()

    def _beat(self) -> None:
        with about(job=self._claim.job):
            self._renew()

    def _renew(self) -> None:
        renewed = time.monotonic()
        while not self._stop.is_set():
            self._wake.clear()
            done, total = self._progress
            try:
                answer = self._store.beat(self._claim, self._lease_s, done, total)
            except JobStoreError as fault:
                log.warning("no sign of life: %s", fault)
                # Whoever finds the claim run out will start the job anew.
                self.lost = time.monotonic() - renewed > self._lease_s
            else:
                renewed = time.monotonic()
                self.lost, self.cancelling = not answer.held, answer.cancelling
            if self.lost:
                return
            self._stop.wait(PACE_S)
            self._wake.wait(min(LOOK_S, self._lease_s / 3))
