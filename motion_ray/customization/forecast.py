"""What a run will take in memory, disk and time, before it starts.

Arithmetic and memory of one step are counted on a sketch of the model (shapes without data). A step
that this machine can afford is then run for real and timed; for a larger one the figures are an
estimate for a GPU, and say so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
import weakref
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import flop_registry

from motion_ray.backbones.recompute import recompute_activations
from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.config import CustomizationConfig, SamplingConfig
from motion_ray.customization.adapters import count_factors
from motion_ray.customization.parameters import select_parameters
from motion_ray.customization.showcase import shown_prompts
from motion_ray.devices import machine_memory
from motion_ray.precision import compute_context

MOMENTS = 2  # of AdamW, float32
GPU_RATE = 100e12
"""Floating point operations a second of a training step on an H100 (bfloat16 autocast, eager). For
ZeroScope's shape 80e12 were measured at 16 frames of 384 x 384, 133e12 at 24 of 320 x 576."""
GPU_SLACK = 1.2
"""What the allocator takes over what is alive: 1.20 and 1.24 in the same measurements."""
AFFORDABLE_OPERATIONS = 4e12  # a minute or so on a slow CPU
AFFORDABLE_MEMORY = 0.5  # of the machine's

_ATEN = torch.ops.aten
#: Torch has formulas for a GPU's attention kernels; the CPU's do the same work.
_COUNTED_AS = {
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _ATEN._scaled_dot_product_flash_attention,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: (
        _ATEN._scaled_dot_product_flash_attention_backward
    ),
}


@dataclass(frozen=True)
class Forecast:
    """One optimizer step, and what a run leaves on disk. Sizes are in bytes.

    Attributes:
        trainable_parameters: numbers that train.
        trainable_tensors: tensors that train.
        weights: all parameters of denoiser, VAE and text encoder.
        optimizer: AdamW's moments, and master weights where they are apart.
        activations: the most that is alive at once in forward and backward besides weights and
            moments: activations, temporaries and gradients.
        peak: the sum of these; for a GPU with what its allocator takes beyond.
        checkpoint: one checkpoint.
        delta: one published delta.
        latents: the latent cache, on disk and once more in host memory.
        operations: floating point operations of a step.
        seconds: of a step.
        video_seconds: of generating one video: always an estimate, from the step.
        videos: that the run generates: to be scored, as synthetic regularization, for its report.
        device: what ``peak`` and ``seconds`` are about.
        measured: activations and seconds come from a real step on this machine.
    """

    trainable_parameters: int
    trainable_tensors: int
    weights: int
    optimizer: int
    activations: int
    peak: int
    checkpoint: int
    delta: int
    latents: int
    operations: int
    seconds: float
    device: str
    measured: bool
    video_seconds: float = 0.0
    videos: int = 0

    def total_seconds(self, steps: int) -> float:
        """Of a run of so many steps, without encoding and writing checkpoints."""
        return steps * self.seconds + self.videos * self.video_seconds


def forecast(
    config: CustomizationConfig,
    clips: int,
    sketch: UNet3DBackbone,
    mode: AbstractContextManager[Any],
) -> Forecast:
    """Count one step of a config, and run it if this machine can afford to.

    The forward pass of a text encoder whose token trains is left out: it is small beside the rest.
    Of a training of low rank, activations and gradients are those of whole values, which is more.

    Args:
        config: of the run.
        clips: D^m and D^r together, for the size of the latent cache.
        sketch: from :func:`motion_ray.backbones.sketch.sketch_backbone`; used up by this call.
        mode: the mode that the sketch lives in.

    Raises:
        BaseModelError: the base's weights cannot be loaded.
        ConfigError: a parameter group is empty in this base.
    """
    # as compute_context would on a GPU; the sketch's tensors say that they are on a CPU
    mixed = torch.autocast("cpu", torch.bfloat16, enabled=config.engine.precision != "fp32")
    with mode:
        estimate = _count(sketch, config, clips, mixed)
    memory = machine_memory()
    if estimate.operations <= AFFORDABLE_OPERATIONS and estimate.peak <= AFFORDABLE_MEMORY * memory:
        found = _measure(config, clips)
    else:
        found = dataclasses.replace(
            estimate,
            peak=int(estimate.peak * GPU_SLACK),
            seconds=estimate.operations / GPU_RATE,
            device="an H100",
        )
    return dataclasses.replace(
        found,
        video_seconds=found.seconds * _passes(config.sampling) / _step_passes(config),
        videos=_videos(config),
    )


def _passes(sampling: SamplingConfig) -> int:
    """Forward passes of one video."""
    return sampling.steps * (2 if sampling.guidance > 1 else 1)


def _step_passes(config: CustomizationConfig) -> int:
    """A training step in forward passes of one example: backward takes two, recomputing one."""
    return config.batch_size * (4 if config.engine.activation_checkpointing else 3)


