"""From a request's body to a stored job: checked, resolved, admitted, then handed out."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import Header
from starlette.concurrency import run_in_threadpool

from motion_ray.serving.http.access import Caller
from motion_ray.serving.http.context import Context
from motion_ray.serving.jobs import Created, NewJob
from motion_ray.serving.requests import VideoRequest, resolve

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="chosen by the client; the same key with the same body gives the same job",
    ),
]


async def accept(here: Context, caller: Caller, request: VideoRequest, key: str | None) -> Created:
    """Store a job; when this returns it is durable, and a backend knows of it.

    Args:
        here: the application.
        caller: whose job it is.
        request: what is asked for.
        key: of idempotency.

    Raises:
        MotionRayError: it is refused; see :func:`motion_ray.serving.requests.resolve` and
            :meth:`motion_ray.serving.job_store.JobStore.create`.
    """
    services = here.services

    def store() -> Created:
        new = NewJob(caller.client, {}, request.fingerprint, idempotency_key=key)
        # Before anything is resolved: its motion may have been withdrawn since it was accepted.
        known = services.jobs.known(new)
        if known is not None:
            return Created(known, False)
        spec = resolve(request, services.profile, services.catalog)
        new = replace(new, request=spec.model_dump(mode="json"), deadline_s=request.deadline_s)
        return services.jobs.create(new, caller.limits(here.config.admission))

    created = await run_in_threadpool(store)
    if created.fresh:
        await services.backend.dispatch(created.job)
    return created
