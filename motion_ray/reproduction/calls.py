"""Which calls of the command made a reproduction, on what and for how long.

A reproduction may take several calls, on several machines. ``calls.jsonl`` has a line for each that
trained or measured something and ended by itself or by Ctrl-C; one that was killed has none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from motion_ray.metrics import MetricsLog

CALLS = "calls.jsonl"


@dataclass(frozen=True)
class Call:
    """One call.

    Attributes:
        command: as it was given.
        commit: of the code.
        device: in words.
        date: when it ended.
        minutes: it took.
    """

    command: str
    commit: str
    device: str
    date: str
    minutes: float


def remember(root: Path, call: Call, results: str) -> None:
    """Add a call to the list of a reproduction.

    Args:
        root: of the reproduction.
        call: that ends.
        results: as for :func:`recall`.
    """
    log = MetricsLog(root / CALLS)
    if not log.path.exists():
        for earlier in recall(root, results):
            log.append(asdict(earlier))
    log.append(asdict(call))


def recall(root: Path, results: str) -> list[Call]:
    """The calls of a reproduction, oldest first.

    Args:
        root: of the reproduction.
        results: name of the file of numbers; one that was written before calls were listed tells of
            its own.
    """
    found = [Call(**line) for line in MetricsLog(root / CALLS).read()]
    if found or not (root / results).is_file():
        return found
    facts = json.loads((root / results).read_text(encoding="utf-8"))["facts"]
    minutes = float(str(facts.get("time of this call", "0")).split()[0])
    return [Call(facts["command"], facts["commit"], facts["device"], facts["date"], minutes)]


def facts_of(calls: Sequence[Call]) -> dict[str, str]:
    """What a report says of its making; several calls are told as one.

    Args:
        calls: at least one.
    """
    each = {name: dict.fromkeys(getattr(call, name) for call in calls) for name in FACTS}
    minutes = sum(call.minutes for call in calls)
    times = f"{minutes:.0f} minutes" + (f" in {len(calls)} calls" if len(calls) > 1 else "")
    return {**{name: "; ".join(values) for name, values in each.items()}, "time": times}


FACTS = ("command", "commit", "device", "date")
