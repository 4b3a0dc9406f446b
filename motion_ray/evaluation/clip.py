"""CLIP appearance (paper section 4.1): how well frames fit a text, by a model open_clip loads.

"CLIP appearance" is the mean cosine between the frames of generated videos and the part of the
prompt that describes the subject. A value has no meaning without its model, so an encoder carries
its name and the sha256 of its weights into every report. Shapes: f frames, h/w pixels, n texts, e
embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import open_clip
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from motion_ray.errors import BaseModelError, ConfigError
from motion_ray.manifest import MANIFEST, read_json_object, sha256_of, verify_manifest

EMBEDDED = "puppet"
EMBEDDED_FOLDER = Path(__file__).parent.parent / "assets" / "clip"
CONFIG = "open_clip_config.json"
# The names that open_clip takes before any other; pickles beside them are not read.
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
FRAMES_PER_CALL = 64  # bounds memory; results do not depend on it


class ImageTextEncoder(Protocol):
    """Scores how well frames fit a text.

    Attributes:
        name: as given when loading: ``"puppet"`` or a folder.
        weights_sha256: of the weights file.
    """

    name: str
    weights_sha256: str

    def similarity(self, frames: Tensor, text: str) -> Tensor:
        """Cosines ``[f]`` between frames, uint8 ``[f, 3, h, w]``, and a text."""
        ...


@dataclass
class OpenClipEncoder:
    """An open_clip model, its preprocessing and its tokenizer: an :class:`ImageTextEncoder`."""

    name: str
    weights_sha256: str
    model: nn.Module
    preprocess: Callable[[Image.Image], Tensor]
    tokenizer: Callable[[list[str]], Tensor]
    device: torch.device

    def similarity(self, frames: Tensor, text: str) -> Tensor:
        """Cosines ``[f]`` between frames, uint8 ``[f, 3, h, w]``, and a text."""
        return self.similarities(frames, [text])[:, 0]

    def similarities(self, frames: Tensor, texts: Sequence[str]) -> Tensor:
        """Cosines ``[f, n]`` between frames, uint8 ``[f, 3, h, w]``, and n texts."""
        return self.encode_frames(frames) @ self.encode_texts(texts).T

    @torch.no_grad()
    def encode_frames(self, frames: Tensor) -> Tensor:
        """Unit vectors ``[f, e]`` of uint8 ``[f, 3, h, w]``.

        Raises:
            ValueError: the frames have another shape or type, or there are none.
        """
        if (
            frames.dtype != torch.uint8
            or frames.ndim != 4
            or frames.shape[1] != 3
            or not len(frames)
        ):
            raise ValueError(
                f"frames are uint8 [f, 3, h, w], got {frames.dtype} {tuple(frames.shape)}"
            )
        # PIL pictures and the model's own transform: the same pixels as open_clip's own evaluation.
        pictures = frames.permute(0, 2, 3, 1).cpu().contiguous().numpy()
        inputs = torch.stack([self.preprocess(Image.fromarray(picture)) for picture in pictures])
        encode: Callable[[Tensor], Tensor] = self.model.encode_image  # pyright: ignore
        parts = [
            encode(part.to(self.device)).float().cpu() for part in inputs.split(FRAMES_PER_CALL)
        ]
        return functional.normalize(torch.cat(parts), dim=-1)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors ``[n, e]``."""
        encode: Callable[[Tensor], Tensor] = self.model.encode_text  # pyright: ignore
        features = encode(self.tokenizer(list(texts)).to(self.device))
        return functional.normalize(features.float().cpu(), dim=-1)


def appearance_score(
    encoder: ImageTextEncoder, videos: Sequence[Tensor], phrases: Sequence[str]
) -> float:
    """CLIP appearance: the cosine's mean over the frames of a video, then over videos.

    Args:
        encoder: the image-text model.
        videos: uint8 ``[f, 3, h, w]`` each; lengths may differ.
        phrases: what each video should show, without the motion: ``"a red robot in the forest"``.

    Raises:
        ConfigError: a phrase is empty: its prompt says nothing but the motion.
        ValueError: no videos, or another number of phrases.
    """
    if not videos or len(videos) != len(phrases):
        raise ValueError(
            f"one phrase a video and at least one, got {len(videos)} and {len(phrases)}"
        )
    for phrase in phrases:
        if not phrase.strip():
            raise ConfigError(
                "validation.prompts",
                "a prompt that is scored for appearance says more than the motion",
                'for example "a red robot <motion> in the forest"',
            )
    scores = [
        encoder.similarity(video, text).mean() for video, text in zip(videos, phrases, strict=True)
    ]
    return float(torch.stack(scores).mean())


def load_image_text_encoder(
    name_or_folder: str, device: str | torch.device = "cpu"
) -> OpenClipEncoder:
    """Load an image-text model; nothing is fetched from a network.

    Args:
        name_or_folder: ``"puppet"`` for the embedded model of the puppet world, or a folder with
            ``open_clip_config.json``, ``open_clip_model.safetensors`` and, unless the model uses
            open_clip's built-in tokenizer, the tokenizer's files.
        device: where the model runs.

    Raises:
        ConfigError: the name is empty.
        BaseModelError: the folder is missing, incomplete or damaged, or its config and weights do
            not fit.
    """
    weights = check_image_text_model(name_or_folder)
    folder = weights.parent
    source = f"local-dir:{folder}"
    try:
        model, preprocess = open_clip.create_model_from_pretrained(source, device=device)  # pyright: ignore
        tokenizer = open_clip.get_tokenizer(source)
    except (
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
        AssertionError,
        OSError,
        SafetensorError,
    ) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        rule = f"open_clip cannot load it: {first}"
        raise BaseModelError(
            str(folder), rule, "config and weights must belong together"
        ) from error
    return OpenClipEncoder(
        name=name_or_folder,
        weights_sha256=sha256_of(weights.resolve()),
        model=model.eval().requires_grad_(False),
        preprocess=preprocess,  # pyright: ignore[reportArgumentType]
        tokenizer=tokenizer,
        device=torch.device(device),
    )


def check_image_text_model(name_or_folder: str) -> Path:
    """Look for the files of an image-text model without loading it; returns that of its weights.

    Raises:
        ConfigError: the name is empty.
        BaseModelError: the folder is missing, incomplete or damaged.
    """
    if not name_or_folder.strip():
        raise ConfigError(
            "validation.floor.clip_model",
            "a floor needs the CLIP model that it belongs to",
            "for example validation.floor.clip_model=models/clip, or validation.floor=null",
        )
    embedded = name_or_folder == EMBEDDED
    folder = EMBEDDED_FOLDER if embedded else Path(name_or_folder).expanduser()
    return _check_folder(folder, must_have_manifest=embedded)


def _check_folder(folder: Path, *, must_have_manifest: bool) -> Path:
    """The weights file of a folder that open_clip can be given."""
    if not folder.is_dir():
        raise BaseModelError(
            str(folder),
            "there is no such folder of an image-text model",
            f"{EMBEDDED!r} is the embedded one",
        )
    if must_have_manifest or (folder / MANIFEST).exists():
        verify_manifest(folder, BaseModelError)
    config = folder / CONFIG
    if not config.is_file():
        raise BaseModelError(str(config), "is missing", "the folder must be in open_clip's layout")
    if "model_cfg" not in read_json_object(config):
        raise BaseModelError(
            str(config), "has no model_cfg", "the folder must be in open_clip's layout"
        )
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise BaseModelError(
        str(folder / WEIGHTS[0]), "is missing; only safetensors are read", "save the weights so"
    )
