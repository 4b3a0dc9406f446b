"""Motions that are to stay in memory, kept in a file: they outlive replicas and the router."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from motion_ray.errors import StoreError
from motion_ray.files import write_bytes_atomic
from motion_ray.manifest import canonical_json
from motion_ray.serving.pool import Level
from motion_ray.store import DeltaRecord


class Pin(BaseModel):
    """One motion that is to stay."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: DeltaRecord
    level: Level = Field(description="how near")
    replicas: int = Field(ge=1, description="in so many of them, or in all if there are fewer")


class PinFile:
    """The file; of one process at a time, safe for its threads.

    Args:
        path: made by the first :meth:`put`.

    Raises:
        StoreError: it cannot be read, or is no such file.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._pins: dict[str, Pin] = {}
        self._lock = threading.Lock()
        if self._path.exists():
            try:
                pins = [Pin.model_validate(each) for each in json.loads(self._path.read_bytes())]
            except (OSError, ValueError, TypeError, ValidationError) as fault:
                rule = "is not a file of pinned motions"
                raise StoreError(f"{self._path}", rule, "remove it, and pin them again") from fault
            self._pins = {pin.record.sha256: pin for pin in pins}

    @property
    def pins(self) -> Sequence[Pin]:
        """All of them."""
        return list(self._pins.values())

    def put(self, pin: Pin) -> None:
        """Add one, in place of an earlier one for the same version.

        Raises:
            StoreError: it cannot be written.
        """
        with self._lock:
            self._write({**self._pins, pin.record.sha256: pin})

    def remove(self, record: DeltaRecord) -> None:
        """Let one go; nothing happens if it is not there.

        Raises:
            StoreError: it cannot be written.
        """
        with self._lock:
            if record.sha256 in self._pins:
                self._write({key: pin for key, pin in self._pins.items() if key != record.sha256})

    def _write(self, pins: dict[str, Pin]) -> None:
        text = canonical_json([pin.model_dump(mode="json") for pin in pins.values()])
        write_bytes_atomic(self._path, text.encode(), StoreError)
        self._pins = pins
