"""The methods that the paper compares with, as configurations of the one trainer (section 4.1).

Each takes "ours" at a scale, so that clips, sizes, steps, sampling and the appearance floor are
those of the comparison, and changes what the method is about. Where an adaptation differs from the
method's own paper, its docstring says so; docs/baselines.md has the same side by side.
"""

from __future__ import annotations

from motion_ray.config import CustomizationConfig, UniformDensity
from motion_ray.recipes.paper import closely
from motion_ray.types import SPATIAL, ParameterGroup

#: Learning rates of the methods' own papers, and at the embedded model's size (puppet.py says why
#: ours is 200 times the paper's there).
PAPER_RATES = {
    "textual-inversion": 5e-3,
    "dreambooth": 5e-6,
    "custom-diffusion": 1e-5,
    "tune-a-video": 3e-5,
}
PUPPET_RATES = {
    "textual-inversion": 1e-2,  # a half of the spread of its embeddings a step
    "dreambooth": 1e-3,
    "custom-diffusion": 2e-3,
    "tune-a-video": 2e-3,
}

#: What Tune-A-Video trains (its section 4.2): queries of both spatial attentions, and all of the
#: attention over time that inflation adds, which is all that is temporal in an inflated model.
TUNE_A_VIDEO_GROUPS = (
    ParameterGroup.SPATIAL_SELF_QUERY,
    ParameterGroup.SPATIAL_CROSS_QUERY,
    ParameterGroup.TEMPORAL_ATTENTION,
)


def textual_inversion(ours: CustomizationConfig, rate: float) -> CustomizationConfig:
    """Gal et al. 2022: the embedding of V* alone trains; no weight of the model changes.

    Differences: V* starts from its own embedding, not from that of a coarse word (set
    ``token_start`` for theirs), and captions are the clips' own instead of neutral templates about
    pictures. No regularization, uniform timesteps, as there.
    """
    return ours.replace(
        {
            "recipe": f"{ours.recipe}-textual-inversion",
            "groups": (),
            "train_token": True,
            "density": UniformDensity().model_dump(),
            "regularization": {"source": "none"},
            "optimizer": {"lr": rate},
        }
    )


def dreambooth(ours: CustomizationConfig, rate: float) -> CustomizationConfig:
    """Ruiz et al. 2023: the image model trains as a whole, with prior preservation.

    V* stays a fixed rare word. The prior is kept by clips that the untouched base makes of captions
    without V*. A share s of examples from that set is a weight s / (1 - s) of their prior loss; one
    half is their weight of 1.

    Differences: the image model is the spatial layers of a video model, as the paper that we follow
    has it (all of the denoiser is ``groups`` with every name); the text encoder never trains; the
    set has ``regularization.synthetic_clips`` members instead of 200 pictures for each one of D^m.
    """
    return ours.replace(
        {
            "recipe": f"{ours.recipe}-dreambooth",
            "groups": sorted(SPATIAL),
            "density": UniformDensity().model_dump(),
            "regularization": {"source": "synthetic"},
            "optimizer": {"lr": rate},
            "validation": {"every": closely(ours)},
        }
    )


def custom_diffusion(ours: CustomizationConfig, rate: float) -> CustomizationConfig:
    """Kumari et al. 2023: keys and values of cross-attention and V*'s embedding, real
    regularization.

    Differences: V* stands alone instead of before a class noun unless the captions say so; the
    regularization clips are those of our method instead of pictures found by caption; spatial
    augmentation does not tell the prompt how far it zoomed.
    """
    return ours.replace(
        {
            "recipe": f"{ours.recipe}-custom-diffusion",
            "groups": [ParameterGroup.SPATIAL_CROSS_KV],
            "train_token": True,
            "density": UniformDensity().model_dump(),
            "optimizer": {"lr": rate},
        }
    )


def tune_a_video(ours: CustomizationConfig, rate: float) -> CustomizationConfig:
    """Wu et al. 2023, for several clips: an inflated image model, queries and attention over time.

    Differences: the image model is the base without its temporal layers instead of Stable Diffusion
    1.4; it trains on all clips in turn instead of on one, as in section 4.3 of the paper that we
    follow; sampling starts from noise, because there is no one source video to invert.
    """
    return ours.replace(
        {
            "recipe": f"{ours.recipe}-tune-a-video",
            "inflate": True,
            "groups": TUNE_A_VIDEO_GROUPS,
            "density": UniformDensity().model_dump(),
            "regularization": {"source": "none"},
            "optimizer": {"lr": rate},
        }
    )


BASELINES = {
    "textual-inversion": textual_inversion,
    "dreambooth": dreambooth,
    "custom-diffusion": custom_diffusion,
    "tune-a-video": tune_a_video,
}

#: Those that train all spatial layers: below the appearance floor so soon that lower learning rates
#: (``-rate-third`` and the like) are recipes too.
HASTY = ("dreambooth",)