def _videos(config: CustomizationConfig) -> int:
    """Those of all validations, of the report and, where the base makes it, of D^r."""
    validation, scored = config.validation, 0
    if validation.floor is not None:
        # before the first step, at every distance, and at the end
        times = 1 + -(-config.max_steps // validation.every)
        scored = times * len(validation.prompts) * len(validation.seeds)
    drawn = config.regularization
    synthetic = drawn.synthetic_clips if drawn.source == "synthetic" else 0
    return scored + synthetic + 2 * len(shown_prompts(validation))


def _measure(config: CustomizationConfig, clips: int) -> Forecast:
    """Run a step twice: to count what is alive, then, warmed up, against the clock."""
    if config.engine.threads is not None:
        torch.set_num_threads(config.engine.threads)
    backbone = load_backbone(config.model, "cpu")
    context = compute_context(config.engine.arithmetic, backbone.device)
    counted = _count(backbone, config, clips, context)
    started = time.perf_counter()
    _step(backbone, config, context)
    seconds = time.perf_counter() - started
    device = f"this machine's CPU, {torch.get_num_threads()} threads"
    return dataclasses.replace(counted, seconds=seconds, device=device, measured=True)


def _count(
    backbone: UNet3DBackbone,
    config: CustomizationConfig,
    clips: int,
    context: AbstractContextManager[Any],
) -> Forecast:
    """Everything but seconds and device. Prepares the backbone for training."""
    apart = config.engine.masters_apart
    trainable = select_parameters(backbone, config.groups, masters=not apart)
    if apart:
        for parameter in backbone.denoiser.parameters():
            parameter.data = parameter.data.to(torch.bfloat16)  # a sketch allows no Module.to
    if config.engine.activation_checkpointing:
        recompute_activations(backbone.denoiser)
    backbone.denoiser.train(config.engine.dropout)
    with _Counter() as counter:
        _step(backbone, config, context)
    modules = (backbone.denoiser, backbone.vae, backbone.text_encoder)
    weights = sum(p.nbytes for module in modules for p in module.parameters())
    numbers = sum(p.numel() for p in trainable.values())
    tensors = len(trainable)
    if config.low_rank is not None:
        numbers, tensors = count_factors(backbone, trainable, config.low_rank)
    if config.train_token:
        numbers, tensors = numbers + _text_width(backbone), tensors + 1
    moments = numbers * 4 * MOMENTS
    state = moments + (numbers * 4 if apart else 0)
    posterior = 2 * 4 * _latent_shape(backbone, config)[1:].numel()  # mean and log-variance
    return Forecast(
        trainable_parameters=numbers,
        trainable_tensors=tensors,
        weights=weights,
        optimizer=state,
        activations=counter.peak,
        # an optimizer that was moved away is in the host's memory
        peak=weights + (0 if config.engine.offload_optimizer else state) + counter.peak,
        checkpoint=numbers * 4 + moments,
        delta=numbers * 4,
        latents=posterior * clips * config.augmentation.variants,
        operations=counter.operations,
        seconds=0.0,
        device="",
        measured=False,
    )


def _step(
    backbone: UNet3DBackbone, config: CustomizationConfig, context: AbstractContextManager[Any]
) -> None:
    """Forward and backward on noise; weights stay as they are and gradients are dropped."""
    shape = _latent_shape(backbone, config)
    noisy, timesteps = torch.randn(shape), torch.full((shape[0],), 500)
    text = torch.randn(shape[0], backbone.max_tokens, _text_width(backbone))
    text.requires_grad_(config.train_token)
    if config.engine.masters_apart:
        noisy, text, context = noisy.bfloat16(), text.bfloat16(), contextlib.nullcontext()
    with context:
        prediction = backbone.predict(noisy, timesteps, text)
    prediction.float().square().mean().backward()
    backbone.denoiser.zero_grad(set_to_none=True)


def _latent_shape(backbone: UNet3DBackbone, config: CustomizationConfig) -> torch.Size:
    """``[b, c, f, h, w]`` of a step."""
    factor, clips = backbone.spatial_factor, config.clips
    cells = (clips.height // factor, clips.width // factor)
    return torch.Size((config.batch_size, backbone.latent_channels, clips.frames, *cells))


def _text_width(backbone: UNet3DBackbone) -> int:
    return int(backbone.text_encoder.config.hidden_size)


class _Counter(TorchDispatchMode):
    """Counts what happens inside it: bytes alive at once, and floating point operations.

    Every storage is followed from the operation that makes it to its end. Counted instead of read
    from the process: resident memory never shrinks, and on a sketch there is none.

    Attributes:
        peak: the most bytes that tensors made inside held at once.
        operations: of matrix products, convolutions and attention, the way torch counts them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0
        self.operations = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        tree_map_only(Tensor, self._foreign, (args, kwargs))
        result = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._made, result)
        packet = _COUNTED_AS.get(func.overloadpacket, func.overloadpacket)
        # torch's own FlopCounterMode keeps what checkpoints recompute alive, so only its formulas
        if packet in flop_registry:
            self.operations += flop_registry[packet](*args, **(kwargs or {}), out_val=result)
        return result

    def _foreign(self, tensor: Tensor) -> None:
        """What existed before, weights above all, is not counted, nor are views of it."""
        self._follow(tensor.untyped_storage(), 0)

    def _made(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self._follow(storage, storage.nbytes())

    def _follow(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata
        if key in self._sizes:  # a view, or changed in place
            return
        self._sizes[key] = size
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self._now -= self._sizes.pop(key, 0)
