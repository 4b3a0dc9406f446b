"""One generation with its motions: what a replica does between taking a job and writing a file.

Shapes: a video is uint8 ``[f, 3, H, W]``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal, Protocol

from motion_ray.backbones.unet3d import UNet3DBackbone
from motion_ray.config import ClipConfig, SamplingConfig
from motion_ray.customization.memory import memory_explained
from motion_ray.diffusion.sampler import OnStep
from motion_ray.generation import VideoGenerator
from motion_ray.serving.catalog import MotionCatalog
from motion_ray.serving.lease import LeasedMotion
from motion_ray.serving.mix import Mix
from motion_ray.serving.pool import Level, MotionPool
from motion_ray.serving.requests import GenerationSpec
from motion_ray.types import GeneratedVideo

SMALLER = "ask for fewer frames or a smaller size"


@dataclass(frozen=True)
class Generation:
    """A video and how it came about.

    Attributes:
        video: the frames.
        motions: with the place where each was found.
        timings: seconds for ``load``, ``denoise`` (text encoding included) and ``decode``.
    """

    video: GeneratedVideo
    motions: tuple[LeasedMotion, ...]
    timings: dict[str, float]


class Engine(Protocol):
    """What makes videos."""

    def mix(self, spec: GenerationSpec) -> Mix:
        """The motions of a job.

        Raises:
            MotionRayError: one is gone, or another one than when the job was accepted.
        """
        ...

    def prefetch(self, mix: Mix, level: Level) -> bool:
        """Load motions ahead; whether that was taken on."""
        ...

    def generate(
        self,
        spec: GenerationSpec,
        mix: Mix,
        *,
        on_step: OnStep | None = None,
        cancelled: Callable[[], bool] | None = None,
        given_up: Callable[[], bool] | None = None,
    ) -> Generation:
        """Make a video.

        Args:
            spec: what to make.
            mix: its motions, from :meth:`mix`.
            on_step: told after every denoising step.
            cancelled: asked before every denoising step.
            given_up: asked while motions are loaded.

        Raises:
            Cancelled: ``cancelled`` returned true before a denoising step, or ``given_up`` before.
            MotionRayError: a motion cannot be used.
        """
        ...


class MotionEngine:
    """A base model with a pool of motions; one generation at a time.

    Args:
        backbone: the base model.
        pool: of motions for it.
        catalog: where motions are found by name.
        scheduler: ``"ddim"`` or ``"dpmsolver++"``.
        precision: ``"auto"``, ``"fp32"`` or ``"bf16"``.
    """

    def __init__(
        self,
        backbone: UNet3DBackbone,
        pool: MotionPool,
        catalog: MotionCatalog,
        *,
        scheduler: Literal["ddim", "dpmsolver++"] = "ddim",
        precision: str = "auto",
    ) -> None:
        self._backbone, self._pool, self._catalog = backbone, pool, catalog
        self._scheduler: Literal["ddim", "dpmsolver++"] = scheduler
        self._precision = precision

    def mix(self, spec: GenerationSpec) -> Mix:
        """See :class:`Engine`."""
        return spec.mix(self._catalog)

    def prefetch(self, mix: Mix, level: Level) -> bool:
        """See :class:`Engine`."""
        return self._pool.prefetch(mix, level)

    def generate(
        self,
        spec: GenerationSpec,
        mix: Mix,
        *,
        on_step: OnStep | None = None,
        cancelled: Callable[[], bool] | None = None,
        given_up: Callable[[], bool] | None = None,
    ) -> Generation:
        """See :class:`Engine`."""
        generator = self._generator(spec)
        with ExitStack() as stack:
            stack.enter_context(memory_explained(SMALLER))
            lease = stack.enter_context(self._pool.lease(mix, given_up=given_up))
            stack.enter_context(lease.applied())
            started = denoised = time.perf_counter()

            def step(done: int, total: int) -> None:
                nonlocal denoised
                denoised = time.perf_counter()
                if on_step is not None:
                    on_step(done, total)

            [video] = generator.generate(
                [spec.prompt], [spec.seed], on_step=step, cancelled=cancelled
            )
            ended = time.perf_counter()
        timings = {
            "load": lease.seconds,
            "denoise": denoised - started,
            "decode": ended - denoised,
        }
        return Generation(video, lease.motions, timings)

    def _generator(self, spec: GenerationSpec) -> VideoGenerator:
        sampling = SamplingConfig(
            scheduler=self._scheduler,
            steps=spec.steps,
            guidance=spec.guidance,
            negative_prompt=spec.negative_prompt,
            fps=spec.fps,
        )
        clips = ClipConfig(frames=spec.frames, height=spec.height, width=spec.width)
        return VideoGenerator(self._backbone, sampling, clips, self._precision, batch_size=1)
