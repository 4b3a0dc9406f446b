"""The video itself, whole or in ranges; and in one request, for scripts."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.responses import Response

from motion_ray.errors import JobExpiredError, JobStoreError, MotionRayError
from motion_ray.serving.api_errors import INVALID, SERVER
from motion_ray.serving.http.accept import IdempotencyKey, accept
from motion_ray.serving.http.access import Generating
from motion_ray.serving.http.context import Context, Here
from motion_ray.serving.http.problems import Problem
from motion_ray.serving.http.schemas import refusals
from motion_ray.serving.http.videos import VideoBody, VideoId, cancel
from motion_ray.serving.http.waiting import ClientLeft, until_final
from motion_ray.serving.jobs import DEADLINE_EXCEEDED, Created, Job, JobResult, JobState
from motion_ray.serving.requests import GenerationSpec

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/videos", tags=["videos"])

_MP4: dict[str, Any] = {
    "content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}},
}
_RANGE = re.compile(r"bytes=\s*(?P<first>[0-9]{0,19})-(?P<last>[0-9]{0,19})\s*")
#: Statuses of what went wrong in a job, for those who waited for it; anything else is a 500.
_FAILURES = {
    DEADLINE_EXCEEDED: 504,
    "motion_broken": 422,
    "not_finite": 422,
    "motion_incompatible": 422,
    "motion_not_found": 404,
    "out_of_memory": 413,
    "too_large": 413,
    "pool_busy": 503,
    "pool_full": 503,
    "store_unavailable": 503,
}
RETRY_AFTER_S = 5
CLIENT_LEFT = 499  # nobody sees it but the log; a number that proxies use for this


@router.get(
    "/{video}/content",
    response_class=Response,
    responses={
        200: {**_MP4, "description": "The whole video."},
        206: {**_MP4, "description": "The range that was asked for."},
        304: {"description": "The caller has it already."},
    }
    | refusals(409, 410, 416),
)
async def get_content(
    video: VideoId,
    request: Request,
    here: Here,
    caller: Generating,
    range: Annotated[str | None, Header(description="bytes=0-1023; one range")] = None,
    if_range: Annotated[str | None, Header(description="an ETag: a range only of this")] = None,
    if_none_match: Annotated[str | None, Header(description="ETags that the caller has")] = None,
) -> Response:
    """The mp4. The ETag is the sha256 of its bytes."""
    job = await run_in_threadpool(here.services.jobs.get, video, caller.client)
    result = _result(job)
    tag = f'"{result.sha256}"'
    if if_none_match is not None and _lists(if_none_match, tag):
        return Response(status_code=304, headers={"ETag": tag})
    wanted = range if if_range is None or if_range == tag else None
    span = None if wanted is None else _span(wanted, result.nbytes)
    return await _file(here, request, job, span)


@router.head("/{video}/content", include_in_schema=False)
async def head_content(
    video: VideoId, request: Request, here: Here, caller: Generating
) -> Response:
    """As GET, without the video: players ask for its length first."""
    job = await run_in_threadpool(here.services.jobs.get, video, caller.client)
    _result(job)
    return await _file(here, request, job, None)


@router.post(
    "/sync",
    response_class=Response,
    responses={200: {**_MP4, "description": "The video; its id and seed are in headers."}}
    | refusals(400, 409, 504),
)
async def create_video_sync(
    body: VideoBody,
    request: Request,
    here: Here,
    caller: Generating,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Generate and answer with the mp4. Closing the connection stops the work."""
    key = idempotency_key
    with here.waiting.taken(caller.client), here.promises.watched(caller.client, key):
        accepting = asyncio.ensure_future(accept(here, caller, body, key))
        try:
            created = await asyncio.shield(accepting)
            job = await _ended(here, created, request)
            if job.state is JobState.CANCELLED and not created.fresh:
                # Who made it has left, perhaps this client itself: then its key is free again.
                accepting = asyncio.ensure_future(accept(here, caller, body, key))
                created = await asyncio.shield(accepting)
                job = await _ended(here, created, request)
        except (ClientLeft, asyncio.CancelledError) as left:
            await asyncio.shield(_stop(here, accepting, caller.client, key))
            if isinstance(left, ClientLeft):
                return Response(status_code=CLIENT_LEFT)
            raise
    if not job.state.final:
        seconds = here.config.sync_s
        message = f"it takes longer than {seconds:g} seconds; the job goes on as {job.id}"
        headers = {"Location": f"/v1/videos/{job.id}"}
        raise Problem(504, "sync_timeout", message, kind=SERVER, headers=headers)
    _result(job, waited=True)
    return await _file(here, request, job, None)


