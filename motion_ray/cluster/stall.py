"""A trial that hangs, as the desk tells of it; apart from what ends it, which needs Ray."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stall:
    """A process that shows no sign of progress.

    Attributes:
        node: Ray's id of its node.
        pid: its process id there.
    """

    node: str
    pid: int
