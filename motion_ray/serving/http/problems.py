"""Every answer that is an error, in the one envelope: ours, the framework's, and the unforeseen."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from motion_ray.errors import MotionRayError
from motion_ray.serving.api_errors import (
    INVALID,
    RATE,
    SERVER,
    ApiError,
    ErrorBody,
    ErrorEnvelope,
    api_error,
)

ERROR_CODE = "error_code"
"""Key in a request's state: the code of the error that it was answered with."""

AUTHENTICATION = "authentication_error"
PERMISSION = "permission_error"

#: What the framework refuses by itself, before any code of ours runs.
_BY_STATUS: Mapping[int, tuple[str, str]] = {
    400: ("malformed_request", "the request cannot be read: no JSON, or no whole form"),
    404: ("not_found", "there is nothing at this address"),
    405: ("method_not_allowed", "this address does not take that method"),
}


class Problem(HTTPException):
    """Something that only the HTTP layer can find wrong.

    The framework's class, so that it passes through the framework's own error handling unchanged.

    Args:
        status: of HTTP.
        code: for programs.
        message: for people; nothing secret.
        kind: type in the envelope.
        param: the field or header at fault.
        headers: for the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        kind: str = INVALID,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers=dict(headers or {}))
        body = ErrorBody(message=message, type=kind, param=param, code=code)
        self.error = ApiError(status, ErrorEnvelope(error=body))


class _ErrorResponse(JSONResponse):
    """An error answer, which tells the middleware outside which error it is."""

    def __init__(self, error: ApiError, headers: Mapping[str, str]) -> None:
        super().__init__(error.envelope.model_dump(), error.status, headers)
        self._code = error.envelope.error.code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        scope.setdefault("state", {})[ERROR_CODE] = self._code
        await super().__call__(scope, receive, send)


def answer(fault: Exception) -> JSONResponse:
    """The response to anything that was raised."""
    headers: dict[str, str] = {}
    if isinstance(fault, Problem):
        error, headers = fault.error, dict(fault.headers or {})
    elif isinstance(fault, RequestValidationError):
        error = _invalid(fault)
    elif isinstance(fault, HTTPException):
        error, headers = _refused(fault), dict(fault.headers or {})
    elif isinstance(fault, ValidationError):
        # Those of requests come as the class above; this one is about a value of our own.
        unforeseen = RuntimeError("a value of our own is not valid")
        unforeseen.__cause__ = fault
        error = api_error(unforeseen)
    else:
        error = api_error(fault)
    if error.retry_after is not None:
        # Whole seconds, and never 0: clients would ask again at once.
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    return _ErrorResponse(error, headers)


def answer_everything(app: FastAPI) -> None:
    """Have all errors that are raised in routes answered here."""

    async def handle(request: Request, fault: Exception) -> JSONResponse:
        if isinstance(fault, RequestValidationError) and _unannounced(request, fault):
            message = "a body of JSON needs the header Content-Type: application/json"
            fault = Problem(422, "unsupported_media_type", message, param="Content-Type")
        return answer(fault)

    for kind in (MotionRayError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, handle)


class Unforeseen:
    """Middleware that answers what nobody caught; the framework's own would tell it twice."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as fault:
            response = answer(fault)  # logs what it hides
            if started or scope["type"] != "http":
                raise  # half an answer is out: the connection has to break
            await response(scope, receive, send)


def _unannounced(request: Request, fault: RequestValidationError) -> bool:
    """Whether a body was not looked into because it does not say that it is JSON, as with curl."""
    first = fault.errors()[0]
    said = "json" in request.headers.get("content-type", "").lower()
    return tuple(first["loc"]) == ("body",) and first["type"] != "missing" and not said


def _invalid(fault: RequestValidationError) -> ApiError:
    """A field that is wrong; the value itself is not repeated."""
    first = fault.errors()[0]
    place, *rest = first["loc"] or ("body",)
    if first["type"] == "json_invalid":
        body = ErrorBody(message="the body is no JSON", type=INVALID, code="malformed_request")
        return ApiError(400, ErrorEnvelope(error=body))
    field = ".".join(str(part) for part in rest) or None
    message = str(first["msg"]).removeprefix("Value error, ")
    subject = field or f"the {place}"
    body = ErrorBody(
        message=f"{subject}: {message}", type=INVALID, param=field, code="invalid_value"
    )
    return ApiError(422, ErrorEnvelope(error=body))


def _refused(fault: HTTPException) -> ApiError:
    status = fault.status_code
    kind = RATE if status == 429 else INVALID if status < 500 else SERVER
    plain = HTTPStatus(status).phrase.lower()
    code, message = _BY_STATUS.get(status, (plain.replace(" ", "_"), plain))
    return ApiError(status, ErrorEnvelope(error=ErrorBody(message=message, type=kind, code=code)))
