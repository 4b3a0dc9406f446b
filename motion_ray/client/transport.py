"""Requests that are sent again when that helps, and errors in our own terms.

Sent again are requests that found no server, no place (429) or a server that is not ready (502,
503), after the time that the server named or else after one that doubles, with some chance in it so
that many clients do not come back together. Every request of the client may be sent twice: those
that make a job carry an idempotency key, the others are the same done twice.
"""

from __future__ import annotations

import email.utils
import ipaddress
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import httpx2

from motion_ray.client.faults import AnswerError, ClientError, RefusedError, UnreachableError

log = logging.getLogger(__name__)

AGAIN = frozenset({429, 502, 503})
CONNECT_S = 10.0
READ_S = 120.0  # longer than the server's longest ordinary answer, and than its heartbeat
FIX_UNREACHABLE = "start one (python -m motion_ray.serving.http), or set MOTION_RAY_URL"
FIX_KEY = "set MOTION_RAY_API_KEY to a key of this server"

OpenFiles = Callable[[], Mapping[str, BinaryIO]]
"""Opens the files of an upload, anew for every attempt."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and when a request is sent again.

    Attributes:
        attempts: in all.
        first_s: pause before the second attempt; it doubles.
        longest_s: a pause is never longer. A server that asks for more is not waited for.
        draw: a number from 0 to 1.
    """

    attempts: int = 6
    first_s: float = 0.5
    longest_s: float = 60.0
    draw: Callable[[], float] = field(default=random.random, repr=False)

    def pause(self, attempt: int, retry_after: float | None) -> float | None:
        """Seconds to wait after an attempt that failed; null: give up.

        Args:
            attempt: from 1.
            retry_after: what the server asked for.
        """
        if attempt >= self.attempts:
            return None
        if retry_after is not None:
            if retry_after > self.longest_s:
                return None
            return retry_after * (1 + 0.1 * self.draw())
        return min(self.longest_s, self.first_s * 2 ** (attempt - 1)) * (0.5 + 0.5 * self.draw())


