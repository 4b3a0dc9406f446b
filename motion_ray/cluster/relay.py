"""How events get from a training worker to whoever started it, and a request to stop gets back.

A small actor on the driver's node holds what the driver has not fetched yet. The worker never waits
for it: one message is under way at a time and what happens meanwhile goes with the next. The
display may therefore miss steps of a flood; nothing is lost to the run, whose record is
``metrics.jsonl``.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from motion_ray.errors import MotionRayError
from motion_ray.pretraining.loop import TrainingProgress
from motion_ray.types import StepDone, TrainEvent

logger = logging.getLogger(__name__)

CAPACITY = 5000  # items kept on either side; at 20 steps a second, four minutes without a reader
SETTLE_SECONDS = (
    0.2  # what a rare event may wait so that it does not stay behind for a whole validation
)
CLOSE_SECONDS = 5.0


@dataclass(frozen=True)
class Attempt:
    """A worker has started on this run: the first time, or after a failure.

    Attributes:
        number: 1 for the first.
        host: name of the machine.
        pid: process id there.
    """

    number: int
    host: str
    pid: int


@dataclass(frozen=True)
class Notice:
    """A line for the person who watches: a warning of the library, or the end of a worker.

    Attributes:
        level: as in :mod:`logging`.
        text: one or more lines.
    """

    level: int
    text: str


@dataclass(frozen=True)
class Failure:
    """A worker of several met an error that a retry would meet again.

    Attributes:
        error: it names what is wrong.
    """

    error: MotionRayError


Item = TrainEvent | TrainingProgress | Attempt | Notice | Failure
EVERYDAY = (StepDone, TrainingProgress)  # many a second, and the next one says the same


class EventRelay:
    """The actor's state; plain Python, so that it can be used without a cluster.

    Items beyond ``CAPACITY`` push the oldest out.
    """

    def __init__(self) -> None:
        self._items: deque[Item] = deque(maxlen=CAPACITY)
        self._attempts = 0
        self._stop = False

    def begin_attempt(self, host: str, pid: int) -> int:
        """Count a worker's start and announce it; returns its number, from 1."""
        self._attempts += 1
        self._items.append(Attempt(self._attempts, host, pid))
        return self._attempts

    def push(self, items: Sequence[Item]) -> bool:
        """Take items from the worker; returns whether it should stop."""
        self._items.extend(items)
        return self._stop

    def drain(self) -> list[Item]:
        """Hand everything to the driver, oldest first."""
        items = list(self._items)
        self._items.clear()
        return items

    def request_stop(self) -> None:
        """Ask the worker to end after the step it is in."""
        self._stop = True


def start_relay() -> Any:
    """An :class:`EventRelay` actor on the node of the calling driver; returns its handle."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(EventRelay).options(num_cpus=0, scheduling_strategy=here).remote()


class EventSender:
    """The worker's end.

    Args:
        relay: handle from :func:`start_relay`.
    """

    def __init__(self, relay: Any) -> None:
        self._relay: Any | None = relay
        self._waiting: deque[Item] = deque(maxlen=CAPACITY)
        self._under_way: Any | None = None
        self._stop = False

    def announce(self) -> None:
        """Tell that this process begins, and wait until it is known."""
        if self._relay is not None:
            announced = self._relay.begin_attempt.remote(socket.gethostname(), os.getpid())
            self._arrived(announced)

    def send(self, item: Item) -> bool:
        """Pass an item on without waiting for its arrival; returns whether a stop was asked."""
        self._waiting.append(item)
        self._settle(0.0)
        self._flush()
        if not isinstance(item, EVERYDAY):
            self._settle(SETTLE_SECONDS)
            self._flush()
        return self._stop

    def close(self) -> None:
        """Send what is left, waiting a few seconds at most."""
        self._settle(CLOSE_SECONDS)
        self._flush()
        self._settle(CLOSE_SECONDS)

    def _flush(self) -> None:
        if self._relay is not None and self._under_way is None and self._waiting:
            self._under_way = self._post(self._relay, list(self._waiting))
            self._waiting.clear()

    def _post(self, relay: Any, items: list[Item]) -> Any:
        """Call the relay; returns Ray's reference to its answer, whether to stop."""
        return relay.push.remote(items)

    def _settle(self, seconds: float) -> None:
        """Look whether the message under way has arrived."""
        import ray

        if self._under_way is None:
            return
        ready, _ = ray.wait([self._under_way], timeout=seconds)
        if ready:
            self._under_way = None
            self._stop = bool(self._arrived(ready[0])) or self._stop

    def _arrived(self, message: Any) -> Any:
        """The relay's answer; null if it is gone, and then nothing more is sent."""
        import ray
        from ray.exceptions import RayError

        try:
            return ray.get(message)
        except RayError as error:
            # The run is worth finishing all the same.
            self._relay = None
            logger.warning("progress is no longer shown, training goes on: %s", error)
            return None


class _Forward(logging.Handler):
    def __init__(self, sender: EventSender) -> None:
        super().__init__(logging.WARNING)
        self._sender = sender

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != __name__:  # a failing relay must not report itself through itself
            self._sender.send(Notice(record.levelno, record.getMessage()))


@contextmanager
def forwarded_warnings(sender: EventSender) -> Iterator[None]:
    """Send the library's own warnings and errors to the driver as well, inside this block."""
    handler = _Forward(sender)
    library = logging.getLogger("motion_ray")
    library.addHandler(handler)
    try:
        yield
    finally:
        library.removeHandler(handler)
