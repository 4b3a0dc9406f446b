"""Names of temporaries that tell who writes them, and whether that writer still lives.

After a kill -9 nobody cleans up; the next process that opens the directory does, and must not touch
what a living writer is still filling. A process id alone does not tell: ids are used again after a
restart, two containers on one machine may share host name and volume but number their processes
apart, and copies of one virtual machine are alike but for the moment they were started.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import time
from pathlib import Path

ABANDONED_AFTER = 24 * 3600  # seconds without a change; for writers that we cannot ask about
RESTARTED_AFTER = 3600  # the same, of a machine that is this one before its start, or its twin
LONGEST_STEM = 100  # characters kept of the final name: file names end at 255 bytes
_NAME = re.compile(r"\..+~(?P<machine>[^~]+)~(?P<pid>\d+)~(?P<started>\d+)~[0-9a-f]+\.tmp")


def temporary_name(final: str) -> str:
    """A new hidden name, holding machine, process id and start time of this process.

    Args:
        final: the name that the temporary will get when it is complete.
    """
    pid = os.getpid()
    owner = f"{_machine()}~{pid}~{_started(pid) or 0}"
    return f".{final[:LONGEST_STEM]}~{owner}~{secrets.token_hex(4)}.tmp"


def is_temporary(name: str) -> bool:
    """Whether :func:`temporary_name` made this name."""
    return _NAME.fullmatch(name) is not None


def writer_is_gone(path: Path) -> bool:
    """Whether the process that made a temporary has ended.

    A writer of another machine or container cannot be asked: it counts as gone when nothing in its
    temporary changed for a day; for an hour, if it is this machine before its last start.

    Raises:
        ValueError: the name is not one of :func:`temporary_name`.
    """
    named = _NAME.fullmatch(path.name)
    if named is None:
        raise ValueError(f"{path.name!r} is not the name of a temporary")
    ours, theirs = _machine(), named["machine"]
    if theirs != ours:
        started = theirs.rpartition("-")[0] == ours.rpartition("-")[0]
        return time.time() - _last_change(path) > (RESTARTED_AFTER if started else ABANDONED_AFTER)
    return _started(int(named["pid"])) != int(named["started"])


def _machine() -> str:
    """Host name, process-id namespace and start: within these a process id means one thing."""
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:  # a sandbox that has none
        start = "0"
    return f"{socket.gethostname()}-{os.stat('/proc/self/ns/pid').st_ino}-{start}"


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks after boot; None if it has ended (a zombie has)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command in parentheses and may hold anything, parentheses included.
    state, *fields = text.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


def _last_change(path: Path) -> float:
    """Newest modification time of a temporary and what is in it; now, if it vanishes meanwhile."""
    try:
        return max(each.lstat().st_mtime for each in [path, *path.rglob("*")])
    except FileNotFoundError:
        return time.time()
