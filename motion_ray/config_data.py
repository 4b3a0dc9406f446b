"""The sections of a config that say what is learned from: clips, their augmentation, D^r."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Frozen(BaseModel):
    """A section: cannot be changed, and knows no other fields than its own.

    Its numbers are finite: whoever wants none of something has null, and JSON knows no infinity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ClipConfig(Frozen):
    """How a file becomes a tensor ``[f, 3, h, w]``."""

    frames: int = Field(default=16, ge=1, le=256, description="frames per clip, f")
    fps: float | None = Field(
        default=None, gt=0, description="frames per second to sample at; null keeps the file's"
    )
    height: int = Field(default=256, ge=8, le=2048, multiple_of=8, description="pixels")
    width: int = Field(default=256, ge=8, le=2048, multiple_of=8, description="pixels")


class AugmentationConfig(Frozen):
    """Spatial and colour augmentation, one draw for a whole clip (paper section 4, implementation
    details).
    """

    variants: int = Field(
        default=8,
        ge=1,
        le=256,
        description="variants cached per clip, K: the clip as it is, and K - 1 augmented ones",
    )
    area: tuple[float, float] = Field(
        default=(0.7, 1.0), description="area share kept by the random resized crop"
    )
    aspect: tuple[float, float] = Field(
        default=(0.9, 1.1), description="aspect ratio change of that crop"
    )
    flip: bool = Field(
        default=False,
        description="mirror half of the augmented variants, those of D^r too, "
        "where the motion's motion.yaml says flip: true",
    )
    brightness: float = Field(default=0.1, ge=0, le=1, description="relative jitter")
    contrast: float = Field(default=0.1, ge=0, le=1, description="relative jitter")
    saturation: float = Field(default=0.1, ge=0, le=1, description="relative jitter")
    hue: float = Field(
        default=0.02, ge=0, le=0.5, description="jitter in turns of the colour wheel"
    )

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name in ("area", "aspect"):
            low, high = getattr(self, name)
            if not 0 < low <= high or (name == "area" and high > 1):
                raise ValueError(
                    f"{name} is a range low <= high above 0 (area at most 1), e.g. [0.7, 1.0]"
                )
        return self


class RegularizationConfig(Frozen):
    """D^r of Eq. 3: clips of related but different motions that keep the model's knowledge."""

    source: Literal["none", "synthetic", "real"] = "real"
    folder: str | None = Field(
        default=None, description="motion-folder of real clips; required for source real"
    )
    share: float = Field(
        default=0.5, gt=0, lt=1, description="share of training examples drawn from D^r"
    )
    synthetic_clips: int = Field(
        default=50, ge=1, description="clips sampled from the base model for synthetic"
    )
    synthetic_prompts: tuple[str, ...] = Field(
        default=("a person doing other things", "a person in front of a computer"),
        min_length=1,
        description="captions of the synthetic clips (paper section 4.1), used in turn",
    )
