"""Stage `world`: the clips that everything is trained on, drawn and described.

A part of the world depends on the seed and its own number only, so whoever draws it, it has the
same bits. Shapes: n clips, f frames, s picture side.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch

from motion_ray.data.puppets.captions import caption
from motion_ray.data.puppets.render import render_batch
from motion_ray.data.puppets.world import pretraining_scene
from motion_ray.files import remove_stale
from motion_ray.pretraining.loop import TrainingProgress
from motion_ray.pretraining.parts import LongArray, Parts
from motion_ray.pretraining.stage import Stage, StageWork
from motion_ray.pretraining.workspace import Workspace

WORLD = "world"
SCENES = "scenes.json"  # beside the frames of a part: what is drawn, and how it is described


@dataclass(frozen=True)
class WorldSettings:
    """Settings of the world.

    Attributes:
        clips: to draw.
        captions: of each, with different things left out.
        clips_per_part: that are drawn and kept together.
        seed: of everything.
    """

    clips: int = 16000
    captions: int = 3
    clips_per_part: int = 200
    seed: int = 0

    MAY_BE_ZERO: ClassVar[frozenset[str]] = frozenset({"seed"})


@dataclass(frozen=True)
class World:
    """The drawn world.

    Attributes:
        frames: uint8 rows ``[f, 3, s, s]``, one a clip.
        captions: of each clip.
    """

    frames: LongArray
    captions: list[list[str]]


def draw_world(settings: WorldSettings, workspace: Workspace) -> StageWork:
    """Draw the parts that are missing, in worker processes if there may be more than one."""
    parts = _parts(settings, workspace)
    remove_stale(parts.folder)
    mine = [n for n in parts.missing() if n % workspace.replicas.count == workspace.replicas.rank]
    times = workspace.metrics(WORLD)
    spent = times.read()
    cpu, seconds = (sum(line[name] for line in spent) for name in ("cpu_seconds", "seconds"))
    done = parts.count - len(mine)
    yield TrainingProgress("drawing", done, parts.count, cpu, None, seconds)
    before = time.monotonic()
    for part_seconds in _drawn(settings, parts, mine, workspace.processes):
        now = time.monotonic()
        cpu, seconds, done = cpu + part_seconds, seconds + now - before, done + 1
        if workspace.replicas.first:
            times.append({"step": done, "cpu_seconds": part_seconds, "seconds": now - before})
        before = now
        yield TrainingProgress("drawing", done, parts.count, cpu, None, seconds)
    return {}


def open_world(workspace: Workspace) -> World:
    """The finished world, compared with its manifests.

    Raises:
        RunFolderError: it is not finished, or damaged.
    """
    settings = WorldSettings(**workspace.record(WORLD).settings)
    parts = _parts(settings, workspace)
    parts.verify()
    described = [json.loads(text) for text in parts.texts(SCENES)]
    return World(parts.open(), [texts for part in described for texts in part["captions"]])


def draw_part(settings: WorldSettings, parts: Parts, number: int) -> float:
    """Draw and describe the clips of one part; returns the processor time it took."""
    started = time.process_time()
    rng = random.Random(f"pretrain {settings.seed} {number}")
    scenes = [pretraining_scene(rng, "train") for _ in parts.rows_of(number)]
    frames = render_batch(scenes).numpy()
    captions = [[caption(scene, rng) for _ in range(settings.captions)] for scene in scenes]
    described = {"scenes": [asdict(scene) for scene in scenes], "captions": captions}
    parts.write(number, frames, {SCENES: json.dumps(described)})
    return time.process_time() - started


def _parts(settings: WorldSettings, workspace: Workspace) -> Parts:
    return workspace.parts(WORLD, settings.clips, settings.clips_per_part)


def _drawn(
    settings: WorldSettings, parts: Parts, numbers: list[int], processes: int
) -> Iterator[float]:
    """Draw some parts; yields after each the processor time it took."""
    if processes == 1 or len(numbers) < 2:
        for number in numbers:
            yield draw_part(settings, parts, number)
        return
    # Spawned, because torch's threads do not survive a fork.
    pool = ProcessPoolExecutor(
        min(processes, len(numbers)), multiprocessing.get_context("spawn"), _one_of_many
    )
    try:
        waiting: list[Future[float]] = [
            pool.submit(draw_part, settings, parts, number) for number in numbers
        ]
        for future in as_completed(waiting):
            yield future.result()
    finally:
        # After Ctrl-C: parts under way are finished, the rest is left for the next time.
        pool.shutdown(cancel_futures=True)


def _one_of_many() -> None:
    """In a drawing process: leave the other cores alone, and Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


STAGE = Stage(
    name=WORLD,
    needs=(),
    full=WorldSettings(),
    tiny=WorldSettings(clips=24, captions=2, clips_per_part=10),
    work=draw_world,
)
