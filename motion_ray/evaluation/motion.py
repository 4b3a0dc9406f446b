"""Motion accuracy (paper section 4.1): which motion a video shows, by a trained video classifier.

The paper counts how often a classifier of gestures recognises the motion in generated videos. Its
classifier (TRN, 94.78 % on real clips) is one of many that would do; a count has no meaning without
its classifier, so one carries its name and the sha256 of its weights into every report. Shapes: n
videos, f frames, h/w pixels, c classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    TimesformerForVideoClassification,
    VideoMAEForVideoClassification,
    VivitForVideoClassification,
    VJEPA2ForVideoClassification,
)

from motion_ray.backbones.unet3d import quiet_loading
from motion_ray.errors import BaseModelError
from motion_ray.evaluation import motion_resnet, motion_trn
from motion_ray.evaluation.motion_input import ClipPreparation, read_preparation
from motion_ray.evaluation.motion_resnet import ResNetShape, build_resnet, resnet_logits
from motion_ray.evaluation.motion_trn import Trn, trn_logits
from motion_ray.evaluation.statistics import Share
from motion_ray.manifest import MANIFEST, read_json_object, sha256_of, verify_manifest
from motion_ray.tensors import read_tensors

EMBEDDED = "puppet"
EMBEDDED_FOLDER = Path(__file__).parent.parent / "assets" / "motion"
CONFIG, WEIGHTS, PREPROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"
VIDEO_PREPROCESSOR = "video_preprocessor_config.json"  # what V-JEPA 2 calls it
CARD = "accuracy.json"  # what a fine-tuning writes beside the weights
#: Classes of transformers that a folder's ``architectures`` may name, besides torchvision's video
#: ResNet and TRN as this project writes them; anything else is not even imported.
ARCHITECTURES: Mapping[str, type[PreTrainedModel]] = {
    each.__name__: each
    for each in (
        VideoMAEForVideoClassification,
        TimesformerForVideoClassification,
        VivitForVideoClassification,
        VJEPA2ForVideoClassification,
    )
}
FRAMES, IMAGE_SIZES = ("num_frames", "frames_per_clip"), ("image_size", "crop_size")
"""What configs call them."""
ALLOWED = (motion_resnet.NAME, motion_trn.NAME, *ARCHITECTURES)
VIDEOS_PER_CALL = 16  # bounds memory; results do not depend on it


class MotionClassifier(Protocol):
    """Says which motion a video shows."""

    @property
    def name(self) -> str:
        """As given when loading: ``"puppet"`` or a folder."""
        ...

    @property
    def sha256(self) -> str:
        """Of the weights file."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the c classes, in the order of the probabilities."""
        ...

    def probabilities(self, frames: Tensor) -> Tensor:
        """Probabilities ``[n, c]`` of videos, uint8 ``[n, f, 3, h, w]``."""
        ...


@dataclass(frozen=True)
class VideoClassifier:
    """A video classification model and how it wants its frames: a :class:`MotionClassifier`.

    Attributes:
        name: as given when loading; see the protocol, also for the next two.
        sha256: of the weights file.
        labels: of the c classes.
        model: with its weights.
        logits: of prepared videos ``[n, f, 3, h, w]``, by the model: ``[n, c]``.
        preparation: from uint8 videos to those.
        device: where the model is.
    """

    name: str
    sha256: str
    labels: tuple[str, ...]
    model: nn.Module
    logits: Callable[[Tensor], Tensor]
    preparation: ClipPreparation
    device: torch.device

    @torch.no_grad()
    def probabilities(self, frames: Tensor) -> Tensor:
        """Probabilities ``[n, c]`` float32 on the CPU of videos, uint8 ``[n, f, 3, h, w]``.

        The model's number of frames is taken evenly from however many there are.

        Raises:
            ValueError: the videos have another shape or type, or there are none.
        """
        if frames.dtype != torch.uint8 or frames.ndim != 5 or frames.shape[2] != 3:
            raise ValueError(
                f"videos are uint8 [n, f, 3, h, w], got {frames.dtype} {tuple(frames.shape)}"
            )
        if not frames.numel():
            raise ValueError("there are no videos, or no frames in them")
        parts = []
        for part in frames.split(VIDEOS_PER_CALL):
            inputs = self.preparation(part.to(self.device))
            parts.append(self.logits(inputs).float().softmax(-1).cpu())
        return torch.cat(parts)


