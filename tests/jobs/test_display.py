"""What the terminal shows of a run, drawn for real into a buffer."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from jobs.display import LiveDisplay, PlainDisplay, ShieldedDisplay, choose_display
from motion_ray.cluster.progress import Progress
from motion_ray.cluster.relay import Attempt, Item
from motion_ray.types import Checkpointed, Preparing, RunStarted, StepDone, Validated

RUN: list[Item] = [
    Attempt(1, "node-a", 7),
    Preparing("encoding motion clips", 1, 2),
    Preparing("encoding motion clips", 2, 2),
    RunStarted(0, 100, 5_000_000, 99, 10, 60, "cpu", False),
    StepDone(1, 0.25, {"motion": 0.25}, 1e-4, 1.0, 0.5),
    StepDone(2, 0.75, {"regularization": 0.75}, 1e-4, 1.0, 0.5),
    Validated(2, 0.2613, 0.2501, True, 3.0),
    Checkpointed(2, "x"),
]


def folded(items: list[Item]) -> Progress:
    progress = Progress()
    for item in items:
        progress.update(item)
    return progress


def test_the_panel_shows_every_number_and_keeps_news_above() -> None:
    buffer = io.StringIO()
    console = Console(file=buffer, force_terminal=True, width=100, color_system=None)
    with LiveDisplay(console, "swing") as display:
        display.show(RUN, folded(RUN))
    lines = [line.strip(" │") for line in buffer.getvalue().splitlines()]
    shown = "\n".join(lines)
    assert "worker started on node-a" in shown
    assert "validation at step 2" in shown
    assert "2/100" in shown and "swing" in shown
    for row in (
        "loss, motion          0.2500",
        "loss, regularization  0.7500",
        "appearance            0.2613   floor 0.2501",
        "checkpoint            step 2",
    ):
        assert row in lines
    assert any(line.startswith("speed") and "0.50 s/step" in line for line in lines)


def test_plain_lines_name_each_stage_once_and_every_validation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with PlainDisplay() as display:
        for index, item in enumerate(RUN):
            display.show([item], folded(RUN[: index + 1]))
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("encoding motion clips") == 1
    assert sum(line.startswith("validation at step 2") for line in lines) == 1
    # Ten seconds have not passed, so of all those states only the first got a line.
    assert len([line for line in lines if line.startswith("step ")]) == 0
    assert lines[1] == "starting the worker"


def test_without_a_terminal_there_are_lines() -> None:
    assert isinstance(choose_display(False, "x"), PlainDisplay)
    assert isinstance(choose_display(True, "x"), PlainDisplay)


class Closed(io.StringIO):
    """A terminal that goes away after it has been opened."""

    gone = False

    def write(self, text: str) -> int:
        if self.gone:
            raise OSError("terminal is gone")
        return super().write(text)


def test_a_display_that_fails_is_logged_and_replaced_by_lines(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    terminal = Closed()
    console = Console(file=terminal, force_terminal=True, color_system=None)
    with ShieldedDisplay(LiveDisplay(console, "swing")) as display:
        display.show(RUN[:1], folded(RUN[:1]))
        terminal.gone = True
        display.show(RUN[1:2], folded(RUN[:2]))
        display.show(RUN[6:], folded(RUN))
    assert "the display failed" in caplog.text and "terminal is gone" in caplog.text
    assert "validation at step 2" in capsys.readouterr().out


def test_lines_that_nobody_reads_do_not_end_the_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    terminal = Closed()
    terminal.gone = True
    monkeypatch.setattr("sys.stdout", terminal)
    with ShieldedDisplay(PlainDisplay()) as display:
        for _ in range(3):
            display.show(RUN, folded(RUN))
    assert len([record for record in caplog.records if record.name == "jobs.display"]) == 1