async def _stop(
    here: Context, accepting: asyncio.Future[Created], client: str, key: str | None
) -> None:
    """Cancel the job of a client who has left, unless somebody else may count on it.

    Args:
        here: the application.
        accepting: stores the job; what a thread has begun goes on, so its end is waited for.
        client: whose job it is.
        key: of idempotency.
    """
    try:
        created = await accepting
    except MotionRayError as refusal:
        log.debug("nothing was accepted from a client who has left: %s", refusal)
        return
    # Another request with the same key may have made it, or been answered with it; and a client
    # that asks again with the key wants a video, not this end of it.
    if created.fresh and not here.promises.made(client, key):
        await cancel(here, created.job.id, client, free_key=True)


async def _ended(here: Context, created: Created, request: Request) -> Job:
    """The job once it has ended, or when the time is over.

    Raises:
        ClientLeft: nobody waits any more.
    """
    return await until_final(
        here.services.jobs,
        here.services.backend.settled,
        created.job.id,
        here.config.sync_s,
        here.config.poll_s,
        request.is_disconnected,
    )


def _result(job: Job, *, waited: bool = False) -> JobResult:
    """The video of a job.

    Args:
        job: from the store.
        waited: whether the answer to this request is what became of the job.

    Raises:
        Problem: it has none.
    """
    if job.result is not None:
        return job.result
    if job.state is JobState.CANCELLED:
        raise Problem(409, "cancelled", f"{job.id} was cancelled")
    if job.failure is not None:
        status = _FAILURES.get(job.failure.code, 500) if waited else 409
        kind = SERVER if status >= 500 else INVALID
        headers = {"Retry-After": f"{RETRY_AFTER_S}"} if status == 503 else None
        code, message = job.failure.code, job.failure.message
        raise Problem(status, code, message, kind=kind, headers=headers)
    message = f"{job.id} is {'in progress' if job.state is JobState.RUNNING else 'queued'}; wait"
    raise Problem(409, "video_not_ready", message, headers={"Retry-After": "1"})


async def _file(
    here: Context, request: Request, job: Job, span: tuple[int, int] | None
) -> FileResponse:
    """The answer with a video or a range of it, first and last byte."""
    result, spec = _result(job), GenerationSpec.legible(job.request)
    path = here.services.results.path(result.file)
    try:
        status = await run_in_threadpool(os.stat, path)
    except FileNotFoundError as gone:
        rule = "was removed with its video, after its time or on request"
        raise JobExpiredError(f"job {job.id}", rule, "generate it again") from gone
    except OSError as fault:
        raise JobStoreError(path, f"cannot be read: {fault}") from fault
    # What the framework is to send was decided here, by rules and with errors of ours.
    asked = MutableHeaders(scope=request.scope)
    del asked["range"], asked["if-range"]
    if span is not None:
        asked["range"] = f"bytes={span[0]}-{span[1]}"
    return FileResponse(
        path,
        media_type="video/mp4",
        filename=f"{job.id}.mp4",
        content_disposition_type="inline",
        stat_result=status,
        headers={
            "ETag": f'"{result.sha256}"',
            "Cache-Control": "private, no-cache",
            "X-Video-Id": job.id,
            "X-Seed": str(spec.seed),
            "Server-Timing": ", ".join(
                f"{stage};dur={seconds * 1000:.1f}" for stage, seconds in job.timings.items()
            ),
        },
    )


def _span(header: str, nbytes: int) -> tuple[int, int] | None:
    """First and last byte of a range; null if the header is to be ignored (RFC 9110, 14.2).

    Several ranges at once are ignored as well: the whole video is a valid answer to them.

    Raises:
        Problem: the range lies outside.
    """
    match = _RANGE.fullmatch(header)
    if match is None or not (match["first"] or match["last"]):
        return None
    if match["first"]:
        first = int(match["first"])
        last = int(match["last"]) if match["last"] else max(first, nbytes - 1)
        if last < first:
            return None
    else:
        first, last = max(0, nbytes - int(match["last"])), nbytes - 1
    if first >= nbytes:
        message = f"the video has {nbytes} bytes"
        headers = {"Content-Range": f"bytes */{nbytes}"}
        raise Problem(416, "range_not_satisfiable", message, param="Range", headers=headers)
    return first, min(last, nbytes - 1)


def _lists(header: str, tag: str) -> bool:
    """Whether a list of ETags holds one; weak ones count, for the comparison is a weak one."""
    return any(each.strip().removeprefix("W/") in (tag, "*") for each in header.split(","))
