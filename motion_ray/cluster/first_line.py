"""What an error of Ray says, in a line."""

from __future__ import annotations

MOST = 300  # characters


def first_line(error: BaseException) -> str:
    """The first line of an error; the rest of Ray's are identifiers.

    Of one that only says that something else has failed, that of the other.
    """
    of_controller = getattr(error, "controller_failure", None)
    of_workers = list(getattr(error, "worker_failures", {}).values())
    inner = of_controller or (of_workers[0] if of_workers else None)
    if inner is not None:
        return first_line(inner)
    return next(iter(str(error).splitlines()), type(error).__name__)[:MOST].strip()
