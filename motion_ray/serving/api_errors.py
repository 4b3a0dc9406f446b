"""Errors as clients see them: one envelope, the right status, nothing about our machine.

The envelope is that of the OpenAI API. Messages come from our own errors only, and without the
place that they name, which may be a path; what we did not foresee is logged and answered in general
terms, because a library's text may hold anything.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError

from motion_ray.errors import (
    AmbiguousTokenError,
    BrokenRefError,
    Cancelled,
    DeltaError,
    GpuMemoryError,
    IdempotencyError,
    IncompatibleMotionError,
    JobExpiredError,
    JobNotFoundError,
    JobStoreError,
    KeysError,
    MotionRayError,
    NonFiniteVideoError,
    OverloadedError,
    PoolBusyError,
    PoolError,
    QuotaError,
    RequestError,
    StoreError,
    TokenError,
    TooLargeError,
    UnknownMotionError,
    UnknownTokenError,
)
from motion_ray.serving.jobs import JobFailure

log = logging.getLogger(__name__)

INVALID = "invalid_request_error"
RATE = "rate_limit_error"
SERVER = "server_error"


class ErrorBody(BaseModel):
    """What went wrong.

    Attributes:
        message: for people: the rule and what to do.
        type: the kind of error.
        param: the field at fault.
        code: for programs.
    """

    message: str
    type: str
    param: str | None = None
    code: str


class ErrorEnvelope(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorBody


@dataclass(frozen=True)
class ApiError:
    """An error answer.

    Attributes:
        status: of HTTP.
        envelope: the body.
        retry_after: seconds, for the header of that name.
    """

    status: int
    envelope: ErrorEnvelope
    retry_after: float | None = None


@dataclass(frozen=True)
class _Answer:
    status: int
    type: str
    code: str
    hidden: bool = False  # the message stays in the log


#: The first that fits counts, so the special stand before the general.
_ANSWERS: tuple[tuple[type[MotionRayError], _Answer], ...] = (
    (UnknownTokenError, _Answer(422, INVALID, "unknown_token")),
    (AmbiguousTokenError, _Answer(422, INVALID, "ambiguous_token")),
    (TokenError, _Answer(422, INVALID, "token_not_in_prompt")),
    (TooLargeError, _Answer(413, INVALID, "too_large")),
    (IncompatibleMotionError, _Answer(422, INVALID, "motion_incompatible")),
    (RequestError, _Answer(422, INVALID, "invalid_value")),
    (UnknownMotionError, _Answer(404, INVALID, "motion_not_found")),
    (DeltaError, _Answer(422, INVALID, "motion_broken")),
    (BrokenRefError, _Answer(422, INVALID, "motion_broken")),
    (StoreError, _Answer(503, SERVER, "store_unavailable", hidden=True)),
    (GpuMemoryError, _Answer(413, INVALID, "out_of_memory")),
    (NonFiniteVideoError, _Answer(422, INVALID, "not_finite")),
    (PoolBusyError, _Answer(503, SERVER, "pool_busy")),
    (PoolError, _Answer(503, SERVER, "pool_full")),
    (QuotaError, _Answer(429, RATE, "quota_exceeded")),
    (OverloadedError, _Answer(429, RATE, "queue_full")),
    (IdempotencyError, _Answer(409, INVALID, "idempotency_conflict")),
    (JobExpiredError, _Answer(410, INVALID, "video_expired")),
    (JobNotFoundError, _Answer(404, INVALID, "video_not_found")),
    (JobStoreError, _Answer(503, SERVER, "store_unavailable", hidden=True)),
    (KeysError, _Answer(503, SERVER, "keys_unavailable", hidden=True)),
    (Cancelled, _Answer(409, INVALID, "cancelled")),
)
_UNFORESEEN = _Answer(500, SERVER, "internal_error", hidden=True)
_GENERAL = {
    "store_unavailable": "the server cannot reach its storage at the moment",
    "keys_unavailable": "the server cannot read its API keys at the moment",
    "internal_error": "the server made a mistake; it has been logged",
}
_BUSY_RETRY_S = 5.0


def api_error(fault: Exception) -> ApiError:
    """The answer to an error of ours, of pydantic's, or of anybody's.

    Errors whose message is kept from the client are logged here.
    """
    if isinstance(fault, ValidationError):
        return _invalid(fault)
    answer = next((each for kind, each in _ANSWERS if isinstance(fault, kind)), _UNFORESEEN)
    if answer.hidden:
        log.error("answered with %s", answer.code, exc_info=fault)
        message = _GENERAL[answer.code]
    else:
        assert isinstance(fault, MotionRayError)
        message = "; ".join(filter(None, (_subject(fault) + fault.rule, fault.fix)))
    param = fault.where if isinstance(fault, RequestError) else None
    retry = fault.retry_after if isinstance(fault, OverloadedError) else None
    if answer.status == 503:
        retry = _BUSY_RETRY_S
    body = ErrorBody(message=message, type=answer.type, param=param, code=answer.code)
    return ApiError(answer.status, ErrorEnvelope(error=body), retry)


def job_failure(fault: Exception) -> JobFailure:
    """The same for a job that failed after it was accepted."""
    error = api_error(fault).envelope.error
    return JobFailure(error.code, error.message)


def _subject(fault: MotionRayError) -> str:
    """What the sentence is about: not ``where`` of all errors, for it may be a path."""
    if isinstance(fault, UnknownMotionError):
        return "the store "
    if isinstance(fault, DeltaError | BrokenRefError):
        return f"{fault.where}: " if fault.where.startswith("motion ") else "the motion: "
    return f"{fault.where}: "


def _invalid(fault: ValidationError) -> ApiError:
    first = fault.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or None
    message = first["msg"].removeprefix("Value error, ")
    if field is not None:
        message = f"{field}: {message}"
    body = ErrorBody(message=message, type=INVALID, param=field, code="invalid_value")
    return ApiError(422, ErrorEnvelope(error=body))
