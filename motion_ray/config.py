"""The complete description of a customization run, as one frozen, typed value.

A recipe (:mod:`motion_ray.recipes`) is a function that returns a :class:`CustomizationConfig`; a
variant is ``ours().replace({"density": {"kind": "uniform"}})``. Units and the paper's source stand
at each field.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from motion_ray.config_data import AugmentationConfig, ClipConfig, Frozen, RegularizationConfig
from motion_ray.config_errors import setting_error, takes_text
from motion_ray.diffusion.density import CoarseNoise, TimestepDensity, Uniform
from motion_ray.errors import ConfigError
from motion_ray.types import ParameterGroup

LONGEST_VALUE = 120  # characters of one that are shown
_INFLATED = "inflated:"  # as in backbones.inflated, which imports diffusers; a test compares them


class UniformDensity(Frozen):
    """f(t) = 1/T."""

    kind: Literal["uniform"] = "uniform"

    def build(self) -> TimestepDensity:
        """The mathematical object."""
        return Uniform()


class CoarseNoiseDensity(Frozen):
    """f_alpha(t) = (1 - alpha cos(pi t/T)) / T (paper section 3.2)."""

    kind: Literal["coarse_noise"] = "coarse_noise"
    alpha: float = Field(default=0.5, ge=0, le=1)

    def build(self) -> TimestepDensity:
        """The mathematical object."""
        return CoarseNoise(self.alpha)


class LowRankConfig(Frozen):
    """LoRA (Hu et al. 2021) instead of whole values: the change of a weight is of low rank.

    Weights of linear layers and convolutions in the named groups get factors; their biases and the
    norms stay as they are.
    """

    rank: int = Field(default=8, ge=1, le=4096)
    alpha: float | None = Field(
        default=None, gt=0, description="the change is scaled by alpha / rank; null: by 1"
    )


Beta = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
DensityConfig = Annotated[UniformDensity | CoarseNoiseDensity, Field(discriminator="kind")]


class OptimizerConfig(Frozen):
    """AdamW (paper section 4: lr 5e-6)."""

    lr: float = Field(default=5e-6, gt=0, le=1)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    weight_decay: float = Field(default=0.01, ge=0)
    grad_clip: float = Field(
        default=1.0, gt=0, description="largest norm of all trainable gradients together"
    )
    warmup_steps: int = Field(default=0, ge=0, description="linear warm-up of the learning rate")
    decay: Literal["constant", "cosine"] = Field(
        default="constant", description="course of the learning rate to max_steps (paper: constant)"
    )


class EngineConfig(Frozen):
    """Runs backward and the optimizer. Arithmetic is the same in torch and deepspeed (tested);
    torch-bf16 rounds the whole network to bfloat16 and keeps float32 master weights.
    """

    name: Literal["torch", "deepspeed", "torch-bf16"] = Field(
        default="torch", description="torch-bf16: bfloat16 network, float32 master weights"
    )
    zero_stage: Literal[0, 1, 2] = Field(
        default=0, description="DeepSpeed ZeRO stage; of use on one GPU with offload_optimizer only"
    )
    offload_optimizer: bool = Field(
        default=False, description="keep optimizer state in host memory (ZeRO 1, 2)"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 where the hardware has it"
    )
    activation_checkpointing: bool = Field(
        default=False, description="recompute activations in backward: less memory"
    )
    dropout: bool = Field(
        default=True, description="train mode: the temporal convolutions' dropout is active"
    )
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads; null leaves torch's default"
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.name != "deepspeed" and (self.zero_stage or self.offload_optimizer):
            raise ValueError("zero_stage and offload_optimizer need name=deepspeed")
        if self.offload_optimizer and self.zero_stage == 0:
            raise ValueError("offload_optimizer needs zero_stage 1 or 2, e.g. zero_stage=1")
        if self.masters_apart and self.precision == "fp32":
            raise ValueError("name=torch-bf16 computes in bfloat16: leave precision at auto")
        return self

    @property
    def masters_apart(self) -> bool:
        """Whether exact weights lie beside a network that is rounded as a whole."""
        return self.name == "torch-bf16"

    @property
    def arithmetic(self) -> str:
        """``precision``, as the engine leaves a choice."""
        return "bf16" if self.masters_apart else self.precision


class SamplingConfig(Frozen):
    """How videos are generated."""

    scheduler: Literal["ddim", "dpmsolver++"] = "ddim"
    steps: int = Field(default=40, ge=1, le=1000, description="denoising steps")
    guidance: float = Field(
        default=9.0, ge=1, le=50, description="classifier-free guidance scale; 1 is off"
    )
    negative_prompt: str = ""
    fps: float = Field(default=8.0, gt=0, description="playback rate of written videos")


class AppearanceFloor(Frozen):
    """Stop when CLIP appearance falls below this (paper section 4.1 and supplement B: 0.265).

    A CLIP value means nothing without its model, so the two are one setting. ``relative`` is a
    fraction of the base model's own score on the same prompts and seeds, for models other than the
    paper's.
    """

    clip_model: str = Field(
        default="puppet", description="'puppet', or a folder that open_clip loads"
    )
    value: float | None = Field(default=None, description="absolute floor, e.g. 0.265")
    relative: float | None = Field(
        default=None, gt=0, le=1, description="fraction of the base model's score"
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.value is None) == (self.relative is None):
            raise ValueError("give exactly one of value (e.g. 0.265) and relative (e.g. 0.9)")
        return self


class ValidationConfig(Frozen):
    """The fixed prompts and seeds that decide when to stop."""

    every: int = Field(default=200, ge=1, description="steps between validations")
    prompts: tuple[str, ...] = Field(default=(), description="templates with the slot <motion>")
    seeds: tuple[Seed, ...] = (0,)
    publish: bool = Field(
        default=False,
        description="also publish a delta of each step, as <name>-step-<n> (curves of fig. 7)",
    )
    phrase: str = Field(
        default="doing the <token>", description="what stands in the slot: V* as captions name it"
    )
    floor: AppearanceFloor | None = Field(
        default=None, description="null: no early stop, train to max_steps"
    )

    @model_validator(mode="after")
    def _names_the_token(self) -> Self:
        if "<token>" not in self.phrase:
            raise ValueError("phrase holds <token>, e.g. 'doing the <token>'")
        return self


class CustomizationConfig(Frozen):
    """Everything that decides the result of a run.

    The identity of a run (:meth:`identity`) is the hash of this value; where it is written and on
    what machine it runs are not part of it.
    """

    recipe: str = Field(description="name of the recipe this came from, for the record")
    base: str = Field(default="puppet", description="'puppet' (embedded) or a diffusers folder")
    inflate: bool = Field(
        default=False,
        description="customize the base's image part, inflated to clips (Tune-A-Video)",
    )
    motion: str = Field(default="", description="motion folder (docs: README, 'Your own motion')")
    motion_clips: int | None = Field(
        default=None, ge=1, description="train on the first so many clips of it; null: on all"
    )
    name: str | None = Field(default=None, description="name in the store; null: the motion's own")
    clips: ClipConfig = ClipConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    regularization: RegularizationConfig = RegularizationConfig()
    groups: tuple[ParameterGroup, ...] = Field(
        default=(), description="parameter groups that train"
    )
    train_token: bool = Field(
        default=False, description="also train the embedding of V* (raises copying, paper 4.2)"
    )
    token_start: str | None = Field(
        default=None,
        description="word whose embedding a trained V* starts from; null: from its own",
    )
    low_rank: LowRankConfig | None = Field(
        default=None, description="train factors of low rank; null: whole values"
    )
    density: DensityConfig = CoarseNoiseDensity()
    optimizer: OptimizerConfig = OptimizerConfig()
    engine: EngineConfig = EngineConfig()
    sampling: SamplingConfig = SamplingConfig()
    validation: ValidationConfig = ValidationConfig()
    batch_size: int = Field(default=1, ge=1, le=1024, description="examples per step (paper: 1)")
    max_steps: int = Field(default=3000, ge=1, description="paper: at most 3000")
    checkpoint_every: int = Field(default=100, ge=1, description="steps between checkpoints")
    seed: Seed = 0

    @model_validator(mode="after")
    def _something_trains(self) -> Self:
        if not self.groups and not self.train_token:
            raise ValueError("nothing would train: name parameter groups or set train_token")
        if self.low_rank is not None and not self.groups:
            raise ValueError("low_rank is about parameter groups: name some, or set it to null")
        if self.token_start is not None and not self.train_token:
            raise ValueError("token_start is where a trained token starts: set train_token=true")
        if self.engine.masters_apart and (self.train_token or self.low_rank is not None):
            raise ValueError("engine.name=torch-bf16 trains whole values only: take name=torch")
        if self.base.startswith(_INFLATED):
            raise ValueError(f"the base is a name or a folder: instead of {_INFLATED} set inflate")
        return self

    @property
    def model(self) -> str:
        """What :func:`motion_ray.backbones.unet3d.load_backbone` is to load."""
        return f"{_INFLATED}{self.base}" if self.inflate else self.base

    def replace(self, changes: dict[str, Any]) -> CustomizationConfig:
        """A copy with nested fields changed, validated anew.

        Args:
            changes: nested mapping, e.g. ``{"optimizer": {"lr": 1e-4}}``.

        Raises:
            ConfigError: an unknown field or a value that breaks a rule.
        """
        own = self.model_dump(mode="json")
        return parse_config(_merge(own, changes), good=own)

    def identity(self) -> str:
        """Sha256 over the canonical JSON of this value."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _merge(into: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(into)
    for key, value in changes.items():
        old = merged.get(key)
        # A discriminated union is replaced whole when its kind changes: fields of the old kind go.
        same_kind = not isinstance(value, dict) or "kind" not in value
        if isinstance(old, dict) and isinstance(value, dict) and same_kind:
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged


