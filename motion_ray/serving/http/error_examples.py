"""Examples of error answers for the OpenAPI document: by status, one for each usual code."""

from __future__ import annotations

from typing import Any

from motion_ray.serving.api_errors import INVALID, RATE, SERVER, ErrorBody, ErrorEnvelope
from motion_ray.serving.http.problems import AUTHENTICATION, PERMISSION

_VIDEO = "video_0f8e2c8f5d1b4c63a6f7a3c1d2e4b596"


def _error(code: str, message: str, param: str | None = None, kind: str = INVALID) -> ErrorBody:
    return ErrorBody(message=message, type=kind, param=param, code=code)


_EXAMPLES: dict[int, tuple[ErrorBody, ...]] = {
    400: (_error("malformed_request", "the body is no JSON"),),
    401: (
        _error(
            "missing_api_key",
            "this server needs an API key; send it as Authorization: Bearer mr_...",
            kind=AUTHENTICATION,
        ),
    ),
    403: (
        _error(
            "missing_scope",
            "the API key is not for this: it lacks the scope 'admin'",
            kind=PERMISSION,
        ),
    ),
    404: (
        _error("video_not_found", f"job {_VIDEO}: there is no such job; check the id"),
        _error("motion_not_found", "the store has no motion 'dabing'; see the list"),
    ),
    408: (_error("body_too_slow", "the body did not arrive within 30 seconds"),),
    409: (
        _error("video_not_ready", f"{_VIDEO} is in progress; wait"),
        _error(
            "motion_in_use",
            f"2 jobs use dabbing@1, for example {_VIDEO}; wait, or force it",
            "force",
        ),
        _error(
            "idempotency_conflict",
            f"idempotency key 'run-1': was used for another request, which became {_VIDEO}; "
            "use a new key for a new request",
        ),
    ),
    410: (
        _error(
            "video_expired",
            f"job {_VIDEO}: was removed with its video, after its time or on request; "
            "generate it again",
        ),
    ),
    413: (
        _error(
            "too_large",
            "num_frames: asks for 65 frames, the limit is 64; ask for less",
            "num_frames",
        ),
        _error("body_too_large", "the body has more than 262,144 bytes, which is the limit"),
    ),
    416: (_error("range_not_satisfiable", "the video has 48213 bytes", "Range"),),
    422: (
        _error("invalid_value", "replicas: Input should be greater than or equal to 1", "replicas"),
        _error(
            "unknown_token",
            "prompt: 'ohwx' is the token of no motion here; known tokens: pll (dabbing); "
            "or name motions by id, [] for none",
            "prompt",
        ),
    ),
    429: (
        _error(
            "queue_full",
            "the queue: 1000 jobs are queued, which is the limit; ask again later",
            kind=RATE,
        ),
        _error(
            "quota_exceeded",
            "your key: 100 jobs were accepted today, which is the limit; ask again tomorrow (UTC)",
            kind=RATE,
        ),
    ),
    500: (_error("internal_error", "the server made a mistake; it has been logged", kind=SERVER),),
    503: (
        _error(
            "store_unavailable", "the server cannot reach its storage at the moment", kind=SERVER
        ),
        _error("pool_busy", "the replicas: none is ready yet; ask again later", kind=SERVER),
    ),
    504: (
        _error(
            "sync_timeout",
            f"it takes longer than 600 seconds; the job goes on as {_VIDEO}",
            kind=SERVER,
        ),
    ),
}


def examples(status: int) -> dict[str, Any]:
    """Named examples of the answers with a status, as an OpenAPI media type has them.

    Raises:
        KeyError: no route tells of that status.
    """
    return {
        error.code: {"value": ErrorEnvelope(error=error).model_dump()}
        for error in _EXAMPLES[status]
    }
