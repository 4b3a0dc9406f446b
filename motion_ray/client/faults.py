"""What can go wrong for a client of a server, as part of the library's one tree of errors."""

from __future__ import annotations

from typing import Any

from motion_ray.errors import MotionRayError


class ClientError(MotionRayError):
    """Base of all errors of the client."""


class UnreachableError(ClientError):
    """No server answers at the address."""


class AnswerError(ClientError):
    """Something answers, but not as a server of motion_ray does."""


class RefusedError(ClientError):
    """The server answered with an error.

    Args:
        where: what was asked.
        rule: the server's message.
        fix: what the client adds to it.
        status: of HTTP.
        code: for programs, e.g. ``unknown_token``.
        param: the field at fault.
        retry_after: seconds until asking again makes sense.
    """

    def __init__(
        self,
        where: object,
        rule: str,
        fix: str = "",
        status: int = 0,
        code: str = "",
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(where, rule, fix)
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        more = (self.status, self.code, self.param, self.retry_after)
        return type(self), (self.where, self.rule, self.fix, *more)


class VideoFailedError(ClientError):
    """The job failed, was cancelled, or took longer than the caller waits.

    Args:
        where: id of the job.
        rule: why.
        fix: what to do.
        code: for programs, e.g. ``deadline_exceeded``; ``cancelled``.
    """

    def __init__(self, where: object, rule: str, fix: str = "", code: str = "") -> None:
        super().__init__(where, rule, fix)
        self.code = code

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.where, self.rule, self.fix, self.code)
