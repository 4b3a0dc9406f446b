"""Which calls of the command made a reproduction, on what and for how long.

A reproduction may take several calls, on several machines. ``calls.jsonl`` has a line for each that
trained or measured something: one when it begins to train, and one with its time when it ends, by
itself or by Ctrl-C. A call that was killed has the first alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from motion_ray.metrics import MetricsLog

CALLS = "calls.jsonl"
_PLACED = r"--(?:out|publish|known|address)"
PLACES = re.compile(rf" (?:--(?:plain|so-far)\b|{_PLACED}[ =](?:'[^']*'|\S+)|'{_PLACED}=[^']*')")
FACTS = ("command", "commit", "device", "date")


@dataclass(frozen=True)
class Call:
    """One call.

    Attributes:
        command: as it was given.
        commit: of the code.
        device: in words.
        date: when it began.
        began: the same to the second.
        minutes: it took; null of one that was killed, or has not ended.
    """

    command: str
    commit: str
    device: str
    date: str
    began: str
    minutes: float | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What tells calls apart: two may begin in the same second, on other motions."""
        return self.began, without_places(self.command)


def remember(root: Path, call: Call, results: str) -> None:
    """Add a call to the list of a reproduction, or say how it ended.

    Args:
        root: of the reproduction.
        call: that begins or ends.
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
    found: dict[tuple[str, str], Call] = {}
    for number, line in enumerate(MetricsLog(root / CALLS).read()):
        call = Call(**{"began": f"{line['date']} {number}", **line})  # once it was not noted
        found[call.key] = call  # how it ended replaces how it began
    if found or not (root / results).is_file():
        return list(found.values())
    facts = json.loads((root / results).read_text(encoding="utf-8"))["facts"]
    told = {name: str(facts.get(name, "unknown")) for name in FACTS}
    spent = str(facts.get("time of this call", "")).split()
    return [Call(**told, began=told["date"], minutes=float(spent[0]) if spent else None)]


def without_places(commands: str) -> str:
    """Commands without what says only where they ran and wrote, which means nothing elsewhere."""
    each = (PLACES.sub("", command) for command in commands.split("; "))
    return "; ".join(dict.fromkeys(each))


def facts_of(calls: Sequence[Call]) -> dict[str, str]:
    """What a report says of its making; several calls are told as one.

    Args:
        calls: at least one.
    """
    each = {name: dict.fromkeys(getattr(call, name) for call in calls) for name in FACTS}
    known = [call.minutes for call in calls if call.minutes is not None]
    time = f"{sum(known):.0f} minutes"
    if len(calls) > 1:
        time += f" in {len(calls)} calls"
    if len(known) < len(calls):
        time += f", without {len(calls) - len(known)} whose end was not noted"
    return {**{name: "; ".join(values) for name, values in each.items()}, "time": time}
