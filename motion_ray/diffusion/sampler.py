"""Our denoising loop over diffusers' schedulers: progress after every step, cancellation, guidance.

Equal to ``TextToVideoSDPipeline`` on the same inputs (tested to 1e-4); written out because the
pipeline can neither be cancelled nor batched over different seeds.

Shapes: b batch, c channels, f frames, h/w latent cells, n tokens, d text width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from motion_ray.diffusion.loss import build_scheduler
from motion_ray.errors import Cancelled, ConfigError

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
        cancelled: asked before every step.

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
    watched = noise.is_cuda and (on_step is not None or cancelled is not None)
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
        if watched:  # or steps would be told, and asked about, that the GPU has yet to run
            torch.cuda.current_stream(noise.device).synchronize()
        if on_step is not None:
            on_step(done + 1, total)
    return latents
