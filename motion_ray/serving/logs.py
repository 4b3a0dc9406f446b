"""What a server logs: one object of JSON a line, with the request and the job that it is about.

A process calls :func:`log_json` once. Whoever starts work on a request or a job says so with
:func:`about`; what is logged meanwhile in the same task or thread names it, also by code that knows
neither.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType

FIELDS = "fields"
"""Key of ``extra``: a mapping with more for the line, such as those of the access log."""

_about: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))


@contextlib.contextmanager
def about(*, request_id: str | None = None, job: str | None = None) -> Iterator[None]:
    """Have what is logged inside name this request or job, beside those of contexts around it."""
    known = {"request_id": request_id, "job": job}
    new = {name: value for name, value in known.items() if value is not None}
    before = _about.set({**_about.get(), **new})
    try:
        yield
    finally:
        _about.reset(before)


class JsonLines(logging.Formatter):
    """A record as a line of JSON, which escapes whatever could end the line or steer a terminal.

    ``time`` (seconds since 1970), ``level``, ``logger`` and ``message`` are always there;
    ``request_id``, ``job`` and ``error`` (a traceback) where they are known.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_about.get(),
            **vars(record).get(FIELDS, {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_json(*names: str) -> None:
    """Write what these loggers are told, from level INFO, to stderr as lines of JSON.

    Args:
        names: of loggers, with all below them; ``""`` is every logger. One that has a handler
            already is left as it is.
    """
    for name in names:
        logger = logging.getLogger(name)
        if not logger.handlers:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(JsonLines())
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