def parse_config(values: dict[str, Any], good: dict[str, Any] | None = None) -> CustomizationConfig:
    """Validate a nested mapping.

    Args:
        values: all settings.
        good: settings that are right, for an example in the message.

    Raises:
        ConfigError: naming the first field at fault, the rule and the value that was given.
    """
    try:
        return CustomizationConfig.model_validate(values)
    except ValidationError as fault:
        raise setting_error(fault, CustomizationConfig, values, good) from None


def set_path(changes: dict[str, Any], assignment: str) -> dict[str, Any]:
    """Add one ``a.b=c`` of the command line to a nested mapping; ``c`` is read as YAML.

    Where the setting is text, a word that YAML takes for a number or a date stays as it was typed.

    Raises:
        ConfigError: the text has no ``=`` or an empty path.
    """
    import yaml

    path, separator, text = assignment.partition("=")
    if not separator or not path.strip():
        raise ConfigError(
            f"--set {assignment}",
            "an assignment is path=value",
            "for example --set optimizer.lr=1e-4",
        )
    *parents, last = path.strip().split(".")
    is_text = takes_text(CustomizationConfig, (*parents, last))
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if not (is_text and isinstance(error, ValueError)):  # 2024-02-30 is no date, but a text
            raise ConfigError(
                f"--set {path}",
                f"cannot read the value {text[:LONGEST_VALUE]!r}",
                "for example --set max_steps=500",
            ) from None
        value = text.strip()
    if is_text:
        value = value if isinstance(value, str | list | dict | None) else text.strip()
    elif isinstance(value, str):
        value = _number(value)  # YAML reads 1e-4 (no dot) as text
    node = changes
    for part in parents:
        if not isinstance(node.get(part), dict):
            node[part] = {}  # the last of two assignments that exclude each other counts
        node = node[part]
    node[last] = value
    return changes


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
