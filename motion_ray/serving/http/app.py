"""The application: routes, and what every request passes before it reaches one.

    AccessLog > Unforeseen > HostGate > KeyGate > BodyGate > routes

The order is the point: nothing of a body is read for somebody without a key, and every refusal is
logged and has an id.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI
from fastapi.middleware import Middleware
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import Scope

from motion_ray.serving.http import content, events, models, motions, page, videos
from motion_ray.serving.http.access import KeyGate
from motion_ray.serving.http.accesslog import AccessLog
from motion_ray.serving.http.config import ServerConfig
from motion_ray.serving.http.context import Context, Seats
from motion_ray.serving.http.guard import BodyGate, BodyLimit, HostGate
from motion_ray.serving.http.intake import MULTIPART, media_type
from motion_ray.serving.http.ports import Services
from motion_ray.serving.http.problems import Unforeseen, answer_everything

VERSION = "1"
ORDERS = 8  # about motions in memory, at the same time
DESCRIPTION = """
Text to video with motions that were learned from a few clips. A request names motions by id, or
uses a motion's token in its prompt. Jobs survive restarts; videos are kept for a while.

Every error has the same envelope, `{"error": {"message", "type", "param", "code"}}`.
"""
_TAGS = [
    {"name": "videos", "description": "Jobs and their videos."},
    {"name": "motions", "description": "What can be shown, and where it is loaded."},
    {"name": "models", "description": "The same as a list of models."},
    {"name": "health", "description": "For load balancers; needs no key."},
]


def create_app(config: ServerConfig, services: Services) -> FastAPI:
    """The application; its lifespan starts and closes the backend.

    Args:
        config: how it behaves. Whoever binds a socket calls
            :func:`motion_ray.serving.http.config.check_exposure` before.
        services: what it stands on.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await services.backend.start()
        try:
            yield
        finally:
            await services.backend.close()

    app = FastAPI(
        title="motion_ray",
        version=VERSION,
        description=DESCRIPTION,
        openapi_tags=_TAGS,
        lifespan=lifespan,
        docs_url=None,  # both pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation,
        middleware=[
            Middleware(AccessLog, watch=services.watch),
            Middleware(Unforeseen),
            Middleware(HostGate, config=config),
            Middleware(KeyGate, keys=services.keys),
            Middleware(BodyGate, limit=_limits(config)),
        ],
    )
    app.state.context = Context(
        config,
        services,
        int(time.time()),
        Seats(config.waiting, "requests wait or stream", config.waiting_each),
        Seats(config.uploads, "motions are uploaded"),
        Seats(ORDERS, "motions are loaded or unloaded"),
    )
    answer_everything(app)
    # content before videos: POST /v1/videos/sync is an address of its own.
    for router in (
        content.router,
        events.router,
        videos.router,
        motions.router,
        models.models,
        models.health,
        page.router,
    ):
        app.include_router(router)
    return app


def _operation(route: APIRoute) -> str:
    return route.name


def _limits(config: ServerConfig) -> Callable[[Scope], BodyLimit]:
    """How large a body may be: only an upload may be large."""
    small = BodyLimit(config.body_bytes, config.body_s)
    large = BodyLimit(config.upload_bytes, config.upload_s)

    def limit(scope: Scope) -> BodyLimit:
        upload = (scope["method"], scope["path"]) == ("POST", "/v1/motions")
        kind = media_type(Headers(scope=scope).get("content-type", ""))
        return large if upload and kind == MULTIPART else small

    return limit
