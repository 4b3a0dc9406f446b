"""Text-to-video models of diffusers' ``TextToVideoSDPipeline`` family: ModelScope, ZeroScope, the
embedded model.

Shapes: b batch, f frames, c latent channels, h/w latent cells, H/W pixels, n tokens, d text width.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from motion_ray.backbones.folder import ModelFolder, open_model_folder
from motion_ray.backbones.inflated import PREFIX, inflate, inflated_fingerprint
from motion_ray.backbones.kernels import use_cpu_kernels
from motion_ray.backbones.partition import partition_unet3d
from motion_ray.backbones.replay import StepRecorder, predict
from motion_ray.devices import resolve_device
from motion_ray.errors import BaseModelError, DataError
from motion_ray.precision import check_precision
from motion_ray.types import LatentPosterior, ParameterGroup

EMBEDDED = "puppet"
EMBEDDED_FOLDER = Path(__file__).parent.parent / "assets" / "base"
FRAMES_PER_VAE_CALL = 16  # bounds memory at full size; the result does not depend on it


class UNet3DBackbone:
    """A loaded base model. See :class:`motion_ray.backbones.base.Backbone` for the contract."""

    def __init__(
        self,
        folder: ModelFolder,
        unet: UNet3DConditionModel,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        device: torch.device,
    ) -> None:
        self.denoiser: nn.Module = unet
        self.vae, self.text_encoder, self.tokenizer = vae, text_encoder, tokenizer
        self.device = device
        self.scheduler_config: dict[str, Any] = folder.scheduler_config
        self.fingerprint, self.vae_fingerprint = folder.fingerprint, folder.vae_fingerprint
        self.encoding = str(vae.dtype).removeprefix("torch.")
        self.spatial_factor: int = 2 ** (len(vae.config["block_out_channels"]) - 1)
        self.latent_channels: int = unet.config["in_channels"]
        self.text_width: int = text_encoder.config.hidden_size
        self._groups = partition_unet3d(unet)
        # A motion with a trained token asks at every exchange, and the tokenizer takes its time.
        self._whole: dict[str, int] = {}
        # Of the network, not of self: a cycle would keep a model on the GPU until it is collected.
        self.recorder = StepRecorder(unet) if device.type == "cuda" else None
        for module in (unet, vae, text_encoder):
            # eval: UNet3D has dropout in its temporal convolutions, active in a fresh module
            module.requires_grad_(False).eval()

    # --- video <-> latents ------------------------------------------------------------------------

    @torch.no_grad()
    def encode_video(self, frames: Tensor) -> LatentPosterior:
        """uint8 ``[f, 3, H, W]`` to the scaled posterior ``[c, f, h, w]``, float32 on the CPU.

        Raises:
            DataError: H or W is not a multiple of the VAE's factor.
        """
        height, width = frames.shape[-2:]
        if height % self.spatial_factor or width % self.spatial_factor:
            raise DataError(
                f"clips.height x clips.width = {height} x {width}",
                f"must be multiples of {self.spatial_factor}, the VAE's factor",
                f"for example {self.spatial_factor * 8} x {self.spatial_factor * 8}",
            )
        means, logvars = [], []
        for part in frames.split(FRAMES_PER_VAE_CALL):
            pixels = part.to(self.device, self.vae.dtype) / 127.5 - 1.0
            posterior = self.vae.encode(pixels).latent_dist  # pyright: ignore[reportAttributeAccessIssue]
            means.append(posterior.mean.float().cpu())
            logvars.append(posterior.logvar.float().cpu())
        scale = float(self.vae.config["scaling_factor"])
        mean = torch.cat(means).transpose(0, 1) * scale
        logvar = torch.cat(logvars).transpose(0, 1) + 2.0 * torch.tensor(scale).log()
        return LatentPosterior(mean.contiguous(), logvar.contiguous())

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """``[b, c, f, h, w]`` scaled latents to uint8 ``[b, f, 3, H, W]`` on the CPU."""
        batch, _, frames = latents.shape[:3]
        flat = (latents / float(self.vae.config["scaling_factor"])).transpose(1, 2).flatten(0, 1)
        decoded = []
        for part in flat.split(FRAMES_PER_VAE_CALL):
            pixels = self.vae.decode(part.to(self.device, self.vae.dtype)).sample  # pyright: ignore
            decoded.append(((pixels.float() / 2 + 0.5).clamp(0, 1) * 255).round().byte().cpu())
        return torch.cat(decoded).unflatten(0, (batch, frames))

    # --- text -------------------------------------------------------------------------------------

    @property
    def max_tokens(self) -> int:
        """Longest text in tokens, start and end included."""
        return min(
            int(self.tokenizer.model_max_length),
            int(self.text_encoder.config.max_position_embeddings),
        )

    def token_ids(self, texts: Sequence[str]) -> Tensor:
        """Padded token ids, int64 ``[b, n]`` on the model's device. Longer texts are cut."""
        batch = self.tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        )
        ids = batch["input_ids"]
        assert isinstance(ids, Tensor)
        return ids.to(self.device)

    def token_pieces(self, word: str) -> list[int]:
        """Ids that a word is split into, without start and end marks."""
        return self.tokenizer(word, add_special_tokens=False)["input_ids"]  # pyright: ignore

    def encode_ids(self, ids: Tensor) -> Tensor:
        """Token ids ``[b, n]`` to text states ``[b, n, d]`` float32; differentiable if the
        embedding trains.
        """
        return self.text_encoder(ids).last_hidden_state.float()

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts to text states ``[b, n, d]``, float32 on the model's device."""
        return self.encode_ids(self.token_ids(texts))

    def set_token_embedding(self, token: str, row: Tensor) -> Tensor:
        """Put ``row [d]`` in place of the embedding of ``token``; returns the row that was there.

        Raises:
            BaseModelError: the token is not a single piece of the vocabulary.
        """
        index = self.single_piece(token)
        table = self.text_encoder.get_input_embeddings().weight
        assert isinstance(table, Tensor)
        with torch.no_grad():
            previous = table[index].clone()
            table[index] = row.to(table)
        return previous

    def single_piece(self, token: str) -> int:
        """The id of a token that the tokenizer keeps whole.

        Raises:
            BaseModelError: it is split into several pieces.
        """
        if token in self._whole:
            return self._whole[token]
        pieces = self.token_pieces(token)
        if len(pieces) != 1:
            raise BaseModelError(
                f"token {token!r}",
                f"the base model's tokenizer splits it into {len(pieces)} pieces",
                "choose a rare token that stays whole, for example sks or pll",
            )
        self._whole[token] = pieces[0]
        return pieces[0]

    # --- denoiser ---------------------------------------------------------------------------------

    def predict(self, latents: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """The UNet's output ``[b, c, f, h, w]`` for noisy latents, timesteps ``[b]`` and text ``[b,
        n, d]``.
        """
        return predict(self.denoiser, latents, timesteps, text)

    def group_of(self, name: str) -> ParameterGroup:
        """The group of a UNet parameter by its full name.

        Raises:
            KeyError: there is no such parameter.
        """
        return self._groups[name]


def model_folder(base: str) -> Path:
    """The folder that a ``base`` setting names: the embedded model or a path."""
    name = base.removeprefix(PREFIX)
    return EMBEDDED_FOLDER if name == EMBEDDED else Path(name).expanduser()


def check_base(base: str) -> ModelFolder:
    """Check that a base can be loaded, without loading it.

    Raises:
        BaseModelError: it cannot; the message says why.
    """
    folder = open_model_folder(model_folder(base))
    if not base.startswith(PREFIX):
        return folder
    return dataclasses.replace(folder, fingerprint=inflated_fingerprint(folder.fingerprint))


def load_backbone(
    base: str = EMBEDDED, device: str | torch.device | None = None, precision: str = "auto"
) -> UNet3DBackbone:
    """Load a base model.

    Args:
        base: ``"puppet"`` for the embedded model, or a diffusers folder; ``"inflated:"`` before it
            takes its image part, inflated (:mod:`motion_ray.backbones.inflated`).
        device: null takes the GPU if there is one.
        precision: weights are bfloat16 on a GPU unless this is ``"fp32"``, float32 on a CPU.

    Raises:
        BaseModelError: see :func:`motion_ray.backbones.folder.open_model_folder`.
        ConfigError: there is no such device here, or no such precision.
    """
    where = resolve_device(device)
    folder = check_base(base)
    check_precision(precision)
    halved = where.type == "cuda" and precision != "fp32"
    dtype = torch.bfloat16 if halved else torch.float32
    path = str(folder.path)
    with quiet_loading():
        unet = _part(UNet3DConditionModel, path, "unet", torch_dtype=dtype)
        vae = _part(AutoencoderKL, path, "vae", torch_dtype=dtype)
        text = _part(CLIPTextModel, path, "text_encoder", dtype=dtype)
        tokenizer = CLIPTokenizer.from_pretrained(path, subfolder="tokenizer")
    if unet.config["cross_attention_dim"] != text.config.hidden_size:
        raise BaseModelError(path, "UNet and text encoder disagree on the width of text states")
    if unet.config["in_channels"] != vae.config["latent_channels"]:
        raise BaseModelError(path, "UNet and VAE disagree on the number of latent channels")
    for module in (unet, vae, text):
        module.to(where)  # pyright: ignore[reportArgumentType]
    if where.type == "cpu":
        use_cpu_kernels(unet)
    if base.startswith(PREFIX):
        inflate(unet)
    return UNet3DBackbone(folder, unet, vae, text, tokenizer, where)


M = TypeVar("M", bound=nn.Module)


def _part(kind: type[M], path: str, name: str, **settings: Any) -> M:
    """A part of a base, all of it from its files.

    Raises:
        BaseModelError: weights are missing; the loaders would put random ones in their place.
    """
    part, told = kind.from_pretrained(  # pyright: ignore[reportAttributeAccessIssue]
        path, subfolder=name, use_safetensors=True, output_loading_info=True, **settings
    )
    missing = sorted(told["missing_keys"])
    if missing:
        raise BaseModelError(
            f"{path}/{name}",
            f"lacks weights of {len(missing)} tensors, {missing[0]} for one",
            "copy or convert the whole model again",
        )
    return part


def exact_parameters(base: str, fingerprint: str, names: Iterable[str]) -> dict[str, Tensor]:
    """Parameters of a base's denoiser as its files have them, float32 on the CPU.

    A base on a GPU is loaded in bfloat16, which keeps fewer digits than the usual float16 files.

    Args:
        base: as for :func:`load_backbone`.
        fingerprint: of the base that was loaded.
        names: of parameters.

    Raises:
        BaseModelError: the files cannot be read, or are no longer those that were loaded.
    """
    folder = check_base(base)
    if folder.fingerprint != fingerprint:
        raise BaseModelError(folder.path, "changed while it was used", "start again")
    with quiet_loading():
        unet = _part(UNet3DConditionModel, str(folder.path), "unet", torch_dtype=torch.float32)
    if base.startswith(PREFIX):
        inflate(unet)
    return {name: unet.get_parameter(name).detach() for name in names}


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """No progress bars of the loaders inside ours."""
    from transformers.utils import logging as transformers_logging

    enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            transformers_logging.enable_progress_bar()
