"""Lines of a server's log: always one, always JSON, and they say what they are about."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator

import pytest

from motion_ray.serving.logs import FIELDS, about, log_json

NAME = "motion_ray.tests.logs"
log = logging.getLogger(NAME)


@pytest.fixture(autouse=True)
def no_longer_than_a_test() -> Iterator[None]:
    """The stderr that a handler has been given is gone afterwards."""
    yield
    log.handlers.clear()
    log.setLevel(logging.NOTSET)


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_record_is_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    log_json(NAME)
    log_json(NAME)  # a second time does nothing
    hostile = 'a\nb\r\x1b[31m\u2028"%s{}'
    log.info("%s", hostile)
    log.debug("not this")
    [line] = told(capsys)
    assert set(line) == {"time", "level", "logger", "message"}
    assert (line["level"], line["logger"], line["message"]) == ("INFO", NAME, hostile)


def test_an_error_comes_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    log_json(NAME)
    try:
        raise RuntimeError("out of\nmemory")
    except RuntimeError:
        log.exception("could not do it")
    [line] = told(capsys)
    error = line["error"]
    assert isinstance(error, str)
    assert error.startswith("Traceback") and error.endswith("RuntimeError: out of\nmemory")


def test_lines_name_what_they_are_about_and_only_that(capsys: pytest.CaptureFixture[str]) -> None:
    log_json(NAME)
    with about(request_id="r-1"):
        log.info("a")
        with about(job="video_1"):
            log.info("b", extra={FIELDS: {"ms": 1.5}})
            elsewhere = threading.Thread(target=log.info, args=("c",))
            elsewhere.start()
            elsewhere.join()
        log.info("d")
    log.info("e")
    names = [{key: line.get(key) for key in ("request_id", "job", "ms")} for line in told(capsys)]
    nothing = {"request_id": None, "job": None, "ms": None}
    assert names == [
        nothing | {"request_id": "r-1"},
        {"request_id": "r-1", "job": "video_1", "ms": 1.5},
        nothing,
        nothing | {"request_id": "r-1"},
        nothing,
    ]


def test_a_context_that_ends_in_an_error_ends(capsys: pytest.CaptureFixture[str]) -> None:
    log_json(NAME)
    with pytest.raises(ValueError, match="x"), about(job="video_1"):
        raise ValueError("x")
    log.info("after")
    assert "job" not in told(capsys)[0]
