"""Stage `latents`: the world as the denoiser sees it, encoded once.

Shapes: f frames, c latent channels, h/w latent cells.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

import torch

from motion_ray.backbones.embedded import load_vae
from motion_ray.files import remove_stale
from motion_ray.pretraining.loop import TrainingProgress
from motion_ray.pretraining.parts import LongArray, Parts
from motion_ray.pretraining.stage import Stage, StageWork
from motion_ray.pretraining.vae import VAE
from motion_ray.pretraining.vae_stage import CLIPS_AT_ONCE, encode
from motion_ray.pretraining.workspace import Workspace
from motion_ray.pretraining.world import WORLD, WorldSettings, open_world

LATENTS = "latents"


@dataclass(frozen=True)
class LatentSettings:
    """Settings of the encoding.

    Attributes:
        precision: auto, fp32 or bf16; what is kept is half precision.
    """

    precision: str = "auto"

    MAY_BE_ZERO: ClassVar[frozenset[str]] = frozenset()


def encode_world(settings: LatentSettings, workspace: Workspace) -> StageWork:
    """Encode the parts that are missing; several processes take turns."""
    frames = open_world(workspace).frames
    vae = load_vae(workspace.finished_model(VAE))
    vae.to(workspace.device, memory_format=torch.channels_last)  # pyright: ignore
    parts = _parts(workspace)
    remove_stale(parts.folder)
    mine = [n for n in parts.missing() if n % workspace.replicas.count == workspace.replicas.rank]
    times = workspace.metrics(LATENTS)
    spent = times.read()
    cpu, seconds = (sum(line[name] for line in spent) for name in ("cpu_seconds", "seconds"))
    done = parts.count - len(mine)
    yield TrainingProgress("encoding", done, parts.count, cpu, None, seconds)
    for number in mine:
        before = time.process_time(), time.monotonic()
        rows = torch.tensor(parts.rows_of(number)).split(CLIPS_AT_ONCE)
        latents = [encode(vae, frames.take(some), settings.precision) for some in rows]
        parts.write(number, torch.cat(latents).half().numpy())
        took = time.process_time() - before[0], time.monotonic() - before[1]
        cpu, seconds, done = cpu + took[0], seconds + took[1], done + 1
        if workspace.replicas.first:
            times.append({"step": done, "cpu_seconds": took[0], "seconds": took[1]})
        yield TrainingProgress("encoding", done, parts.count, cpu, None, seconds)
    return {}


def open_latents(workspace: Workspace) -> LongArray:
    """The encoded world, float16 rows ``[c, f, h, w]``, compared with its manifests.

    Raises:
        RunFolderError: it is not finished, or damaged.
    """
    workspace.record(LATENTS)
    parts = _parts(workspace)
    parts.verify()
    return parts.open()


def _parts(workspace: Workspace) -> Parts:
    world = WorldSettings(**workspace.record(WORLD).settings)
    return workspace.parts(LATENTS, world.clips, world.clips_per_part)


STAGE = Stage(
    name=LATENTS,
    needs=(WORLD, VAE),
    full=LatentSettings(),
    tiny=LatentSettings(precision="fp32"),
    work=encode_world,
)
