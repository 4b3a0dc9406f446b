"""What a server does with a base model unasked: size, steps and guidance of the recipe for it."""

from __future__ import annotations

from motion_ray.backbones.unet3d import EMBEDDED, UNet3DBackbone
from motion_ray.recipes import RECIPES
from motion_ray.serving.requests import ServingLimits, ServingProfile


def profile_for(
    base: str,
    backbone: UNet3DBackbone,
    limits: ServingLimits | None = None,
    name: str | None = None,
) -> ServingProfile:
    """The profile of a base model.

    Args:
        base: as it was loaded: ``"puppet"``, the embedded model, or a folder.
        backbone: the loaded model.
        limits: of requests.
        name: as clients write it; without one ``"puppet"``, or the last part of the folder's name.
    """
    recipe = RECIPES["puppet" if base == EMBEDDED else "paper"]()
    return ServingProfile(
        base=name or base.rstrip("/").rpartition("/")[2],
        frames=recipe.clips.frames,
        width=recipe.clips.width,
        height=recipe.clips.height,
        fps=round(recipe.sampling.fps),
        steps=recipe.sampling.steps,
        guidance=recipe.sampling.guidance,
        negative_prompt=recipe.sampling.negative_prompt,
        multiple=backbone.spatial_factor,
        limits=limits or ServingLimits(),
    )
