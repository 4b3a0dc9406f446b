"""Our denoising loop over diffusers' schedulers: progress after every step, cancellation, guidance.

Equal to ``TextToVideoSDPipeline`` on the same inputs (tested to 1e-4); written out because the
pipeline can neither be cancelled nor batched over different seeds.

Shapes: b batch, c channels, f frames, h/w latent cells, n tokens, d text width.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from motion_ray.diffusion.loss import build_scheduler
from motion_ray.errors import Cancelled, ConfigError

SHORT_S = 0.02  # of a denoising step
OnStep = Callable[[int, int], None]
"""Called after every denoising step with (steps done, steps in all)."""


class Predictor(Protocol):
    """The one thing sampling needs from a backbone."""

    def predict(self, latents: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """``[b, c, f, h, w]``, ``[b]``, ``[b, n, d]`` to ``[b, c, f, h, w]``."""
        ...


def sampling_scheduler(
    name: str, config: dict[str, Any]
) -> DDIMScheduler | DPMSolverMultistepScheduler:
    """A sampling scheduler with the base's noise schedule and prediction type.

    Args:
        name: ``"ddim"`` (deterministic, eta 0) or ``"dpmsolver++"``.
        config: the base's ``scheduler_config.json``.

    Raises:
        ConfigError: the name is unknown.
    """
    if name == "ddim":
        return build_scheduler(DDIMScheduler, config)
    if name == "dpmsolver++":
        return build_scheduler(DPMSolverMultistepScheduler, config, algorithm_type="dpmsolver++")
    raise ConfigError("sampling.scheduler", f"{name!r} is unknown", "ddim or dpmsolver++")


def initial_noise(
    seeds: Sequence[int], shape: tuple[int, int, int, int], device: torch.device
) -> Tensor:
    """Gaussian noise ``[b, c, f, h, w]``, every video from its own seed and so independent of its
    batch.
    """
    draws = [
        torch.randn((1, *shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds
    ]
    return torch.cat(draws).to(device)


@torch.no_grad()
def denoise(
    model: Predictor,
    scheduler: DDIMScheduler | DPMSolverMultistepScheduler,
    noise: Tensor,
    text: Tensor,
    negative: Tensor,
    *,
    steps: int,
    guidance: float,
    on_step: OnStep | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Tensor:
    """Run the reverse process from noise to latents.

    Args:
        model: predicts the scheduler's target.
        scheduler: from :func:`sampling_scheduler`; its state is reset here.
        noise: ``[b, c, f, h, w]``.
        text: ``[b, n, d]``.
        negative: ``[b, n, d]``, the guidance's other side.
        steps: denoising steps.
        guidance: classifier-free guidance scale; 1 or less runs the text side alone.
        on_step: told after every step.
        cancelled: asked before every step; on a GPU one that is short may have been queued.

    Returns:
        Scaled latents ``[b, c, f, h, w]``.

    Raises:
        Cancelled: ``cancelled`` returned true.
    """
    guided = guidance > 1.0
    context = torch.cat([negative, text]) if guided else text
    # Schedulers keep their tables on the CPU: every lookup of a time on the GPU would wait for it.
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps.to(noise.device)
    latents = noise * scheduler.init_noise_sigma
    total = len(times)
    watch: StepWatch | None = None
    if noise.is_cuda and (on_step is not None or cancelled is not None):
        watch = StepWatch(total, on_step, functools.partial(_mark, noise.device))
    for done, t in enumerate(scheduler.timesteps):
        if cancelled is not None and cancelled():
            raise Cancelled("generation", f"cancelled after {done} of {total} denoising steps")
        model_input = torch.cat([latents, latents]) if guided else latents
        model_input = scheduler.scale_model_input(model_input, t)  # pyright: ignore
        moment = times[done].expand(len(model_input))
        prediction = model.predict(model_input, moment, context).to(latents.dtype)
        if guided:
            without, with_text = prediction.chunk(2)
            prediction = without + guidance * (with_text - without)
        latents = scheduler.step(prediction, t, latents, return_dict=False)[0]  # pyright: ignore
        if watch is not None:
            watch.queued()
        elif on_step is not None:
            on_step(done + 1, total)
    if watch is not None:
        watch.finish()
    return latents


class StepWatch:
    """Reports steps when the GPU has executed them, not when they are queued.

    A step is waited for before the next is queued, so that a cancelled generation ends with it. Of
    short steps (:data:`SHORT_S`) the next is queued first: a GPU that has nothing to do until
    Python has heard of each lies idle for a good part of the time.

    Args:
        total: steps of the generation.
        on_step: told after every step.
        mark: marks what is queued so far; what it returns waits until that has run.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        total: int,
        on_step: OnStep | None,
        mark: Callable[[], Callable[[], object]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._on_step, self._mark, self._clock = total, on_step, mark, clock
        self._running: deque[Callable[[], object]] = deque()
        self._done, self._ended, self._short = 0, clock(), False

    def queued(self) -> None:
        """A step has been given to the GPU."""
        self._running.append(self._mark())
        while len(self._running) > (1 if self._short else 0):
            self._end_one()

    def finish(self) -> None:
        """Wait for all steps."""
        while self._running:
            self._end_one()

    def _end_one(self) -> None:
        self._running.popleft()()
        now = self._clock()
        self._short, self._ended = now - self._ended < SHORT_S, now
        self._done += 1
        if self._on_step is not None:
            self._on_step(self._done, self._total)


def _mark(device: torch.device) -> Callable[[], object]:
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event.synchronize
