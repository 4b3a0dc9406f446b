"""Which calls made a reproduction, as its report tells it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from motion_ray.reproduction.calls import Call, facts_of, recall, remember, without_places

FIRST = Call("reproduce all", "abc", "CPU, 1 thread", "2026-11-24", "2026-11-24", 100.0)
SECOND = Call(
    *("reproduce all --workers 2", "abc", "2 workers, 1 GPU each"),
    *("2026-11-25", "2026-11-25 06:30:00", 20.4),
)


def test_several_calls_are_told_as_one(tmp_path: Path) -> None:
    assert recall(tmp_path, "results.json") == []
    remember(tmp_path, FIRST, "results.json")
    remember(tmp_path, SECOND, "results.json")
    calls = recall(tmp_path, "results.json")
    assert calls == [FIRST, SECOND]
    assert facts_of(calls) == {
        "command": "reproduce all; reproduce all --workers 2",
        "commit": "abc",
        "device": "CPU, 1 thread; 2 workers, 1 GPU each",
        "date": "2026-11-24; 2026-11-25",
        "time": "120 minutes in 2 calls",
    }
    assert facts_of(calls[:1])["time"] == "100 minutes"


def test_how_a_call_ended_replaces_how_it_began_and_a_killed_one_has_no_time(
    tmp_path: Path,
) -> None:
    begun = replace(SECOND, minutes=None)
    remember(tmp_path, FIRST, "results.json")
    remember(tmp_path, begun, "results.json")
    calls = recall(tmp_path, "results.json")
    assert calls == [FIRST, begun]
    assert facts_of(calls)["time"] == "100 minutes in 2 calls, without 1 whose end was not noted"
    remember(tmp_path, SECOND, "results.json")
    assert recall(tmp_path, "results.json") == [FIRST, SECOND]


def test_two_calls_of_one_second_stay_two_and_one_is_known_wherever_it_wrote(
    tmp_path: Path,
) -> None:
    there = replace(SECOND, command="reproduce all --motions dabbing")
    remember(tmp_path, SECOND, "results.json")
    remember(tmp_path, there, "results.json")
    assert recall(tmp_path, "results.json") == [SECOND, there]
    for where in (
        "--out /mnt/a",
        "--out=b",
        "--publish '/mnt/a b' --plain --so-far",
        "'--known=/mnt/a b'",
    ):
        assert replace(SECOND, command=f"{SECOND.command} {where}").key == SECOND.key
    quoted = "reproduce all --out x --motions 'swiping down' drumming"
    assert without_places(quoted) == "reproduce all --motions 'swiping down' drumming"


def test_a_report_without_a_list_tells_of_its_own_call(tmp_path: Path) -> None:
    facts = {
        "command": "reproduce all",
        "commit": "abc",
        "device": "CPU, 1 thread",
        "date": "2026-11-24",
        "time of this call": "100.0 minutes",
    }
    (tmp_path / "results.json").write_text(json.dumps({"facts": facts}))
    assert recall(tmp_path, "results.json") == [FIRST]
    remember(tmp_path, SECOND, "results.json")
    assert recall(tmp_path, "results.json") == [FIRST, SECOND]
