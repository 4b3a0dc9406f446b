"""One submission at a time works on a sweep whose ``--out`` is an address.

A lock of the kernel, as a local folder has, does not reach other machines. So a submission takes
the next number in ``submissions/``, which only one can, and writes a beat beside it as long as it
lives. Whoever comes later watches the last number: if it beats, that submission lives; if not, it
was killed. No clock is compared with another.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator

from motion_ray.errors import FolderBusyError, LedgerError
from motion_ray.sweeps.place import Place, open_place

log = logging.getLogger(__name__)

BEAT_SECONDS = 10.0
SILENCE_SECONDS = 3.5 * BEAT_SECONDS  # after which a submission counts as dead


@contextlib.contextmanager
def only_submission(
    uri: str, beat_seconds: float = BEAT_SECONDS, silence_seconds: float = SILENCE_SECONDS
) -> Iterator[None]:
    """Hold a sweep while the context lives. Takes :data:`SILENCE_SECONDS` after a kill.

    Args:
        uri: of the sweep.
        beat_seconds: between two signs of life.
        silence_seconds: without one, after which another submission counts as dead.

    Raises:
        FolderBusyError: another submission works on it.
        LedgerError: the storage fails.
    """
    place = open_place(uri)
    number = _last(place)
    if number and place.read(_path(number, "ended")) is None:
        _refuse_if_alive(place, number, uri, beat_seconds, silence_seconds)
    number += 1
    if not place.create(_path(number, "json"), b"{}\n"):
        raise _busy(uri)
    over = threading.Event()
    beating = threading.Thread(
        target=_beat, args=(place, number, over, beat_seconds), name="submission", daemon=True
    )
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join()
        place.create(_path(number, "ended"), b"")


def _beat(place: Place, number: int, over: threading.Event, seconds: float) -> None:
    count = 0
    while not over.is_set():
        count += 1
        try:
            place.replace(_path(number, "beat"), str(count).encode())
        except LedgerError as error:
            # The next beat tries again; if none gets through, the record cannot be written either.
            log.warning("this submission gives no sign of life: %s", error)
        over.wait(seconds)


def _refuse_if_alive(
    place: Place, number: int, uri: str, beat_seconds: float, silence_seconds: float
) -> None:
    first = place.read(_path(number, "beat"))
    deadline = time.monotonic() + silence_seconds
    while time.monotonic() < deadline:
        time.sleep(min(beat_seconds, silence_seconds) / 4)
        if place.read(_path(number, "ended")) is not None:
            return
        if place.read(_path(number, "beat")) != first:
            raise _busy(uri)


def _last(place: Place) -> int:
    names = place.names("submissions")
    return max((int(name[:6]) for name in names if name.endswith(".json")), default=0)


def _path(number: int, ending: str) -> str:
    return f"submissions/{number:06d}.{ending}"


def _busy(uri: str) -> FolderBusyError:
    rule = "another submission works on this sweep"
    return FolderBusyError(uri, rule, "wait for it, or choose another --out")
