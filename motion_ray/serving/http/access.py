"""Who asks: API keys, checked before anything else of a request is read.

Deny by default: with keys on, :class:`KeyGate` refuses every address that is not in :data:`OPEN`
without one, so a new route cannot be forgotten. What a key is for (its scopes) is said by each
route, through :data:`Generating` or :data:`Administering`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPBearer, SecurityScopes
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from motion_ray.errors import MotionRayError
from motion_ray.serving import key_file
from motion_ray.serving.http.ports import Keys
from motion_ray.serving.http.problems import AUTHENTICATION, PERMISSION, Problem, answer
from motion_ray.serving.jobs import AdmissionLimits
from motion_ray.serving.key_file import ApiKey

#: Reachable without a key: what a load balancer asks, and the page, which holds no data itself.
OPEN = frozenset({"/", "/health/live", "/health/ready"})
LONGEST_HEADER = 256  # characters of Authorization; a key has 46


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        client: whose jobs are theirs: the key's name, "" on a server without keys.
        key: null on a server without keys.
    """

    client: str = ""
    key: ApiKey | None = None

    def limits(self, server: AdmissionLimits) -> AdmissionLimits:
        """Of their own where the key has some, of the server where not."""
        return server if self.key is None else self.key.limits.within(server)


class KeyGate:
    """Middleware that puts the :class:`Caller` into the request's state, or answers 401.

    Args:
        app: behind it.
        keys: null lets everybody in.
    """

    def __init__(self, app: ASGIApp, keys: Keys | None) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = Caller()
        if self._keys is not None and scope["path"] not in OPEN:
            try:
                caller = await self._recognize(self._keys, Headers(scope=scope))
            except (Problem, MotionRayError) as refusal:
                await answer(refusal)(scope, receive, send)
                return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)

    async def _recognize(self, keys: Keys, headers: Headers) -> Caller:
        presented = headers.getlist("authorization")
        if not presented:
            raise _unauthorized("missing_api_key", "this server needs an API key")
        scheme, _, secret = presented[0].partition(" ")
        well_formed = len(presented) == 1 and scheme.lower() == "bearer"
        key = None
        if well_formed and len(presented[0]) <= LONGEST_HEADER:
            key = await run_in_threadpool(keys.find, secret.strip())
        if key is None:
            raise _unauthorized("invalid_api_key", "the API key is not known here, or was revoked")
        return Caller(key.name, key)


def _unauthorized(code: str, message: str) -> Problem:
    headers = {"WWW-Authenticate": "Bearer"}
    message = f"{message}; send it as Authorization: Bearer mr_..."
    return Problem(401, code, message, kind=AUTHENTICATION, headers=headers)


#: Says in the OpenAPI document what :class:`KeyGate` does.
_BEARER = HTTPBearer(
    scheme_name="ApiKey",
    description="An API key, `mr_...`; only servers that were started with keys ask for one.",
    auto_error=False,
)


async def _caller(
    request: Request,
    scopes: SecurityScopes,
    bearer: Annotated[object, Security(_BEARER)],
) -> Caller:
    caller: Caller = request.state.caller
    if caller.key is not None:
        for scope in map(key_file.Scope, scopes.scopes):
            if not caller.key.allows(scope):
                message = f"the API key is not for this: it lacks the scope {scope.value!r}"
                raise Problem(403, "missing_scope", message, kind=PERMISSION)
    return caller


Generating = Annotated[Caller, Security(_caller, scopes=[key_file.Scope.GENERATE.value])]
"""The caller of a route for which a key needs the scope to generate."""

Administering = Annotated[Caller, Security(_caller, scopes=[key_file.Scope.ADMIN.value])]
"""The caller of a route for which a key needs the scope to administer."""

AnyKey = Annotated[Caller, Security(_caller)]
"""The caller of a route for which any key will do."""
