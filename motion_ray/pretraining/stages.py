"""All stages of the base model, in the order in which they are run."""

from __future__ import annotations

from typing import Any

from motion_ray.pretraining import decoder, denoiser_stage, latents, text, vae_stage, world
from motion_ray.pretraining.stage import Stage

STAGES: dict[str, Stage[Any]] = {
    stage.name: stage
    for stage in (
        world.STAGE,
        text.STAGE,
        vae_stage.STAGE,
        latents.STAGE,
        decoder.STAGE,
        denoiser_stage.IMAGE_STAGE,
        denoiser_stage.VIDEO_STAGE,
    )
}
