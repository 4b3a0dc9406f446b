"""Everything about a customization that can be known to be wrong before a cluster starts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from motion_ray.backbones.unet3d import check_base
from motion_ray.cluster.paths import lasting_path, with_absolute_paths
from motion_ray.config import ClipConfig, CustomizationConfig
from motion_ray.customization.checkup import doubts
from motion_ray.customization.examples import read_clip_lists
from motion_ray.customization.loop import check_names
from motion_ray.customization.run import RunFolder, check_place
from motion_ray.customization.stopping import scored_prompts
from motion_ray.data.video import check_length, probe
from motion_ray.evaluation.clip import check_image_text_model
from motion_ray.recipes import load_config
from motion_ray.store import DeltaStore
from motion_ray.types import CaptionedClip

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """A run that can start.

    Attributes:
        config: all its folders are absolute.
        out: its folder.
        store: of deltas; null: inside ``out``.
        cache: of encoded clips; null: inside ``out``.
    """

    config: CustomizationConfig
    out: Path
    store: str | None
    cache: Path | None = None


def check_input(
    *,
    recipe: str,
    base: str | None,
    motion: str,
    sets: Sequence[str],
    out: str,
    store: str | None,
    here: Path,
    cache: str | None = None,
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
        cache: folder of encoded clips.

    Raises:
        MotionRayError: naming what is wrong.
    """
    config = with_absolute_paths(load_job_config(recipe, base, motion, sets), here)
    folder = lasting_path(out, "--out", here)
    if store is not None and "://" not in store:
        store = str(lasting_path(store, "--store", here))
        check_place(Path(store), "--store")
    encoded = None if cache is None else lasting_path(cache, "--cache", here)
    if encoded is not None:
        check_place(encoded, "--cache")
    RunFolder(folder).check(config)
    DeltaStore(store or folder / "store")
    check_configs([config])
    return Plan(config, folder, store, encoded)


def load_job_config(
    recipe: str, base: str | None, motion: str, sets: Sequence[str]
) -> CustomizationConfig:
    """The config of a single run, as :func:`cluster_defaults` and a command line have it.

    Args:
        recipe: name, or a YAML file.
        base: replaces the recipe's.
        motion: folder of clips.
        sets: assignments ``a.b=c``.

    Raises:
        ConfigError: naming what is wrong.
    """
    defaults = [f"{name}={value}" for name, value in cluster_defaults(recipe).items()]
    return load_config(recipe, base=base, motion=motion, sets=[*defaults, *sets])


def cluster_defaults(recipe: str) -> dict[str, str]:
    """Settings of every run on a cluster that does not say otherwise, dotted name to value.

    DeepSpeed is what clusters use; a recipe file says itself what it wants.

    Args:
        recipe: name, or a YAML file.
    """
    return {} if recipe.endswith((".yaml", ".yml")) else {"engine.name": "deepspeed"}


def check_configs(configs: Iterable[CustomizationConfig]) -> None:
    """Everything about runs that is not about their folders, alone or as trials of a sweep.

    Clips and models that several share are looked at once.

    Raises:
        MotionRayError: naming what is wrong.
    """
    names: dict[tuple[object, ...], str] = {}
    bases: set[str] = set()
    encoders: set[str] = set()
    doubtful: dict[str, None] = {}  # each once, in order
    for config in configs:
        sampled = (config.clips.model_dump_json(), config.regularization.model_dump_json())
        key = (config.motion, config.motion_clips, *sampled)
        if key not in names:
            names[key] = _check_clip_lists(config)
        check_names(config, names[key])
        scored_prompts(config.validation)
        doubtful |= dict.fromkeys(doubts(config))
        bases.add(config.model)
        if config.validation.floor is not None:
            encoders.add(config.validation.floor.clip_model)
    for base in sorted(bases):
        check_base(base)
    for encoder in sorted(encoders):
        check_image_text_model(encoder)
    for doubt in doubtful:
        log.warning("%s", doubt)


def _check_clip_lists(config: CustomizationConfig) -> str:
    """Look into the clips of a run; returns the motion's name."""
    # Synthetic clips are made later, wherever they lie then.
    clips = read_clip_lists(config, generated=Path(config.motion))
    check_clips(clips.motion, config.clips)
    if config.regularization.source == "real":
        check_clips(clips.regularization, config.clips)
    return clips.folder.name


def check_clips(clips: Sequence[CaptionedClip], config: ClipConfig) -> None:
    """Look into every clip without decoding it.

    Raises:
        DataError: one is damaged, holds no video, or has fewer frames than are sampled.
    """
    for clip in clips:
        info = probe(clip.path, config.fps, frame_fps=clip.frame_fps)
        check_length(clip.path, info.available, info.seconds, config)
