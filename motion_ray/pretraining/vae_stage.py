"""Stage `vae`, continued: from settings to a finished autoencoder with normalised latents.

Shapes: b clips, f frames, c latent channels, s picture side.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from motion_ray.backbones.embedded import load_vae, new_vae
from motion_ray.data.puppets.render import render_batch
from motion_ray.data.puppets.world import pretraining_scene
from motion_ray.precision import compute_context
from motion_ray.pretraining.course import train_stage
from motion_ray.pretraining.parts import LongArray
from motion_ray.pretraining.stage import Stage, StageWork
from motion_ray.pretraining.vae import VAE, WHOLE_SHARE, VaeSettings, VaeTraining, psnr
from motion_ray.pretraining.workspace import Workspace
from motion_ray.pretraining.world import WORLD, open_world

CLIPS_AT_ONCE = 16


def train_vae(settings: VaeSettings, workspace: Workspace) -> StageWork:
    """Train on the world's frames, normalise the latents, score on unseen clips."""
    workspace.replicas.check_share("batch", settings.batch, WHOLE_SHARE)
    frames = open_world(workspace).frames
    training = VaeTraining(settings, _start(settings, workspace), frames, workspace)
    yield from train_stage(training, VAE, settings, workspace)
    if not workspace.replicas.first:
        return {}
    vae = training.average.module
    assert isinstance(vae, AutoencoderKL)
    normalise_latents(vae, *latent_moments(vae, frames, settings))
    score = unseen_psnr(vae, settings.test_clips, settings.precision, settings.seed)

    def write(folder: Path) -> None:
        vae.cpu().save_pretrained(str(folder / "vae"), safe_serialization=True)

    workspace.write_model(VAE, write)
    return {"psnr": score}


def encode(vae: AutoencoderKL, frames: Tensor, precision: str) -> Tensor:
    """uint8 clips ``[b, f, 3, s, s]`` to posterior means ``[b, c, f, s/8, s/8]``, on the CPU."""
    clips, count = frames.shape[:2]
    with torch.no_grad(), compute_context(precision, vae.device):
        pixels = _pixels(frames.flatten(0, 1), vae.device)
        mean = vae.encode(pixels).latent_dist.mean  # pyright: ignore[reportAttributeAccessIssue]
    return mean.float().cpu().unflatten(0, (clips, count)).transpose(1, 2).contiguous()


def latent_moments(
    vae: AutoencoderKL, frames: LongArray, settings: VaeSettings
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each latent channel, over clips spread evenly over a world."""
    chosen = torch.linspace(0, len(frames) - 1, min(settings.calibration, len(frames))).long()
    latents = [
        encode(vae, frames.take(part), settings.precision) for part in chosen.split(CLIPS_AT_ONCE)
    ]
    together = torch.cat(latents).double()
    return together.mean((0, 2, 3, 4)).float(), together.std((0, 2, 3, 4)).float()


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, mean: Tensor, deviation: Tensor) -> None:
    """Fold (latent - mean) / deviation into the convolutions before and after the latents.

    What a picture becomes after encoding and decoding stays the same.
    """
    first, last = vae.quant_conv, vae.post_quant_conv
    assert first is not None and last is not None
    channels = len(mean)
    mean, deviation = mean.to(vae.device), deviation.to(vae.device)
    first.weight[:channels] /= deviation[:, None, None, None]
    first.bias[:channels] = (first.bias[:channels] - mean) / deviation  # pyright: ignore
    first.bias[channels:] -= 2 * deviation.log()  # pyright: ignore[reportOptionalSubscript]
    last.bias += last.weight[:, :, 0, 0] @ mean  # pyright: ignore[reportOperatorIssue]
    last.weight *= deviation[None, :, None, None]
    vae.register_to_config(scaling_factor=1.0)


@torch.no_grad()
def unseen_psnr(vae: AutoencoderKL, clips: int, precision: str, seed: int) -> float:
    """Peak signal-to-noise ratio in dB over whole unseen clips, encoded and decoded."""
    rng = random.Random(f"vae test {seed}")
    scenes = [pretraining_scene(rng, "validation") for _ in range(clips)]
    squared: list[Tensor] = []
    for at in range(0, len(scenes), CLIPS_AT_ONCE):
        pixels = _pixels(render_batch(scenes[at : at + CLIPS_AT_ONCE]).flatten(0, 1), vae.device)
        with compute_context(precision, vae.device):
            mean = vae.encode(pixels).latent_dist.mean  # pyright: ignore[reportAttributeAccessIssue]
            decoded = vae.decode(mean).sample  # pyright: ignore[reportAttributeAccessIssue]
        squared.append((decoded.float().clamp(-1, 1) - pixels).square().mean((1, 2, 3)))
    return psnr(float(torch.cat(squared).mean()))


def _pixels(frames: Tensor, device: torch.device) -> Tensor:
    """uint8 ``[n, 3, s, s]`` to -1..1, channels last in memory."""
    pixels = frames.to(device).float() / 127.5 - 1
    return pixels.contiguous(memory_format=torch.channels_last)


def _start(settings: VaeSettings, workspace: Workspace) -> AutoencoderKL:
    if workspace.start is not None:
        return load_vae(workspace.start)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)  # modules draw their start from the global generator
        return new_vae(settings.width, settings.channels)


STAGE = Stage(
    name=VAE,
    needs=(WORLD,),
    full=VaeSettings(),
    tiny=VaeSettings(
        steps=6,
        batch=8,
        warmup=2,
        width=8,
        channels=4,
        calibration=6,
        test_clips=2,
        precision="fp32",
        log_every=5,
        checkpoint_every=2,
    ),
    work=train_vae,
    may_start=True,
)
