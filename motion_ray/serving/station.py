"""A replica's end of the line to the router: follows its orders and reports how things are."""

from __future__ import annotations

import functools
import logging
import threading
from dataclasses import replace

from motion_ray.errors import MotionRayError
from motion_ray.serving.keyed_executor import KeyedExecutor, Wait
from motion_ray.serving.logs import about
from motion_ray.serving.orders import (
    Hold,
    LetGo,
    Order,
    Orders,
    Outcome,
    Report,
    Run,
    Unload,
    Unpin,
)
from motion_ray.serving.pool import MotionPool
from motion_ray.serving.replica import Replica
from motion_ray.serving.tier import TierStatistics

log = logging.getLogger(__name__)


class Station:
    """See the top of this file. Safe for threads.

    Args:
        name: of the replica.
        replica: takes the jobs.
        pool: holds the motions.
        queue: jobs that may wait in the replica.
    """

    def __init__(self, name: str, replica: Replica, pool: MotionPool, queue: int) -> None:
        self._name, self._replica, self._pool, self._queue = name, replica, pool, queue
        self._following = threading.Lock()  # one answer at a time
        self._lock = threading.Lock()  # guards what follows
        self._epoch, self._seen, self._serial = "", 0, 0
        self._outcomes: list[Outcome] = []
        # Loads take seconds: not in the way of jobs. One at a time, or they would find no room
        # beside each other. Waiting for a lease to end takes minutes: not in the way of loads.
        self._motions = KeyedExecutor("motions")

    def report(self, *, ready: bool = True) -> Report:
        """How things are."""
        with self._lock:
            # First: a job of an order that counts as seen and is not listed would count as ended.
            self._serial += 1
            serial, epoch, seen = self._serial, self._epoch, self._seen
            outcomes = tuple(self._outcomes)
        jobs = self._replica.jobs()
        queued, wait_s = self._replica.load()
        pool = self._pool.statistics()
        return Report(
            replica=self._name,
            serial=serial,
            ready=ready and not self._replica.sick,
            epoch=epoch,
            seen=seen,
            jobs=jobs,
            queued=queued,
            room=max(0, self._queue - queued),
            wait_s=wait_s,
            job_s=self._replica.job_s,
            load_s=(_mean_s(pool.device), _mean_s(pool.device) + _mean_s(pool.host)),
            residency=self._pool.residency(),
            pinned=self._pool.pinned(),
            pool=pool,
            outcomes=outcomes,
        )

    @property
    def sick(self) -> bool:
        """See :attr:`motion_ray.serving.replica.Replica.sick`."""
        return self._replica.sick

    def jobs(self) -> frozenset[str]:
        """Everything that waits or runs in the replica, or is being written."""
        return self._replica.jobs()

    def follow(self, orders: Orders, answered: Report) -> None:
        """Follow what is new in an answer to a report.

        Args:
            orders: may hold some that were followed already.
            answered: the report; its outcomes have arrived.
        """
        with self._following:
            with self._lock:
                told = {outcome.number for outcome in answered.outcomes}
                self._outcomes = [each for each in self._outcomes if each.number not in told]
                if orders.epoch != self._epoch:
                    self._epoch, self._seen, self._outcomes = orders.epoch, 0, []
                new = [pair for pair in orders.numbered if pair[0] > self._seen]
            for number, order in new:
                try:
                    self._follow(number, order)
                except Exception:  # or this order would come again, and none after it be followed
                    log.exception("could not follow order %d", number)
                    if isinstance(order, (Hold, Unpin, Unload)):
                        outcome = Outcome(number, False, _unforeseen(order))
                        self._answer(self._epoch, outcome)
                with self._lock:
                    self._seen = number

    def close(self) -> None:
        """Take no more orders about motions; those that wait are dropped."""
        self._motions.close()

    def _follow(self, number: int, order: Order) -> None:
        if isinstance(order, Run):
            self._run(order)
        elif isinstance(order, LetGo):
            self._replica.cancel(order.job)
        else:
            act = functools.partial(self._about_motion, self._epoch, number, order)
            self._motions.submit(order.record.sha256, act)

    def _run(self, order: Run) -> None:
        with about(job=order.job.id):
            try:
                self._replica.submit(order.job)
            except MotionRayError as fault:
                # The job has failed, or is queued still and will be handed out again.
                log.info("%s was not taken on: %s", order.job.id, fault)
            except (ValueError, RuntimeError) as fault:  # here already; or the replica is closing
                log.info("%s was not taken on: %s", order.job.id, fault)

    def _about_motion(self, epoch: str, number: int, order: Hold | Unpin | Unload) -> Wait | None:
        """Follow an order and answer it, or return what is left to wait for before that."""
        waits = isinstance(order, Unload) and order.wait_s > 0
        outcome = self._outcome(number, replace(order, wait_s=0.0) if waits else order)
        if waits and not outcome.done and outcome.fault is None:
            return lambda: self._answer(epoch, self._outcome(number, order))
        self._answer(epoch, outcome)
        return None

    def _outcome(self, number: int, order: Hold | Unpin | Unload) -> Outcome:
        try:
            return Outcome(number, self._move(order))
        except MotionRayError as known:
            return Outcome(number, False, known)
        except Exception:  # a thread's exception would be lost
            log.exception("could not follow %s", order)
            return Outcome(number, False, _unforeseen(order))

    def _answer(self, epoch: str, outcome: Outcome) -> None:
        with self._lock:
            if epoch == self._epoch:
                self._outcomes.append(outcome)

    def _move(self, order: Hold | Unpin | Unload) -> bool:
        if isinstance(order, Unload):
            return self._pool.unload(order.record, order.wait_s)
        if isinstance(order, Unpin):
            self._pool.unpin(order.record)
        elif order.pinned:
            self._pool.pin(order.record, order.level)
        else:
            self._pool.load(order.record, order.level)
        return True


def _unforeseen(order: Hold | Unpin | Unload) -> MotionRayError:
    return MotionRayError(order.record.reference, "the replica could not do that")


def _mean_s(tier: TierStatistics) -> float:
    """Seconds of a load of this tier, from those there were."""
    return tier.seconds / tier.loads if tier.loads else 0.0