def load_motion_classifier(
    name_or_folder: str = EMBEDDED, device: str | torch.device = "cpu"
) -> VideoClassifier:
    """Load a motion classifier; nothing is fetched from a network and no code is run from it.

    Args:
        name_or_folder: ``"puppet"`` for the embedded classifier of the puppet world, or a folder as
            transformers saves it: ``config.json`` (which names its class in ``architectures`` and
            its classes in ``id2label``), ``model.safetensors`` and ``preprocessor_config.json``
            (of V-JEPA 2 ``video_preprocessor_config.json``).
        device: where the model runs.

    Raises:
        BaseModelError: the folder is missing, incomplete or damaged, asks for a class that is not
            in :data:`ALLOWED`, or its config and weights do not fit.
    """
    embedded = name_or_folder == EMBEDDED
    folder = EMBEDDED_FOLDER if embedded else Path(name_or_folder).expanduser()
    config = _check_folder(folder, must_have_manifest=embedded)
    labels = _labels(folder / CONFIG, config)
    architecture = config["architectures"][0]
    if architecture == motion_resnet.NAME:
        model = _load_own(
            folder, lambda: build_resnet(ResNetShape.from_config(config), len(labels))
        )
        logits = resnet_logits(model)
    elif architecture == motion_trn.NAME:
        model = _load_own(folder, lambda: Trn(int(config["num_frames"]), len(labels)))
        logits = trn_logits(model)
    else:
        model = _load_transformer(folder, ARCHITECTURES[architecture])
        logits = _transformer_logits(model)
    model.to(torch.device(device))
    return VideoClassifier(
        name=name_or_folder,
        sha256=sha256_of((folder / WEIGHTS).resolve()),
        labels=labels,
        model=model.eval().requires_grad_(False),
        logits=logits,
        preparation=read_preparation(
            preprocessor_of(folder),
            int(_first(config, FRAMES)),
            _sides(_first(config, IMAGE_SIZES)),
        ),
        device=torch.device(device),
    )


def _load_own(folder: Path, build: Callable[[], nn.Module]) -> nn.Module:
    """A network of this project with the folder's weights."""
    weights = read_tensors(folder / WEIGHTS, BaseModelError)
    try:
        model = build()
        model.load_state_dict(weights)  # copies half into single precision
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        rule = f"does not fit the weights: {' '.join(str(error).split())[:200]}"
        raise BaseModelError(
            str(folder / CONFIG), rule, "config and weights must belong together"
        ) from None
    return model


def _transformer_logits(model: nn.Module) -> Callable[[Tensor], Tensor]:
    name = input_name(model)
    return lambda inputs: model(**{name: inputs}).logits


def input_name(model: nn.Module) -> str:
    """What a model of transformers calls its videos."""
    return str(model.main_input_name)


def _load_transformer(folder: Path, architecture: type[PreTrainedModel]) -> nn.Module:
    """The model, in single precision; every weight must be in the file."""
    try:
        with quiet_loading():
            loaded: Any = architecture.from_pretrained(
                str(folder),
                use_safetensors=True,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (RuntimeError, ValueError, TypeError, KeyError, OSError, SafetensorError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise BaseModelError(
            str(folder),
            f"transformers cannot load it: {first}",
            "config and weights must belong together",
        ) from error
    model, report = loaded
    # Weights that are not in the file would be random, and the count worthless.
    wrong = [*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]]
    if wrong:
        raise BaseModelError(
            str(folder / WEIGHTS),
            f"does not fit the config: {len(wrong)} tensors differ, the first is {wrong[0]}",
            "config and weights must belong together",
        )
    return model


def _check_folder(folder: Path, *, must_have_manifest: bool) -> dict[str, Any]:
    """The config of a folder that transformers can be given."""
    if not folder.is_dir():
        raise BaseModelError(
            str(folder),
            "there is no such folder of a motion classifier",
            f"{EMBEDDED!r} is the embedded one",
        )
    if must_have_manifest or (folder / MANIFEST).exists():
        verify_manifest(folder, BaseModelError)
    for path in (folder / CONFIG, preprocessor_of(folder), folder / WEIGHTS):
        if not path.is_file():
            raise BaseModelError(str(path), "is missing", "use a folder that transformers saved")
    config = read_json_object(folder / CONFIG)
    named = config.get("architectures")
    if "auto_map" in config or not isinstance(named, list) or len(named) != 1:
        raise BaseModelError(
            str(folder / CONFIG),
            "names no class in architectures, or code of its own in auto_map",
            f"allowed: {', '.join(ALLOWED)}",
        )
    if named[0] not in ALLOWED:
        raise BaseModelError(
            str(folder / CONFIG),
            f"is of {named[0]}, a class that is not allowed",
            f"allowed: {', '.join(ALLOWED)}",
        )
    if not isinstance(_first(config, FRAMES), int):
        raise BaseModelError(
            str(folder / CONFIG), f"does not say {FRAMES[0]}", "write it into the config"
        )
    return config


def preprocessor_of(folder: Path) -> Path:
    """The file that says how a classifier wants its frames."""
    other = folder / VIDEO_PREPROCESSOR
    return other if other.is_file() else folder / PREPROCESSOR


def own_accuracy(name_or_folder: str) -> str:
    """How good a classifier is on real clips that it has not seen, as its folder says; empty if it
    does not. No count that it makes means anything without.
    """
    card = Path(name_or_folder).expanduser() / CARD
    if name_or_folder == EMBEDDED or not card.is_file():
        return ""
    told = read_json_object(card)
    try:
        return str(Share(int(told["right"]), int(told["of"])))
    except (KeyError, TypeError, ValueError):
        raise BaseModelError(str(card), "does not say right and of", "test it again") from None


def _first(config: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((config[name] for name in names if name in config), None)


def _labels(path: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    named = config.get("id2label")
    if isinstance(named, dict):
        by_number = {str(number): str(label) for number, label in named.items()}
        labels = tuple(by_number.get(str(number), "") for number in range(len(by_number)))
        if len(set(labels)) == len(by_number) > 1 and all(labels):
            return labels
    raise BaseModelError(
        str(path),
        "id2label does not name each class once, counted from 0",
        'for example {"0": "waving", "1": "walking"}',
    )


def _sides(size: int | list[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
