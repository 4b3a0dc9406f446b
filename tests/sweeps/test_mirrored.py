"""A real run that moves from machine to machine by its mirror, killed on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from motion_ray.config import CustomizationConfig
from motion_ray.customization.loop import customize
from motion_ray.store import DeltaStore
from motion_ray.sweeps.mirror import RunMirror
from motion_ray.sweeps.mirrored import mirrored
from motion_ray.types import Checkpointed, RunFinished, RunStarted, StepDone, TrainEvent

STEPS = 6


@pytest.fixture
def config(tiny_run: CustomizationConfig) -> CustomizationConfig:
    """Six steps with a validation and a checkpoint every two, and dropout."""
    floor = {"clip_model": "puppet", "relative": None, "value": -1.0}
    changes = {"max_steps": STEPS, "validation": {"every": 2, "floor": floor}, "name": "slide"}
    return tiny_run.replace(changes)


@pytest.fixture(params=["file", "memory"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{'file://' if request.param == 'file' else 'memory:/'}{tmp_path / 'mirror'}"


def run(
    config: CustomizationConfig, uri: str, attempt: int, node: Path, cache: Path
) -> Generator[TrainEvent, None, None]:
    def begin() -> Iterator[TrainEvent]:
        return customize(config, node, store=f"{uri}/store", cache=cache, device="cpu")

    return mirrored(begin, RunMirror(uri, attempt), node)


def lines(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in found]


@pytest.mark.slow
def test_a_run_killed_on_one_machine_ends_on_another_with_the_same_bits(
    config: CustomizationConfig, uri: str, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    undisturbed = tmp_path / "undisturbed"
    *_, expected = customize(config, undisturbed, cache=cache, device="cpu")
    assert isinstance(expected, RunFinished)

    begun = []
    for attempt, last in enumerate((1, 3, 5), 1):
        node = tmp_path / f"node-{attempt}"
        events = run(config, uri, attempt, node, cache)
        for event in events:
            if isinstance(event, RunStarted):
                begun.append(event.step)
            if isinstance(event, StepDone) and event.step == last:
                break
        events.close()
        shutil.rmtree(node)  # the machine is gone
    node = tmp_path / "node-4"
    *_, finished = run(config, uri, 4, node, cache)
    assert begun == [0, 0, 2]
    assert isinstance(finished, RunFinished)
    assert (finished.sha256, finished.step) == (expected.sha256, STEPS)
    assert (finished.store, finished.report) == (f"{uri}/store", f"{uri}/report.html")
    assert lines(node) == lines(undisturbed)
    assert not (node / "checkpoints").exists()  # a machine's own disk is small
    assert DeltaStore(finished.store).load(finished.delta).sha256 == expected.sha256

    # Somebody who did not hear of the end asks again, on a machine that knows nothing.
    [again] = run(config, uri, 5, tmp_path / "node-5", cache)
    assert again == finished
    look = tmp_path / "look"
    assert RunMirror(uri).fetch(look, lambda path: True)
    assert not (look / "checkpoints").exists() and (look / "report.html").exists()


@pytest.mark.slow
def test_whoever_hears_of_a_checkpoint_can_rely_on_its_copy(
    config: CustomizationConfig, uri: str, tmp_path: Path
) -> None:
    events = run(config, uri, 1, tmp_path / "node-1", tmp_path / "cache")
    for event in events:
        if isinstance(event, Checkpointed) and event.step == 4:
            break
    copy = tmp_path / "copy"
    assert RunMirror(uri).fetch(copy, lambda path: True)
    assert (copy / "checkpoints" / "step-00000004" / "manifest.json").exists()
    assert lines(copy)[-1] == {**lines(copy)[-1], "event": "validation", "step": 4}
    events.close()
