"""Events of a job as they happen (server-sent events), and again for who missed some."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from motion_ray.errors import JobNotFoundError
from motion_ray.serving.http.access import Generating
from motion_ray.serving.http.context import Context, Here, Seats
from motion_ray.serving.http.schemas import refusals
from motion_ray.serving.http.videos import VideoId
from motion_ray.serving.http.views import STATUS, percent
from motion_ray.serving.http.waiting import GROWTH, LONGEST_POLL_S
from motion_ray.serving.jobs import EventKind, JobEvent, JobState

router = APIRouter(prefix="/v1/videos", tags=["videos"])

RECONNECT_MS = 2000
#: Name of the event and the state that the job is in after it.
_KINDS: dict[EventKind, tuple[str, JobState]] = {
    EventKind.QUEUED: ("queued", JobState.QUEUED),
    EventKind.STARTED: ("in_progress", JobState.RUNNING),
    EventKind.PROGRESS: ("progress", JobState.RUNNING),
    EventKind.REQUEUED: ("requeued", JobState.QUEUED),
    EventKind.CANCELLING: ("cancelling", JobState.RUNNING),
    EventKind.SUCCEEDED: ("completed", JobState.SUCCEEDED),
    EventKind.FAILED: ("failed", JobState.FAILED),
    EventKind.CANCELLED: ("cancelled", JobState.CANCELLED),
}
#: And not which worker it was.
_TOLD = ("attempt", "done", "total", "code", "message", "timings", "pause_s")
_EXAMPLE = (
    f"retry: {RECONNECT_MS}\n\n"
    'id: 41\nevent: queued\ndata: {"id": "video_...", "status": "queued", "progress": 0}\n\n'
    'id: 44\nevent: progress\ndata: {"id": "video_...", "status": "in_progress", "progress": 40,'
    ' "done": 6, "total": 15}\n\n'
    'id: 53\nevent: completed\ndata: {"id": "video_...", "status": "completed",'
    ' "progress": 100}\n\n'
)


class _SeatedStream(StreamingResponse):
    """A stream that is refused, before it starts, if there are too many."""

    def __init__(self, frames: AsyncIterator[str], seats: Seats, client: str) -> None:
        super().__init__(frames, media_type="text/event-stream")
        self.headers["X-Accel-Buffering"] = "no"  # asks a proxy to pass on every event at once
        self._seats, self._client = seats, client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        with self._seats.taken(self._client):
            await super().__call__(scope, receive, send)


@router.get(
    "/{video}/events",
    response_class=Response,
    responses={
        200: {
            "description": "Events until the job has ended.",
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
        },
        204: {"description": "It has ended and every event was seen: do not connect again."},
    }
    | refusals(410),
)
async def get_events(
    video: VideoId,
    here: Here,
    caller: Generating,
    last_event_id: Annotated[
        str | None,
        Header(
            pattern=r"^[0-9]{1,18}$",
            description="only what came after; a larger id than the job has counts as its last one",
        ),
    ] = None,
) -> Response:
    """What happened and happens to a job, one event for every denoising step that was reported.

    The stream ends with the job. Between events there is a comment from time to time, so that
    connections are not taken for dead.
    """
    jobs = here.services.jobs
    after = int(last_event_id or 0)
    await run_in_threadpool(jobs.get, video, caller.client)
    known = await run_in_threadpool(jobs.events, video)
    if known and after >= known[-1].id:
        if _KINDS[known[-1].kind][1].final:
            return Response(status_code=204)
        # An id that no event of the job has yet, as of another job, or of a store that was put
        # back to an earlier state: no later event would come after it, not even the last one.
        after = known[-1].id
    return _SeatedStream(_frames(here, video, after), here.waiting, caller.client)


async def _frames(here: Context, video: str, after: int) -> AsyncIterator[str]:
    jobs, config = here.services.jobs, here.config
    loop = asyncio.get_running_loop()
    yield f"retry: {RECONNECT_MS}\n\n"
    spoke, pause = loop.time(), config.poll_s
    while True:
        events = await run_in_threadpool(jobs.events, video, after)
        for event in events:
            after = event.id
            yield _frame(event)
            if _KINDS[event.kind][1].final:
                return
        if events:
            spoke, pause = loop.time(), config.poll_s
        elif loop.time() - spoke >= config.heartbeat_s:
            try:
                await run_in_threadpool(jobs.get, video)
            except JobNotFoundError:
                return  # removed meanwhile, and its events with it
            yield ": still here\n\n"
            spoke = loop.time()
        await asyncio.sleep(min(pause, config.heartbeat_s))
        pause = min(pause * GROWTH, max(config.poll_s, LONGEST_POLL_S))


def _frame(event: JobEvent) -> str:
    name, state = _KINDS[event.kind]
    data: dict[str, Any] = {"id": event.job, "status": STATUS[state], "at": round(event.at, 3)}
    if event.kind is EventKind.PROGRESS:
        data["progress"] = percent(event.data["done"], event.data["total"])
    elif state in (JobState.QUEUED, JobState.SUCCEEDED):
        data["progress"] = 100 if state.final else 0
    data |= {key: event.data[key] for key in _TOLD if key in event.data}
    # JSON has no line breaks of its own, which would end the field.
    return f"id: {event.id}\nevent: {name}\ndata: {json.dumps(data)}\n\n"
