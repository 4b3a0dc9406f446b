"""A server of motion_ray, as methods.

    with Client() as client:
        video = client.generate(VideoOrder("a red robot doing the pll"), Path("robot.mp4"))

The address comes from ``MOTION_RAY_URL`` and the key from ``MOTION_RAY_API_KEY`` unless they are
given. Making a video carries an idempotency key, so that a request that was sent twice, because its
answer was lost, makes one job.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self
from urllib.parse import quote

import httpx2

from motion_ray.client.faults import AnswerError, ClientError, RefusedError, VideoFailedError
from motion_ray.client.transport import AGAIN, RetryPolicy, Transport
from motion_ray.client.values import Motion, Video, VideoEvent, VideoOrder
from motion_ray.files import write_bytes_atomic
from motion_ray.manifest import MANIFEST, verify_manifest

DEFAULT_URL = "http://127.0.0.1:8000"
URL_VARIABLE, KEY_VARIABLE = "MOTION_RAY_URL", "MOTION_RAY_API_KEY"
PAGE = 100  # items of a list in one request
PUBLISH_S = 900.0  # the server reads, checks and writes a whole delta before it answers

Place = Literal["device", "host"]
OnEvent = Callable[[VideoEvent], None]


class Client:
    """See the top of this file. Safe for threads. Every method may raise ClientError.

    Args:
        url: of the server.
        api_key: null for a server without keys.
        retry: when to send a request again.
        transport: of httpx2, for tests and unusual networks.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        retry: RetryPolicy | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        url = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
        api_key = api_key or os.environ.get(KEY_VARIABLE) or None
        self._transport = Transport(url, api_key, retry=retry, transport=transport)

    def close(self) -> None:
        """Let go of the connection."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- videos -----------------------------------------------------------------------------------

    def generate(self, order: VideoOrder, out: Path, on_event: OnEvent | None = None) -> Video:
        """Make a video, wait for it, and write it to a file.

        Args:
            order: what to generate.
            out: the file; replaced if it is there, all or nothing.
            on_event: told what happens to the job.

        Raises:
            RefusedError: the server does not accept the order; ``param`` is the field.
            VideoFailedError: it failed, or was cancelled.
        """
        video = self.wait(self.create(order).id, on_event)
        self.download(video.id, out)
        return video

    def create(self, order: VideoOrder, idempotency_key: str | None = None) -> Video:
        """Have a job accepted; when this returns, the server has it on disk.

        Args:
            order: what to generate.
            idempotency_key: the same one with the same order gives the same job; null: a new one.

        Raises:
            RefusedError: the server does not accept it; ``param`` is the field.
        """
        headers = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}
        answer = self._transport.json("POST", "/v1/videos", body=order.body(), headers=headers)
        return Video.read(answer)

    def video(self, video: str) -> Video:
        """A job as it is now."""
        return Video.read(self._transport.json("GET", _path("videos", video)))

    def videos(self, limit: int | None = None) -> Iterator[Video]:
        """The caller's jobs, newest first; null: all of them."""
        return itertools.islice(map(Video.read, self._listed("/v1/videos")), limit)

    def cancel(self, video: str) -> Video:
        """Stop a job, within one denoising step, and keep its record."""
        return Video.read(self._transport.json("POST", _path("videos", video, "cancel")))

    def delete(self, video: str) -> None:
        """Stop a job and remove it with its video."""
        self._transport.json("DELETE", _path("videos", video))

    def events(self, video: str, after: int = 0) -> Iterator[VideoEvent]:
        """What happened and happens to a job, until it has ended; none is missed or told twice.

        A connection that breaks is made again, and goes on where it broke.

        Args:
            video: id of the job.
            after: id of the last event that is known already.
        """
        path, attempt = _path("videos", video, "events"), 0
        while True:
            attempt += 1
            try:
                with self._transport.listen(path, after) as heard:
                    for each in heard:
                        if each.data:
                            event = _event(each)
                            attempt, after = 0, event.id
                            yield event
                            if event.final:
                                return
            except httpx2.RequestError as broken:
                if not self._transport.pause(attempt, broken):
                    raise self._transport.unreachable(broken) from broken
                continue
            except RefusedError as refusal:
                if refusal.status not in AGAIN or not self._transport.pause(attempt, refusal):
                    raise
                continue
            if self.video(video).final:
                return  # its last event was known already
            early = AnswerError(path, "ended before the job did", "ask again")
            if not self._transport.pause(attempt, early):
                raise early

    def wait(self, video: str, on_event: OnEvent | None = None) -> Video:
        """Wait for a job to be completed.

        Raises:
            VideoFailedError: it failed, or was cancelled.
        """
        for event in self.events(video):
            if on_event is not None:
                on_event(event)
        found = self.video(video)
        if found.status == "cancelled":
            raise VideoFailedError(found.id, "was cancelled", code="cancelled")
        if found.error is not None:
            raise VideoFailedError(found.id, found.error.message, code=found.error.code)
        return found

    def download(self, video: str, out: Path) -> None:
        """Write the mp4 of a completed job to a file, all or nothing."""
        response = self._transport.whole(_path("videos", video, "content"), "video/mp4")
        # The tag is the sha256 of the video; a proxy between may have its own.
        tag = response.headers.get("etag", "").strip('"')
        if len(tag) == 64 and hashlib.sha256(response.content).hexdigest() != tag:
            raise AnswerError(video, "was changed on its way here", "download it again")
        write_bytes_atomic(out, response.content, ClientError)

    # --- motions ----------------------------------------------------------------------------------

    def motions(self) -> list[Motion]:
        """The motions of the server, by name."""
        return [Motion.read(each) for each in self._listed("/v1/motions")]

    def motion(self, name: str) -> Motion:
        """One motion."""
        return Motion.read(self._transport.json("GET", _path("motions", name)))

    def publish(self, folder: Path, name: str) -> Motion:
        """Send a delta of this machine to the server. Needs a key for administration.

        Args:
            folder: as ``MotionDelta.save`` writes it; it is checked against its manifest first.
            name: the motion's on the server; the same content again is the version that is there.
        """
        names = [*verify_manifest(folder, ClientError), MANIFEST]

        def opened() -> dict[str, BinaryIO]:
            with contextlib.ExitStack() as stack:
                files: dict[str, BinaryIO] = {
                    each: stack.enter_context((folder / each).open("rb")) for each in names
                }
                stack.pop_all()  # from here on the transport closes them
            return files

        answer = self._transport.json(
            "POST", "/v1/motions", form={"id": name}, files=opened, read_s=PUBLISH_S
        )
        return Motion.read(answer)

    def register(self, source: str, name: str) -> Motion:
        """Publish a delta that lies where the server can read it. Needs a key for administration.

        Args:
            source: folder or URI, below a place that the server's operator has allowed.
            name: the motion's on the server.
        """
        body = {"id": name, "source": source}
        return Motion.read(self._transport.json("POST", "/v1/motions", body=body, read_s=PUBLISH_S))

    def load(
        self, name: str, version: int | None = None, place: Place = "device", replicas: int = 1
    ) -> Motion:
        """Have a motion in the memory of some replicas. Needs a key for administration."""
        body = {"version": version, "place": place, "replicas": replicas}
        return Motion.read(self._transport.json("POST", _path("motions", name, "load"), body=body))

    def pin(self, name: str, version: int | None = None, *, pinned: bool = True) -> Motion:
        """Load a motion and let it stay, or no longer. Needs a key for administration."""
        body = {"version": version, "pinned": pinned}
        return Motion.read(self._transport.json("POST", _path("motions", name, "pin"), body=body))

    def unload(self, name: str, version: int | None = None) -> bool:
        """Take a motion out of memory everywhere; false if it is still used somewhere. Needs a key
        for administration.
        """
        answer = self._transport.json(
            "POST", _path("motions", name, "unload"), body={"version": version}
        )
        return bool(_field(answer, "unloaded"))

    def withdraw(self, name: str, version: int | None = None, *, force: bool = False) -> None:
        """Take a version of a motion, or all, from the store. Needs a key for administration."""
        query = {"force": "true" if force else "false"}
        if version is not None:
            query["version"] = f"{version}"
        self._transport.json("DELETE", _path("motions", name), query=query)

    def _listed(self, path: str) -> Iterator[object]:
        """The items of a list, page by page; the next one is there before the last item of a page
        is handed out, which the caller may delete.
        """
        query = {"limit": f"{PAGE}"}
        kept: list[object] = []
        while True:
            answer = self._transport.json("GET", path, query=query)
            yield from kept
            items = list(_field(answer, "data"))
            yield from items[:-1]
            kept = items[-1:]
            if not _field(answer, "has_more"):
                break
            query["after"] = str(_field(answer, "last_id"))
        yield from kept


def _path(*parts: str) -> str:
    """An address; no part of it can become two."""
    escaped = [quote(part, safe="") for part in parts]
    if any(part in ("", ".", "..") for part in escaped):
        raise ClientError(repr("/".join(parts)), "is no id", "see the list")
    return "/v1/" + "/".join(escaped)


def _field(answer: object, name: str) -> Any:
    if not isinstance(answer, Mapping) or name not in answer:
        raise AnswerError("answer", f"has a field {name}, the server sent none")
    return answer[name]


def _event(heard: httpx2.ServerSentEvent) -> VideoEvent:
    try:
        data = json.loads(heard.data)
        return VideoEvent(int(heard.id), heard.event, dict(data))
    except (ValueError, TypeError) as fault:
        raise AnswerError(
            "event", f"is JSON with a number, the server sent {heard!r:.80}"
        ) from fault
