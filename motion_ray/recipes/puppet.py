"""The paper's method at the size of the embedded model: minutes on two CPU cores."""

from __future__ import annotations

from motion_ray.config import (
    AppearanceFloor,
    AugmentationConfig,
    ClipConfig,
    CustomizationConfig,
    EngineConfig,
    OptimizerConfig,
    RegularizationConfig,
    SamplingConfig,
    ValidationConfig,
)
from motion_ray.data.puppets.bodies import COLOURS
from motion_ray.data.puppets.captions import VAGUE_MOTIONS, caption
from motion_ray.data.puppets.places import PLACES
from motion_ray.data.puppets.world import PuppetScene
from motion_ray.recipes.paper import ours

#: Characters that do not occur in the training clips, which all show persons; the base model has
#: seen none of the first seven in that colour at that place (the test split of the puppet world).
PROMPTS = (
    "a red robot <motion> in the forest",
    "a blue bear <motion> on the beach",
    "a green crab <motion> at night",
    "a yellow alien <motion> in the city",
    "a pink crab <motion> in the desert",
    "a purple robot <motion> in the snow",
    "a green bear <motion> in the snow",
    "a blue person <motion> in the city",
)

#: What the base is asked for when its own clips regularize: as the drawn ones are captioned, so
#: that the two sets differ in the pictures only.
SYNTHETIC_PROMPTS = tuple(
    caption(PuppetScene("person", colour, place, "waving"), motion_text=VAGUE_MOTIONS[0])
    for place in PLACES
    for colour in COLOURS
)


def puppet() -> CustomizationConfig:
    """What differs from :func:`motion_ray.recipes.paper.ours`, and why.

    The embedded model has 9.8 M parameters and 5 M of them train: a learning rate 200 times
    ZeroScope's, falling to zero, and 900 steps of four clips reach in minutes what the paper's
    5e-6 would take days for. It was trained without dropout and so is customized. Its CLIP model is
    our own, hence a relative floor. Clips of a motion that has no side may be mirrored. Crops and
    colours stay near the drawings that the model has seen: getting used to others costs it steps.
    """
    return ours(base="puppet", clip_model="puppet").replace(
        {
            "recipe": "puppet",
            "clips": ClipConfig(frames=8, height=64, width=64).model_dump(),
            "augmentation": AugmentationConfig(
                variants=4,
                area=(0.9, 1.0),
                aspect=(0.95, 1.05),
                flip=True,
                brightness=0.05,
                contrast=0.05,
                saturation=0.05,
                hue=0.0,
            ).model_dump(),
            "regularization": RegularizationConfig(
                synthetic_clips=60, synthetic_prompts=SYNTHETIC_PROMPTS
            ).model_dump(),
            "optimizer": OptimizerConfig(
                lr=1e-3, betas=(0.9, 0.99), warmup_steps=20, decay="cosine"
            ).model_dump(),
            "engine": EngineConfig(name="torch", dropout=False).model_dump(),
            "sampling": SamplingConfig(steps=15, guidance=3.0, fps=8).model_dump(),
            "validation": ValidationConfig(
                every=150,
                prompts=PROMPTS,
                seeds=(0,),
                floor=AppearanceFloor(clip_model="puppet", relative=0.9),
            ).model_dump(),
            "batch_size": 4,
            "max_steps": 900,
            "checkpoint_every": 50,
        }
    )
