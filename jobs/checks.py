"""Everything about a customization that can be known to be wrong before a cluster starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from motion_ray.backbones.unet3d import check_base
from motion_ray.cluster.paths import lasting_path, with_absolute_paths
from motion_ray.config import ClipConfig, CustomizationConfig
from motion_ray.customization.examples import read_clip_lists
from motion_ray.customization.loop import check_names
from motion_ray.customization.run import RunFolder, check_place
from motion_ray.customization.stopping import scored_prompts
from motion_ray.data.video import check_length, probe
from motion_ray.evaluation.clip import check_image_text_model
from motion_ray.recipes import load_config
from motion_ray.store import DeltaStore
from motion_ray.types import CaptionedClip


@dataclass(frozen=True)
class Plan:
    """A run that can start.

    Attributes:
        config: all its folders are absolute.
        out: its folder.
        store: of deltas; null: inside ``out``.
    """

    config: CustomizationConfig
    out: Path
    store: str | None


def check_input(
    *,
    recipe: str,
    base: str | None,
    motion: str,
    sets: Sequence[str],
    out: str,
    store: str | None,
    here: Path,
) -> Plan:
    """Resolve and check a command line; writes nothing.

    Args:
        recipe: name, or a YAML file.
        base: replaces the recipe's.
        motion: folder of clips.
        sets: assignments ``a.b=c``.
        out: run folder.
        store: path or URI.
        here: what relative paths are relative to.

    Raises:
        MotionRayError: naming what is wrong.
    """
    # DeepSpeed is what clusters use; a recipe file says itself what it wants.
    engine = [] if recipe.endswith((".yaml", ".yml")) else ["engine.name=deepspeed"]
    config = load_config(recipe, base=base, motion=motion, sets=[*engine, *sets])
    config = with_absolute_paths(config, here)
    folder = lasting_path(out, "--out", here)
    if store is not None and "://" not in store:
        store = str(lasting_path(store, "--store", here))
        check_place(Path(store), "--store")
    run = RunFolder(folder)
    run.check(config)
    clips = read_clip_lists(config, run.generated)
    check_names(config, clips.folder.name)
    scored_prompts(config.validation)
    DeltaStore(store or folder / "store")
    check_clips(clips.motion, config.clips)
    if config.regularization.source == "real":
        check_clips(clips.regularization, config.clips)
    check_base(config.model)
    if config.validation.floor is not None:
        check_image_text_model(config.validation.floor.clip_model)
    return Plan(config, folder, store)


def check_clips(clips: Sequence[CaptionedClip], config: ClipConfig) -> None:
    """Look into every clip without decoding it.

    Raises:
        DataError: one is damaged, holds no video, or has fewer frames than are sampled.
    """
    for clip in clips:
        info = probe(clip.path, config.fps, frame_fps=clip.frame_fps)
        check_length(clip.path, info.available, info.seconds, config)
