"""What a server does with a base model unasked: size, steps and guidance of the recipe for it."""

from __future__ import annotations

from motion_ray.backbones.unet3d import EMBEDDED, UNet3DBackbone
from motion_ray.recipes import RECIPES
from motion_ray.serving.requests import GenerationSpec, ServingLimits, ServingProfile


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


def first_spec(profile: ServingProfile) -> GenerationSpec:
    """A video of the usual size in one step: what a server makes before it counts as ready."""
    return GenerationSpec(
        prompt="a person",
        negative_prompt=profile.negative_prompt,
        width=profile.width,
        height=profile.height,
        frames=profile.frames,
        fps=profile.fps,
        steps=1,
        guidance=profile.guidance,
        seed=0,
    )
