"""Every error a user can cause, as one tree.

Each error names *where* (a file or a config field), the *rule* that was broken and a *fix* with a
good example, and prints as one line. Command lines catch :class:`MotionRayError`, print it and exit
with 2.
"""

from __future__ import annotations

from typing import Any


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

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
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


class UnknownMotionError(StoreError):
    """No motion has this name or version."""


class BrokenRefError(StoreError):
    """What a store says about a version is damaged."""


class RequestError(MotionRayError):
    """A field of a request to generate is wrong; ``where`` is the field."""


class TokenError(RequestError):
    """A prompt and the motions' tokens do not go together."""


class UnknownTokenError(TokenError):
    """A prompt uses a rare word that is the token of no motion."""


class AmbiguousTokenError(TokenError):
    """A prompt uses a token that several motions own."""


class TooLargeError(RequestError):
    """A request asks for more than the server's limits allow."""


class IncompatibleMotionError(RequestError):
    """A motion was made for another base model than the one that is served."""


class PoolError(MotionRayError):
    """The pool cannot hold a motion."""


class PoolBusyError(PoolError):
    """The pool has no room for a motion until others are given back."""


class OverloadedError(MotionRayError):
    """Work is refused now and may be accepted later.

    Args:
        where: the queue or the counter that is full.
        rule: its limit.
        fix: what to do.
        retry_after: seconds until asking again makes sense.
    """

    def __init__(self, where: object, rule: str, fix: str = "", retry_after: float = 1.0) -> None:
        super().__init__(where, rule, fix)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.where, self.rule, self.fix, self.retry_after)


class QuotaError(OverloadedError):
    """A key has used up what it may ask for."""


class JobStoreError(MotionRayError):
    """The job store cannot be used."""


class JobDatabaseError(JobStoreError):
    """The database that has the jobs is not reached; no other process would reach it."""


class JobNotFoundError(JobStoreError):
    """There is no such job, or it belongs to somebody else."""


class JobExpiredError(JobNotFoundError):
    """The job and its video were there and have been removed after their time."""


class IdempotencyError(JobStoreError):
    """An idempotency key was used again for another request."""


class KeysError(MotionRayError):
    """The file of API keys cannot be used."""


class RunFolderError(MotionRayError):
    """An output folder belongs to another run, or another process is writing to it."""


class FolderBusyError(RunFolderError):
    """Another process works in the folder; it may end soon."""


class LedgerError(MotionRayError):
    """The record of a sweep cannot be read or written."""


class MirrorError(MotionRayError):
    """The copy of a run folder cannot be read or written; that may pass."""


class GpuMemoryError(MotionRayError):
    """A GPU has no room for what was asked of it."""


class NonFiniteLossError(MotionRayError):
    """The loss or a gradient became NaN or infinite: a deterministic failure, retrying does not
    help.
    """


class NonFiniteVideoError(MotionRayError):
    """Denoising ended in NaN or infinite values, which would look like a black or white video."""


class DeviceError(MotionRayError):
    """A GPU computes nothing more for this process; a new one may do better."""


class Cancelled(MotionRayError):
    """The caller asked a generation or a training run to stop."""
