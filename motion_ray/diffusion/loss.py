"""The denoising objective, Eq. 1, for whatever the base model predicts.

The paper writes the loss for a network that predicts the noise, with x_t = sqrt(abar_t) x_0 +
sqrt(1 - abar_t) eps and w_t = 1. Other bases predict the velocity v = sqrt(abar_t) eps - sqrt(1 -
abar_t) x_0, or x_0. Schedule and prediction type are what the base's ``scheduler_config.json``
says, zero terminal SNR included.

Shapes: b batch, c channels, f frames, h/w latent cells; timesteps ``[b]``.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

import torch
from diffusers import DDPMScheduler, SchedulerMixin
from torch import Tensor

from motion_ray.errors import BaseModelError

S = TypeVar("S", bound=SchedulerMixin)

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


def build_scheduler(kind: type[S], config: dict[str, Any], **changes: Any) -> S:
    """A diffusers scheduler of class ``kind`` with a base's schedule; settings it does not know are
    left out. Latents are clipped only if the config says so: diffusers' own default is meant for
    pixels, and configs of schedulers that never clip do not mention it.
    """
    known = inspect.signature(kind.__init__).parameters
    settings = {"clip_sample": False, **config, **changes}
    return kind(**{k: v for k, v in settings.items() if k in known})


class NoiseSchedule:
    """Forward diffusion and training targets of a base model.

    Args:
        config: contents of ``scheduler_config.json``.

    Raises:
        BaseModelError: the prediction type is unknown.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.prediction_type: str = config.get("prediction_type", "epsilon")
        if self.prediction_type not in PREDICTION_TYPES:
            raise BaseModelError(
                "scheduler_config.json: prediction_type",
                f"{self.prediction_type!r} is unknown",
                f"one of {', '.join(PREDICTION_TYPES)}",
            )
        self._scheduler = build_scheduler(DDPMScheduler, config)
        self.timesteps: int = int(self._scheduler.config["num_train_timesteps"])

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t from x_0 ``[b, c, f, h, w]``, eps of the same shape and t ``[b]``."""
        return self._scheduler.add_noise(latents, noise, timesteps)  # pyright: ignore[reportArgumentType]

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network should output: eps, v or x_0, ``[b, c, f, h, w]``."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return latents
        return self._scheduler.get_velocity(latents, noise, timesteps)  # pyright: ignore[reportArgumentType]


def denoising_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of every example: ``[b, c, f, h, w]`` twice to float32 ``[b]`` (Eq. 1, w_t
    = 1).
    """
    return torch.nn.functional.mse_loss(prediction.float(), target.float(), reduction="none").mean(
        (1, 2, 3, 4)
    )
