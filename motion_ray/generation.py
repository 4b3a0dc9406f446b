"""Text to video with a backbone and, if wanted, a motion: no HTTP, no Ray.

Shapes: f frames, H/W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from motion_ray.backbones.unet3d import UNet3DBackbone
from motion_ray.config import ClipConfig, SamplingConfig
from motion_ray.diffusion.sampler import OnStep, denoise, initial_noise, sampling_scheduler
from motion_ray.errors import ConfigError, NonFiniteVideoError
from motion_ray.precision import compute_context
from motion_ray.types import GeneratedVideo

MOST = 8  # more make a small GPU or a CPU no faster
PIXELS = 6_000_000  # of a batch: what a GPU of 40 GB holds beside a training of ZeroScope's size


@dataclass(frozen=True)
class VideoGenerator:
    """Generates videos; apply a motion around it with ``with delta.applied(backbone): ...``.

    Attributes:
        backbone: the base model.
        sampling: scheduler, steps, guidance, negative prompt, playback rate.
        clips: frames, height and width of the videos.
        precision: ``"auto"``, ``"fp32"`` or ``"bf16"``.
        batch_size: videos per forward pass (twice that many with guidance); null: as many small
            ones, or as few large ones, as memory is likely to hold (:func:`videos_at_once`).
    """

    backbone: UNet3DBackbone
    sampling: SamplingConfig
    clips: ClipConfig
    precision: str = "auto"
    batch_size: int | None = None

    def generate(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        on_step: OnStep | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> list[GeneratedVideo]:
        """One video for every (prompt, seed) pair, in order.

        Args:
            prompts: texts, one a video.
            seeds: of the initial noise, one a video. A video depends on its own seed only, not on
                its batch.
            on_step: told the denoising steps done over all batches, and their total.
            cancelled: asked before every denoising step.

        Raises:
            ConfigError: prompts and seeds differ in number, or the size does not fit the VAE.
            Cancelled: ``cancelled`` returned true.
            NonFiniteVideoError: denoising ended in NaN or infinity, in one of the batch.
        """
        if len(prompts) != len(seeds):
            raise ConfigError(
                "seeds", f"{len(prompts)} prompts but {len(seeds)} seeds", "give one seed a prompt"
            )
        factor = self.backbone.spatial_factor
        if self.clips.height % factor or self.clips.width % factor:
            raise ConfigError(
                "clips.height, clips.width", f"must be multiples of {factor}", f"e.g. {factor * 8}"
            )
        size = self.batch_size or videos_at_once(self.clips)
        starts = range(0, len(prompts), size)
        videos: list[GeneratedVideo] = []
        for index, start in enumerate(starts):
            part = slice(start, start + size)
            told = _over_batches(on_step, index, len(starts))
            videos += self._batch(prompts[part], seeds[part], told, cancelled)
        return videos

    @torch.no_grad()
    def _batch(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        on_step: OnStep | None,
        cancelled: Callable[[], bool] | None,
    ) -> list[GeneratedVideo]:
        backbone, sampling, clips = self.backbone, self.sampling, self.clips
        recorder = backbone.recorder
        factor = backbone.spatial_factor
        shape = (
            backbone.latent_channels,
            clips.frames,
            clips.height // factor,
            clips.width // factor,
        )
        text = backbone.encode_text(prompts)
        negative = backbone.encode_text([sampling.negative_prompt] * len(prompts))
        with compute_context(self.precision, backbone.device):
            latents = denoise(
                backbone if recorder is None else recorder.generation(),
                sampling_scheduler(sampling.scheduler, backbone.scheduler_config),
                initial_noise(seeds, shape, backbone.device),
                text,
                negative,
                steps=sampling.steps,
                guidance=sampling.guidance,
                on_step=on_step,
                cancelled=cancelled,
            )
            if not bool(torch.isfinite(latents).all()):
                raise NonFiniteVideoError(
                    "generation",
                    "denoising ended in values that are not finite",
                    "try an earlier step of the motion, or less weight or guidance",
                )
            frames = backbone.decode_latents(latents)
        return [
            GeneratedVideo(video, sampling.fps, prompt, seed)
            for video, prompt, seed in zip(frames, prompts, seeds, strict=True)
        ]


def videos_at_once(clips: ClipConfig) -> int:
    """How many videos of a size to generate in one forward pass: 8 of the embedded base's, one of
    24 frames of 576 x 320.
    """
    return max(1, min(MOST, PIXELS // (clips.frames * clips.height * clips.width)))


def _over_batches(on_step: OnStep | None, index: int, batches: int) -> OnStep | None:
    if on_step is None:
        return None

    def told(done: int, total: int) -> None:
        on_step(index * total + done, batches * total)

    return told
