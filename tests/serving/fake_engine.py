"""An engine that takes its time in steps, and jobs for it: replicas without a model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

from motion_ray.diffusion.sampler import OnStep
from motion_ray.errors import Cancelled, DeltaError, StoreError
from motion_ray.files import write_bytes_atomic
from motion_ray.serving.engine import Generation
from motion_ray.serving.jobs import AdmissionLimits, Job, NewJob
from motion_ray.serving.mix import Mix
from motion_ray.serving.requests import GenerationSpec
from motion_ray.serving.sqlite_jobs import SqliteJobStore
from motion_ray.types import GeneratedVideo
from tests.waiting import until

SPEC = GenerationSpec(
    prompt="a red robot",
    negative_prompt="",
    width=8,
    height=8,
    frames=1,
    fps=8,
    steps=3,
    guidance=1,
    seed=0,
)


class FakeEngine:
    """Takes its time in steps; what the seed says happens."""

    BROKEN, CRASHES, UNREACHABLE = 1, 2, 3

    def __init__(self) -> None:
        self.seconds = 0.001
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.prefetched: list[str] = []
        self.stepped = 0

    def mix(self, spec: GenerationSpec) -> Mix:
        if spec.prompt == "gone":
            raise DeltaError("/srv/store", "is damaged", "publish it again")
        if spec.prompt == "unreachable":
            raise StoreError("/srv/store", "cannot be read: connection reset", "check it")
        return Mix()

    def prefetch(self, mix: Mix, level: str) -> bool:
        self.prefetched.append(level)
        return True

    def generate(
        self,
        spec: GenerationSpec,
        mix: Mix,
        *,
        on_step: OnStep | None = None,
        cancelled: Callable[[], bool] | None = None,
        given_up: Callable[[], bool] | None = None,
    ) -> Generation:
        assert on_step is not None and cancelled is not None
        self.entered.set()
        if spec.seed == self.BROKEN:
            raise DeltaError("/srv/store", "is damaged", "publish it again")
        if spec.seed == self.UNREACHABLE:
            raise StoreError("/srv/store", "cannot be read: connection reset", "check it")
        if spec.seed == self.CRASHES:
            raise RuntimeError("/srv/secret: out of memory")
        for step in range(spec.steps):
            assert self.go_on.wait(20)
            if cancelled():
                raise Cancelled("generation", f"cancelled after {step} steps")
            time.sleep(self.seconds)
            self.stepped = step + 1
            on_step(step + 1, spec.steps)
        frames = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
        video = GeneratedVideo(frames, 8, spec.prompt, spec.seed)
        return Generation(video, (), {"load": 0.1, "denoise": 0.2, "decode": 0.3})


def write(path: Path, video: GeneratedVideo) -> None:
    write_bytes_atomic(path, f"video of {video.prompt}, seed {video.seed}".encode())


def accept(
    store: SqliteJobStore, deadline_s: float | None = None, client: str = "ann", **changes
) -> Job:
    """A job in the store."""
    request = SPEC.model_copy(update=changes).model_dump(mode="json")
    return store.create(NewJob(client, request, "f", deadline_s=deadline_s), AdmissionLimits()).job


def ended(store: SqliteJobStore, job: Job) -> Job:
    """The job, once it has reached a final state."""
    until(lambda: store.get(job.id).state.final)
    return store.get(job.id)
