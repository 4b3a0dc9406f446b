"""The values that travel between the parts: one type per arrow of docs/architecture.md.

Shape legend: b batch, f frames, c channels, h height, w width (pixels or latent cells), n text
tokens, d text width.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor


@dataclass(frozen=True)
class Clip:
    """A decoded clip.

    Attributes:
        frames: uint8 RGB, ``[f, 3, h, w]``.
        fps: frames per second of ``frames``.
        source: where it came from, for messages.
    """

    frames: Tensor
    fps: float
    source: str


@dataclass(frozen=True)
class CaptionedClip:
    """One example of D^m or D^r before decoding: a file (or folder of frames) and its caption.

    Attributes:
        path: video file, gif, or a folder of numbered jpg/png frames.
        caption: the full text, with V* already in place of ``<token>``.
        frame_fps: native rate of a folder of frames; a file states its own.
    """

    path: Path
    caption: str
    frame_fps: float = 12.0


@dataclass(frozen=True)
class LatentPosterior:
    """What the VAE says about one augmented variant of a clip; sampled anew at every training step.

    Attributes:
        mean: ``[c, f, h, w]`` float32, already scaled (``scaling_factor`` applied).
        logvar: ``[c, f, h, w]`` float32 log-variance in the same scaled units.
    """

    mean: Tensor
    logvar: Tensor


class ExampleSet(enum.StrEnum):
    """Which set of Eq. 3 an example was drawn from."""

    MOTION = "motion"  # D^m
    REGULARIZATION = "regularization"  # D^r


@dataclass(frozen=True)
class Draw:
    """One training example chosen by the mixture: which set, which clip, which augmented
    variant.
    """

    source: ExampleSet
    clip: int
    variant: int


@dataclass(frozen=True)
class GeneratedVideo:
    """A finished generation.

    Attributes:
        frames: uint8 RGB, ``[f, 3, h, w]``.
        fps: playback rate.
        prompt: the text it was asked for.
        seed: of the initial noise.
    """

    frames: Tensor
    fps: float
    prompt: str
    seed: int


class ParameterGroup(enum.StrEnum):
    """A total, disjoint partition of a denoiser's parameters, by the type of the owning module.

    The paper's theta_t is TEMPORAL_ATTENTION + TEMPORAL_CONV; its theta_s^{k,v} is
    SPATIAL_CROSS_KV.
    """

    TEMPORAL_ATTENTION = "temporal_attention"
    TEMPORAL_CONV = "temporal_conv"
    SPATIAL_CROSS_KV = "spatial_cross_kv"
    SPATIAL_CROSS_QUERY = "spatial_cross_query"  # by themselves, because Tune-A-Video trains them
    SPATIAL_CROSS_REST = "spatial_cross_rest"  # the output projection
    SPATIAL_SELF_QUERY = "spatial_self_query"
    SPATIAL_SELF_REST = "spatial_self_rest"  # keys, values and the output projection
    SPATIAL_REST = "spatial_rest"  # feed-forward, norms and projections of the spatial transformers
    SPATIAL_CONV = "spatial_conv"
    OTHER = "other"  # timestep embedding


TEMPORAL = frozenset({ParameterGroup.TEMPORAL_ATTENTION, ParameterGroup.TEMPORAL_CONV})
SPATIAL = frozenset(ParameterGroup) - TEMPORAL - {ParameterGroup.OTHER}


# --- events of a customization run, in the order they occur ---------------------------------------


@dataclass(frozen=True)
class RunStarted:
    """The data is read, the model is loaded and training starts (or resumes) at ``step``."""

    step: int
    max_steps: int
    trainable_parameters: int
    trainable_tensors: int
    motion_clips: int
    regularization_clips: int
    device: str
    resumed: bool


@dataclass(frozen=True)
class Preparing:
    """Work other than steps and validations, for progress displays: ``done`` of ``total`` in
    ``stage``.
    """

    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class StepDone:
    """One optimizer step. ``losses`` has the mean loss of each set that was drawn in this step."""

    step: int
    loss: float
    losses: dict[str, float]
    learning_rate: float
    gradient_norm: float
    seconds: float


@dataclass(frozen=True)
class Validated:
    """Appearance was scored at ``step``. ``floor`` is in the same units as ``appearance``."""

    step: int
    appearance: float
    floor: float
    passed: bool
    seconds: float


@dataclass(frozen=True)
class Checkpointed:
    """A checkpoint is durably on disk."""

    step: int
    path: str


@dataclass(frozen=True)
class RunFinished:
    """The run is over and its delta is published.

    Attributes:
        step: last optimizer step taken.
        delta_step: the step whose weights are in the delta (before appearance fell below its
            floor).
        reason: why training ended.
        delta: ``name@version`` in the store.
        store: path or URI of the store.
        report: path of the HTML page.
    """

    step: int
    delta_step: int
    reason: Literal["appearance_floor", "max_steps"]
    delta: str
    store: str
    report: str
    sha256: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


TrainEvent = RunStarted | Preparing | StepDone | Validated | Checkpointed | RunFinished