class Transport:
    """A connection to one server. Safe for threads.

    Args:
        url: of the server.
        api_key: null for a server without keys.
        retry: when to send a request again.
        transport: of httpx2, for tests.
        sleep: seconds.

    Raises:
        ClientError: the URL or the key cannot be one.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        *,
        retry: RetryPolicy | None = None,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url, self._retry, self._sleep = url.rstrip("/"), retry or RetryPolicy(), sleep
        self._met = False  # whether a server has answered at this address
        host = _check_url(url)
        headers = {"Accept": "application/json"}
        if api_key is not None:
            if not api_key.isascii() or not api_key.isprintable() or " " in api_key.strip():
                raise ClientError("API key", "has characters that no key has", FIX_KEY)
            headers["Authorization"] = f"Bearer {api_key.strip()}"
        self._http = httpx2.Client(
            base_url=self.url,
            headers=headers,
            timeout=httpx2.Timeout(READ_S, connect=CONNECT_S),
            transport=transport,
            trust_env=not _is_loopback(host),  # this machine is not reached through a proxy
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def json(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        files: OpenFiles | None = None,
        read_s: float = READ_S,
    ) -> Any:
        """Send a request, again if that helps; the answer's JSON.

        Raises:
            ClientError: see :mod:`motion_ray.client.faults`.
        """

        def send() -> httpx2.Response:
            opened = files() if files is not None else None
            try:
                return self._http.request(
                    method,
                    path,
                    json=body,
                    params=query,
                    headers=headers,
                    data=form,
                    files=_parts(opened),
                    timeout=httpx2.Timeout(read_s, connect=CONNECT_S),
                )
            finally:
                for stream in (opened or {}).values():
                    stream.close()

        response = self._persistently(f"{method} {path}", send)
        try:
            return response.json()
        except ValueError as fault:
            raise self.no_api() from fault

    def whole(self, path: str, media: str) -> httpx2.Response:
        """An answer that is not JSON, with its whole body.

        Args:
            path: of the address.
            media: the type that it has to have.

        Raises:
            ClientError: see :mod:`motion_ray.client.faults`.
        """

        def send() -> httpx2.Response:
            return self._http.get(path, headers={"Accept": media})

        response = self._persistently(f"GET {path}", send)
        if response.headers.get("content-type", "").partition(";")[0] != media:
            raise self.no_api()
        return response

    @contextmanager
    def listen(self, path: str, after: int) -> Iterator[Iterable[httpx2.ServerSentEvent]]:
        """One attempt to hear events; none if there will be no more.

        Args:
            path: of the address.
            after: id of the last event that was heard.

        Raises:
            ClientError: the server answered with an error.
            httpx2.RequestError: the connection broke, which says nothing about the job.
        """
        headers = {"Accept": "text/event-stream", "Last-Event-ID": f"{after}"}
        with self._http.stream("GET", path, headers=headers) as response:
            self._met = True
            if response.is_success:
                yield () if response.status_code == 204 else httpx2.EventSource(response)
                return
            response.read()
            raise self._refusal(f"GET {path}", response)

    def pause(self, attempt: int, fault: Exception) -> bool:
        """Wait before the next attempt; false if there should be none."""
        if isinstance(fault, httpx2.ConnectError) and not self._met and attempt > 1:
            return False  # a server that restarts is waited for, one that never was is not
        retry_after = fault.retry_after if isinstance(fault, RefusedError) else None
        seconds = self._retry.pause(attempt, retry_after)
        if seconds is None:
            return False
        log.warning("again in %.1f s: %s", seconds, fault)
        self._sleep(seconds)
        return True

    def unreachable(self, fault: httpx2.RequestError) -> UnreachableError:
        """A broken connection in our terms."""
        reason = str(fault) or type(fault).__name__
        return UnreachableError(self.url, f"no server answers: {reason}", FIX_UNREACHABLE)

    def _persistently(self, what: str, send: Callable[[], httpx2.Response]) -> httpx2.Response:
        attempt = 0
        while True:
            attempt += 1
            try:
                response = send()
            except httpx2.RequestError as broken:
                if not self.pause(attempt, broken):
                    raise self.unreachable(broken) from broken
                continue
            self._met = True
            if response.is_success:
                return response
            refusal = self._refusal(what, response)
            if response.status_code not in AGAIN or not self.pause(attempt, refusal):
                raise refusal

    def _refusal(self, what: str, response: httpx2.Response) -> ClientError:
        """The error in an answer."""
        status = response.status_code
        try:
            error = response.json()["error"]
            message, code, param = str(error["message"]), str(error["code"]), error.get("param")
        except (ValueError, KeyError, TypeError, AttributeError):
            if status not in AGAIN:
                return self.no_api()
            message, code, param = response.reason_phrase.lower(), "", None
        fix = FIX_KEY if status == 401 else ""
        retry_after = _seconds(response.headers.get("retry-after"))
        where = what if param is None else str(param)
        if message.startswith(f"{where}: "):
            message = message[len(where) + 2 :]
        return RefusedError(where, message, fix, status, code, param, retry_after)

    def no_api(self) -> AnswerError:
        """Somebody else's server answered."""
        rule = "what answers there is no server of motion_ray"
        return AnswerError(self.url, rule, "set MOTION_RAY_URL, e.g. http://127.0.0.1:8000")


def _parts(opened: Mapping[str, BinaryIO] | None) -> list[tuple[str, tuple[str, BinaryIO]]] | None:
    if opened is None:
        return None
    return [("files", (name, stream)) for name, stream in opened.items()]


def _check_url(url: str) -> str:
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError) as fault:
        raise ClientError(f"{url[:80]!r}", "is no URL", "e.g. http://127.0.0.1:8000") from fault
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ClientError(f"{url[:80]!r}", "is no URL", "e.g. http://127.0.0.1:8000")
    return parsed.host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _seconds(header: str | None) -> float | None:
    """Of a Retry-After header, which has seconds or a date."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        log.warning("a Retry-After that is neither seconds nor a date: %.40r", header)
        return None
