"""Every error a user can cause, as one tree.

Each error names *where* (a file or a config field), the *rule* that was broken and a *fix* with a
good example, and prints as one line. Command lines catch :class:`MotionRayError`, print it and exit
with 2.
"""

from __future__ import annotations


class MotionRayError(Exception):
    """Base of all errors this library raises on purpose.

    Args:
        where: the file, folder or config field at fault, e.g. ``"clips/a.mp4"`` or
            ``"optimizer.lr"``.
        rule: what must hold, as a sentence without a full stop.
        fix: what to do, with an example of a good value.
    """

    def __init__(self, where: object, rule: str, fix: str = "") -> None:
        self.where, self.rule, self.fix = str(where), rule, fix
        super().__init__(f"{self.where}: {rule}" + (f"; {fix}" if fix else ""))

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        # Exceptions cross process borders in Ray; the default pickling would pass one argument.
        return type(self), (self.where, self.rule, self.fix)


class ConfigError(MotionRayError):
    """A recipe, config file or ``--set`` path or value is wrong."""


class DataError(MotionRayError):
    """A motion folder, clip or caption cannot be used."""


class BaseModelError(MotionRayError):
    """A base model folder is missing parts, or holds something we refuse to load."""


class DeltaError(MotionRayError):
    """A delta is damaged or does not belong to this base model."""


class CheckpointError(MotionRayError):
    """A checkpoint could not be written, or none is loadable."""


class StoreError(MotionRayError):
    """A delta store has no such motion, or refuses a name."""


class RunFolderError(MotionRayError):
    """An output folder belongs to another run, or another process is writing to it."""


class NonFiniteLossError(MotionRayError):
    """The loss or a gradient became NaN or infinite: a deterministic failure, retrying does not
    help.
    """


class Cancelled(MotionRayError):
    """The caller asked a generation or a training run to stop."""
