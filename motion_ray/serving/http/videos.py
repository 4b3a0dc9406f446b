"""Routes of jobs: accept, look, cancel, delete."""

from __future__ import annotations

import contextlib
import re
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from motion_ray.errors import JobExpiredError, JobNotFoundError, OverloadedError
from motion_ray.serving.http.accept import IdempotencyKey, accept
from motion_ray.serving.http.access import Generating
from motion_ray.serving.http.context import Context, Here
from motion_ray.serving.http.schemas import (
    EXAMPLE_REQUEST,
    Video,
    VideoDeleted,
    VideoList,
    refusals,
)
from motion_ray.serving.http.views import video_of
from motion_ray.serving.http.waiting import ClientLeft, until_final
from motion_ray.serving.jobs import Job, JobState
from motion_ray.serving.requests import VideoRequest

router = APIRouter(prefix="/v1/videos", tags=["videos"])

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,6})\"?\s*(?:$|[,;])", re.IGNORECASE)
_ID = re.compile(r"video_[0-9a-f]{32}")

VideoBody = Annotated[
    VideoRequest,
    Body(
        openapi_examples={
            "motion": {"summary": "A motion by its id", "value": EXAMPLE_REQUEST},
            "token": {
                "summary": "A motion by its token in the prompt",
                "value": {"prompt": "a blue bear doing the pll on the beach"},
            },
            "base": {
                "summary": "The base model alone",
                "value": {"prompt": "a green crab waving at night", "motions": [], "seed": 1},
            },
        }
    ),
]


def checked_id(video: str) -> str:
    """An id that has the form of one.

    Raises:
        JobNotFoundError: it has not, so there is no such job.
    """
    if _ID.fullmatch(video) is None:
        raise JobNotFoundError(f"job {video[:80]!r}", "there is no such job", "check the id")
    return video


def _video_id(
    video: Annotated[
        str,
        Path(
            description="from the answer to POST /v1/videos",
            json_schema_extra={"pattern": f"^{_ID.pattern}$"},  # told, and answered with 404
        ),
    ],
) -> str:
    return checked_id(video)


VideoId = Annotated[str, Depends(_video_id)]


@router.post(
    "",
    status_code=202,
    responses={200: {"model": Video, "description": "It has ended already."}} | refusals(400, 409),
)
async def create_video(
    body: VideoBody,
    here: Here,
    caller: Generating,
    request: Request,
    response: Response,
    idempotency_key: IdempotencyKey = None,
    prefer: Annotated[
        str | None,
        Header(max_length=200, description="wait=N: answer when it has ended, or after N seconds"),
    ] = None,
) -> Video:
    """Accept a job and answer at once; with `Prefer: wait=N` when it has ended or N seconds are
    over.
    """
    created = await accept(here, caller, body, idempotency_key)
    job = created.job
    if not created.fresh:
        here.promises.make(caller.client, idempotency_key)
    match = None if prefer is None else _WAIT.search(prefer)
    if match is not None and not job.state.final:
        seconds = min(float(match[1]), here.config.wait_s)
        job = await _waited(here, job, seconds, request)
        response.headers["Preference-Applied"] = f"wait={seconds:g}"
    response.headers["Location"] = f"/v1/videos/{job.id}"
    response.status_code = 200 if job.state.final else 202
    return await _shown(here, job)


@router.get("", responses=refusals(400, 410))
async def list_videos(
    here: Here,
    caller: Generating,
    after: Annotated[
        str | None, Query(max_length=80, description="id of the last one seen")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="by acceptance")] = "desc",
) -> VideoList:
    """The caller's videos, in pages: `after` is the `last_id` of the page before."""

    def read() -> VideoList:
        page = here.services.jobs.page(
            caller.client,
            after=None if after is None else checked_id(after),
            limit=limit,
            newest_first=order == "desc",
        )
        base = here.services.profile.base
        data = tuple(video_of(job, base) for job in page.jobs)
        ids = [job.id for job in page.jobs]
        first, last = (ids[0], ids[-1]) if ids else (None, None)
        return VideoList(data=data, first_id=first, last_id=last, has_more=page.more)

    return await run_in_threadpool(read)


@router.get("/{video}", responses=refusals(410))
async def get_video(video: VideoId, here: Here, caller: Generating) -> Video:
    """One video and how far it is."""
    return await _shown(here, await run_in_threadpool(here.services.jobs.get, video, caller.client))


@router.post("/{video}/cancel", responses=refusals(410))
async def cancel_video(video: VideoId, here: Here, caller: Generating) -> Video:
    """Stop a job and keep its record.

    One that waits is cancelled at once, one that runs within a denoising step; one that has ended
    stays as it is.
    """
    return await _shown(here, await cancel(here, video, caller.client))


@router.delete("/{video}", responses=refusals(409))
async def delete_video(video: VideoId, here: Here, caller: Generating) -> VideoDeleted:
    """Remove a job and its video; one that runs is stopped first. Doing it twice does no harm."""
    services, config = here.services, here.config
    # One that was the caller's and is gone already is what they want.
    with contextlib.suppress(JobExpiredError):
        job = await cancel(here, video, caller.client)
        if not job.state.final:
            with here.waiting.taken(caller.client):
                settled = services.backend.settled
                await until_final(services.jobs, settled, video, config.delete_s, config.poll_s)
        await run_in_threadpool(services.jobs.delete, video, caller.client)
    return VideoDeleted(id=video)


async def cancel(here: Context, video: str, client: str, *, free_key: bool = False) -> Job:
    """Cancel a job in the store, and tell whoever runs it.

    Args:
        here: the server.
        video: the job.
        client: whose it is.
        free_key: whether its idempotency key may make another job from now on.

    Raises:
        JobNotFoundError: there is no such job of the client's.
        JobStoreError: the store cannot be used.
    """
    services = here.services

    def stop() -> tuple[Job, bool]:
        waited = services.jobs.get(video, client).state is JobState.QUEUED
        job = services.jobs.cancel(video, client, free_key=free_key)
        return job, waited and job.state is JobState.CANCELLED

    job, counts = await run_in_threadpool(stop)
    if counts and services.watch is not None:
        services.watch.cancelled()  # no replica has it, so none tells of it
    await services.backend.cancel(video)
    return job


async def _waited(here: Context, job: Job, seconds: float, request: Request) -> Job:
    """The job once it has ended, or when the time is over or nobody waits any more; as it is if
    there is no seat: a refusal now would have the client ask for another one of a job that runs.
    """
    services = here.services
    with contextlib.suppress(ClientLeft, OverloadedError), here.waiting.taken(job.client):
        return await until_final(
            services.jobs,
            services.backend.settled,
            job.id,
            seconds,
            here.config.poll_s,
            request.is_disconnected,
        )
    return job  # it goes on; only the seat is given back


async def _shown(here: Context, job: Job) -> Video:
    position = None
    if job.state is JobState.QUEUED:
        position = await run_in_threadpool(here.services.jobs.ahead, job.id)
    return video_of(job, here.services.profile.base, position)
