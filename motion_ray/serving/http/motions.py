"""Routes of motions: what there is, where it is loaded, and its administration."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from motion_ray.errors import IncompatibleMotionError, UnknownMotionError
from motion_ray.serving.http.access import Administering, AnyKey
from motion_ray.serving.http.context import Context, Here
from motion_ray.serving.http.intake import BODY, take
from motion_ray.serving.http.ports import ReplicaState, Services
from motion_ray.serving.http.problems import Problem
from motion_ray.serving.http.schemas import (
    Motion,
    MotionDeleted,
    MotionList,
    MotionUnloaded,
    refusals,
)
from motion_ray.serving.http.views import motion_of
from motion_ray.serving.pool import DEVICE, Level
from motion_ray.serving.requests import Count, GenerationSpec
from motion_ray.store import NAME, DeltaRecord

router = APIRouter(prefix="/v1/motions", tags=["motions"])

LOOKED_AT = 100_000  # jobs that wait or run, before a motion counts as unused

MotionName = Annotated[str, Path(pattern=rf"^{NAME}$", examples=["dabbing"])]


class _Order(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: Count | None = Field(default=None, description="null: the newest")


class LoadOrder(_Order):
    """Have a motion in memory."""

    place: Level = Field(default=DEVICE, description="device: ready; host: in CPU memory")
    replicas: int = Field(default=1, ge=1, le=10_000, description="at least so many, or all")


class PinOrder(LoadOrder):
    """Have a motion in memory and let it stay, or no longer."""

    pinned: bool = Field(default=True, description="false: it may leave when room is needed")


class UnloadOrder(_Order):
    """Take a motion out of memory."""

    wait_s: float = Field(
        default=10.0, ge=0, le=600, description="seconds to wait for generations that use it"
    )


LoadBody = Annotated[
    LoadOrder | None,
    Body(
        openapi_examples={
            "one": {"summary": "The newest version, ready in one replica", "value": {}},
            "all": {
                "summary": "A version, in the CPU memory of every replica",
                "value": {"version": 2, "place": "host", "replicas": 10_000},
            },
        }
    ),
]
PinBody = Annotated[
    PinOrder | None,
    Body(
        openapi_examples={
            "pin": {
                "summary": "Let it stay ready in two replicas",
                "value": {"place": "device", "replicas": 2},
            },
            "unpin": {"summary": "Let it leave again", "value": {"pinned": False}},
        }
    ),
]
UnloadBody = Annotated[
    UnloadOrder | None,
    Body(
        openapi_examples={
            "wait": {
                "summary": "Wait a minute for generations that use it",
                "value": {"wait_s": 60},
            },
            "version": {
                "summary": "Version 1, if nothing uses it now",
                "value": {"version": 1, "wait_s": 0},
            },
        }
    ),
]


@router.get("", responses=refusals(400))
async def list_motions(
    here: Here,
    caller: AnyKey,
    after: Annotated[
        str | None, Query(pattern=rf"^{NAME}$", description="id of the last one seen")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> MotionList:
    """Motions by name, of whatever base model, in pages."""
    services = here.services
    replicas = await services.backend.replicas()

    def read() -> MotionList:
        names = [r.name for r in services.catalog.motions() if after is None or r.name > after]
        page = [
            motion_of(versions, services.catalog.fingerprint, replicas)
            for name in names[:limit]
            if (versions := services.catalog.versions(name))
        ]
        first, last = (page[0].id, page[-1].id) if page else (None, None)
        more = len(names) > limit
        return MotionList(data=tuple(page), first_id=first, last_id=last, has_more=more)

    return await run_in_threadpool(read)


@router.get("/{motion}", responses=refusals())
async def get_motion(motion: MotionName, here: Here, caller: AnyKey) -> Motion:
    """One motion."""
    return await _shown(here, motion)


@router.post("", status_code=201, responses=refusals(400), openapi_extra={"requestBody": BODY})
async def create_motion(request: Request, here: Here, caller: Administering) -> Motion:
    """Publish a motion: the three files of a delta as multipart form, or, as JSON, the place of a
    folder that the operator has allowed.

    It is checked on the CPU against the served base (sizes and sha256 of the files, names, shapes,
    NaN and infinity) and published whole or not at all. The same content again is the version that
    is there.
    """
    with here.uploads.taken():
        record = await take(request, here.services)
    await run_in_threadpool(here.services.catalog.published, record.name)
    return await _shown(here, record.name)


@router.post("/{motion}/load", responses=refusals(400))
async def load_motion(
    motion: MotionName, here: Here, caller: Administering, body: LoadBody = None
) -> Motion:
    """Have a motion in the memory of some replicas; the answer comes when it is there."""
    order = body or LoadOrder()
    record = await _record(here, motion, order.version)
    with here.orders.taken():
        await here.services.backend.load(record, order.place, order.replicas)
    return await _shown(here, motion)


@router.post("/{motion}/pin", responses=refusals(400))
async def pin_motion(
    motion: MotionName, here: Here, caller: Administering, body: PinBody = None
) -> Motion:
    """Load a motion and let it stay whatever else is wanted, or let it leave again."""
    order = body or PinOrder()
    record = await _record(here, motion, order.version)
    with here.orders.taken():
        if order.pinned:
            await here.services.backend.pin(record, order.place, order.replicas)
        else:
            await here.services.backend.unpin(record)
    return await _shown(here, motion)


@router.post("/{motion}/unload", responses=refusals(400))
async def unload_motion(
    motion: MotionName, here: Here, caller: Administering, body: UnloadBody = None
) -> MotionUnloaded:
    """Take a motion out of the memory of every replica, pinned or not. It is loaded again when a
    request wants it.
    """
    order = body or UnloadOrder()
    record = await _record(here, motion, order.version)
    with here.orders.taken():
        gone = await here.services.backend.unload(record, order.wait_s)
    return MotionUnloaded(id=motion, version=record.version, unloaded=gone)


@router.delete("/{motion}", responses=refusals(409))
async def delete_motion(
    motion: MotionName,
    here: Here,
    caller: Administering,
    version: Annotated[
        int | None, Query(ge=1, le=999_999_999, description="without it: all of them")
    ] = None,
    force: Annotated[
        bool, Query(description="even if jobs run with it, or wait for it, which then fail")
    ] = False,
) -> MotionDeleted:
    """Withdraw one version of a motion, or all; nobody finds it any more, and its number is not
    given out again.
    """
    services = here.services
    reference = motion if version is None else f"{motion}@{version}"

    def withdraw() -> list[DeltaRecord]:
        if not force and (users := _users(services, motion, version)):
            message = f"{len(users)} jobs use {reference}, for example {users[0]}"
            raise Problem(409, "motion_in_use", f"{message}; wait, or force it", param="force")
        gone = services.deltas.withdraw(reference)
        services.catalog.withdrawn(motion)
        return gone

    gone = await run_in_threadpool(withdraw)
    for record in gone:
        await services.backend.unload(record, 0.0)
    return MotionDeleted(id=motion, versions=tuple(record.version for record in gone))


def _users(services: Services, motion: str, version: int | None) -> list[str]:
    """Jobs that wait or run and use a motion."""
    jobs = [*services.jobs.running(LOOKED_AT), *services.jobs.queued(LOOKED_AT)]
    return [
        job.id
        for job in jobs
        for each in GenerationSpec.legible(job.request).motions
        if each.id == motion and version in (None, each.version)
    ]


async def _record(here: Context, motion: str, version: int | None) -> DeltaRecord:
    return await run_in_threadpool(here.services.catalog.resolve, motion, version)


async def _shown(here: Context, motion: str) -> Motion:
    services = here.services
    replicas = await services.backend.replicas()
    return await run_in_threadpool(_look, services, motion, replicas)


def _look(services: Services, motion: str, replicas: Sequence[ReplicaState]) -> Motion:
    """A motion as it is now.

    Raises:
        UnknownMotionError: there is no such one.
        StoreError: the store cannot be read.
    """
    # One of another base is shown as well, and marked as not served.
    with contextlib.suppress(IncompatibleMotionError):
        services.catalog.resolve(motion)  # so that a version of this moment is among the others
    records = services.catalog.versions(motion)
    if not records:
        raise UnknownMotionError(services.deltas.uri, f"has no motion {motion!r}", "see the list")
    return motion_of(records, services.catalog.fingerprint, replicas)
