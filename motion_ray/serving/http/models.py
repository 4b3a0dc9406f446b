"""The list of models, as OpenAI's tools ask for it, and whether the server works."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from motion_ray.serving.api_errors import SERVER
from motion_ray.serving.http.access import AnyKey
from motion_ray.serving.http.context import Here
from motion_ray.serving.http.problems import Problem
from motion_ray.serving.http.schemas import Alive, Model, ModelList, Ready, refusals

models = APIRouter(prefix="/v1/models", tags=["models"])
health = APIRouter(prefix="/health", tags=["health"])


@models.get("", responses=refusals())
async def list_models(here: Here, caller: AnyKey) -> ModelList:
    """The base model and every motion that is served with it."""
    base, catalog = here.services.profile.base, here.services.catalog
    motions = await run_in_threadpool(catalog.motions)
    served = [each for each in motions if each.base_fingerprint == catalog.fingerprint]
    return ModelList(
        data=(
            Model(id=base, created=here.since),
            *(Model(id=f"{base}:{each.name}", created=here.since, parent=base) for each in served),
        )
    )


@health.get("/live")
async def live() -> Alive:
    """The process answers. Needs no key."""
    return Alive()


@health.get("/ready", responses=refusals())
async def ready(here: Here) -> Ready:
    """At least one replica takes work, and the job store can be read. Needs no key."""
    replicas = await here.services.backend.replicas()
    count = sum(replica.ready for replica in replicas)
    if not count:
        message = "no replica is ready yet; jobs are accepted and wait"
        raise Problem(503, "not_ready", message, kind=SERVER, headers={"Retry-After": "2"})
    await run_in_threadpool(here.services.jobs.queued, 1)
    return Ready(replicas=count)
