"""Two submissions of one sweep, from machines that see only the storage."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from motion_ray.errors import FolderBusyError
from motion_ray.sweeps.lease import only_submission
from motion_ray.sweeps.place import open_place

BEAT, SILENCE = 0.05, 0.6


@pytest.fixture(params=["path", "memory"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "path" else f"memory:/{tmp_path}"


def test_a_second_submission_is_refused_while_the_first_one_lives(uri: str) -> None:
    second = only_submission(uri, BEAT, SILENCE)
    refused = pytest.raises(FolderBusyError, match="another submission works on this sweep")
    with only_submission(uri, BEAT, SILENCE), refused, second:
        pass
    started = time.monotonic()
    with only_submission(uri, BEAT, SILENCE):  # the first one has said goodbye
        assert time.monotonic() - started < SILENCE


def test_a_killed_submission_is_taken_over_after_a_silence(uri: str) -> None:
    place = open_place(uri)
    place.create("submissions/000001.json", b"{}\n")
    place.replace("submissions/000001.beat", b"7")
    started = time.monotonic()
    with only_submission(uri, BEAT, SILENCE):
        assert time.monotonic() - started >= SILENCE
        assert place.read("submissions/000002.json") is not None


def test_of_two_that_take_over_at_once_one_wins(uri: str) -> None:
    open_place(uri).create("submissions/000001.json", b"{}\n")
    together, outcomes = threading.Barrier(2), []

    def take_over() -> None:
        together.wait()
        try:
            with only_submission(uri, BEAT, SILENCE):
                outcomes.append("held")
                time.sleep(2 * SILENCE)
        except FolderBusyError:
            outcomes.append("refused")

    threads = [threading.Thread(target=take_over) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["held", "refused"]
