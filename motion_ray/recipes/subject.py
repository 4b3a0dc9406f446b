"""A subject instead of a motion: the appearance half of "Customizing appearance and motion"
(section 3.2 and 4.3).
"""

from __future__ import annotations

from motion_ray.config import CustomizationConfig, UniformDensity
from motion_ray.types import ParameterGroup


def subject(ours: CustomizationConfig) -> CustomizationConfig:
    """Pictures as clips of one frame; keys and values of spatial cross-attention and X* train.

    As the paper does it, after Custom Diffusion: only selected spatial layers learn a subject, and
    the embedding of its own token. Its delta and that of a motion change different parameters but
    for the keys and values, where their changes add up, so a subject composes with every motion
    that is learned.

    Difference: the paper goes on from the motion and shows both kinds of examples in one training.
    Here the two are learned apart and added, so that they can be shared and combined later.

    The folder holds pictures and says ``pictures: true`` and ``token: sks`` in ``motion.yaml``; its
    captions are such as "a <token> man smiling". Set ``validation.phrase`` to the class: "<token>
    man".
    """
    return ours.replace(
        {
            "recipe": f"{ours.recipe}-subject",
            "clips": {"frames": 1, "fps": None},
            "groups": [ParameterGroup.SPATIAL_CROSS_KV],
            "train_token": True,
            "density": UniformDensity().model_dump(),
            "validation": {
                "prompts": ["a <motion>", "a <motion> smiling"],
                "phrase": "<token> person",
                "floor": None,
            },
        }
    )
