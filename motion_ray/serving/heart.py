"""Signs of life of a running job, from a thread of their own: generation never waits for a disk."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

from motion_ray.errors import JobStoreError
from motion_ray.serving.job_store import JobStore
from motion_ray.serving.jobs import Claim
from motion_ray.serving.logs import about

log = logging.getLogger(__name__)

LOOK_S = 0.5  # seconds between two looks whether the job was cancelled, while no step ends
PACE_S = 0.1  # seconds at least between two looks, which cost no write
END_S = 5.0  # seconds to wait for the thread
WRITE_S = 1.0  # seconds at least between two reports of progress, each of them a durable write


class Heart:
    """Renews a claim and reports progress while its context lives.

    Args:
        store: that the job is in.
        claim: to renew.
        lease_s: seconds that a sign of life is good for.
        stall_s: seconds without progress after which the work counts as hung: a thread that waits
            for a dead disk cannot be stopped, but its job is not to be kept from others.
        hung: called then.
        since: when the claim was asked for, in monotonic seconds; null: now.

    Attributes:
        cancelling: somebody asked for the job to be cancelled.
    """

    def __init__(
        self,
        store: JobStore,
        claim: Claim,
        lease_s: float,
        stall_s: float = math.inf,
        hung: Callable[[], None] | None = None,
        since: float | None = None,
    ) -> None:
        self._store, self._claim, self._lease_s = store, claim, lease_s
        self._stall_s, self._hung = stall_s, hung
        self._moved = time.monotonic()
        # Not when the answer came: the store's clock ran meanwhile.
        self._renewed = self._moved if since is None else since
        self._lost = self.cancelling = False
        self._progress = (0, 0)
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heart", daemon=True)

    def __enter__(self) -> Heart:
        self._thread.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self._stop.set()
        self._wake.set()
        # Not for ever: it may be asking a store that does not answer. What it hears then is late.
        self._thread.join(END_S)

    @property
    def lost(self) -> bool:
        """Whether the claim no longer holds, so that the work is for nobody; once and for all.

        By our own clock too: a store that does not answer cannot say so.
        """
        if time.monotonic() - self._renewed > self._lease_s:
            self._lost = True  # whoever finds the claim run out will start the job anew
        return self._lost

    def step(self, done: int, total: int) -> None:
        """A denoising step has ended."""
        self._progress = (done, total)
        self.moved()
        self._wake.set()

    def moved(self) -> None:
        """Another stage of the work has begun."""
        self._moved = time.monotonic()

    def _beat(self) -> None:
        with about(job=self._claim.job):
            self._renew()

    def _renew(self) -> None:
        renew_s = self._lease_s / 4
        told = (0, 0)
        while True:
            self._wake.wait(min(LOOK_S, renew_s))
            self._wake.clear()
            if self._stop.is_set():  # after the clearing, which may have undone the end's wake
                return
            now, progress = time.monotonic(), self._progress
            if now - self._moved > self._stall_s:
                log.error("no progress for %g seconds: the job is left to others", self._stall_s)
                self._lost = True
                if self._hung is not None:
                    self._hung()
                return
            if self.lost:  # whoever works may hang nevertheless
                continue
            # The first step says that it has begun, the last one that only decoding is left.
            news = progress != told and (told == (0, 0) or progress[0] == progress[1])
            pause = renew_s if progress == told else min(WRITE_S, renew_s)
            try:
                renewing = news or now - self._renewed >= pause
                if renewing:
                    answer = self._store.beat(self._claim, self._lease_s, *progress)
                else:
                    answer = self._store.look(self._claim)
            except JobStoreError as fault:
                log.warning("no sign of life: %s", fault)
            else:
                self.cancelling = answer.cancelling
                # Also if it came late: who has asked meanwhile was told that the claim is lost.
                if self.lost or not answer.held:
                    self._lost = True
                elif renewing:
                    self._renewed, told = now, progress
            self._stop.wait(PACE_S)
