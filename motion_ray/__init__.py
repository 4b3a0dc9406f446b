"""Teach a text-to-video model a new motion from a few clips, keep it in a store, generate with it.

The names below are the public surface. They are loaded when first used: ``import motion_ray``
itself is quick, and neither it nor any of them imports Ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motion_ray.backbones.unet3d import load_backbone as load_backbone
    from motion_ray.config import CustomizationConfig as CustomizationConfig
    from motion_ray.customization.delta import MotionDelta as MotionDelta
    from motion_ray.customization.loop import customize as customize
    from motion_ray.data.clips import load_motion_folder as load_motion_folder
    from motion_ray.data.video import read_clip as read_clip
    from motion_ray.data.video import write_video as write_video
    from motion_ray.diffusion.density import CoarseNoise as CoarseNoise
    from motion_ray.diffusion.density import Uniform as Uniform
    from motion_ray.errors import MotionRayError as MotionRayError
    from motion_ray.evaluation.clip import load_image_text_encoder as load_image_text_encoder
    from motion_ray.evaluation.prompts import EvalPrompt as EvalPrompt
    from motion_ray.generation import VideoGenerator as VideoGenerator
    from motion_ray.recipes import load_config as load_config
    from motion_ray.store import DeltaStore as DeltaStore
    from motion_ray.types import ParameterGroup as ParameterGroup

_HOMES = {
    "CoarseNoise": "motion_ray.diffusion.density",
    "CustomizationConfig": "motion_ray.config",
    "DeltaStore": "motion_ray.store",
    "EvalPrompt": "motion_ray.evaluation.prompts",
    "MotionDelta": "motion_ray.customization.delta",
    "MotionRayError": "motion_ray.errors",
    "ParameterGroup": "motion_ray.types",
    "Uniform": "motion_ray.diffusion.density",
    "VideoGenerator": "motion_ray.generation",
    "customize": "motion_ray.customization.loop",
    "load_backbone": "motion_ray.backbones.unet3d",
    "load_config": "motion_ray.recipes",
    "load_image_text_encoder": "motion_ray.evaluation.clip",
    "load_motion_folder": "motion_ray.data.clips",
    "read_clip": "motion_ray.data.video",
    "write_video": "motion_ray.data.video",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """Load a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'motion_ray' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names, for completion in notebooks."""
    return sorted(_HOMES)
