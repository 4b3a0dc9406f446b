"""The paper's method as a recipe (sections 3.2 and 4; ZeroScope's native size and rate)."""

from __future__ import annotations

from motion_ray.config import (
    AppearanceFloor,
    ClipConfig,
    CoarseNoiseDensity,
    CustomizationConfig,
    EngineConfig,
    OptimizerConfig,
    SamplingConfig,
    ValidationConfig,
)
from motion_ray.types import ParameterGroup

#: theta_t and theta_s^{k,v}: 570.9 M parameters in 826 tensors at ZeroScope's shape.
PAPER_GROUPS = (
    ParameterGroup.TEMPORAL_ATTENTION,
    ParameterGroup.TEMPORAL_CONV,
    ParameterGroup.SPATIAL_CROSS_KV,
)

#: A spread of the paper's test prompts (figure 9) for the decision when to stop.
PROMPTS = (
    "a female firefighter <motion>",
    "a japanese toddler <motion>",
    "an elderly man <motion>",
    "a clown <motion>",
    "a blond woman <motion>",
    "a farmer <motion>",
    "a boy with glasses <motion>",
    "a person in a superhero costume <motion>",
)


def closely(ours: CustomizationConfig) -> int:
    """Steps between validations where all spatial layers train, or faster: appearance is below the
    floor so soon that at our own distance there may be no step to keep.
    """
    return max(1, ours.validation.every // 3)


def ours(base: str = "", clip_model: str = "") -> CustomizationConfig:
    """Temporal layers and spatial cross-attention K/V, coarse noise, real regularization, floor
    0.265.

    Args:
        base: a diffusers folder of ZeroScope or ModelScope.
        clip_model: a folder that open_clip loads; 0.265 belongs to the CLIP model of the paper,
            which does not name it. With another one, set ``validation.floor`` anew.
    """
    return CustomizationConfig(
        recipe="paper",
        base=base,
        clips=ClipConfig(frames=24, fps=8, height=320, width=576),
        groups=PAPER_GROUPS,
        density=CoarseNoiseDensity(alpha=0.5),
        optimizer=OptimizerConfig(lr=5e-6),
        engine=EngineConfig(name="deepspeed"),
        sampling=SamplingConfig(steps=40, guidance=9.0, fps=8),
        validation=ValidationConfig(
            every=200,
            prompts=PROMPTS,
            seeds=(0,),
            floor=AppearanceFloor(clip_model=clip_model, value=0.265),
        ),
        batch_size=1,
        max_steps=3000,
        checkpoint_every=200,
    )
