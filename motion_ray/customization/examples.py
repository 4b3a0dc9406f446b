"""D^m and D^r of a run, decoded, augmented and encoded once: what every training step draws from.

Shapes: b batch, c channels, f frames, h/w latent cells, n tokens, d text width.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from motion_ray.backbones.unet3d import UNet3DBackbone
from motion_ray.config import CustomizationConfig
from motion_ray.customization.tokens import token_contrast
from motion_ray.data.clips import (
    MotionFolder,
    content_hash,
    load_motion_folder,
    load_regularization_folder,
)
from motion_ray.data.latents import LatentCache, TextCache
from motion_ray.data.mixture import Mixture
from motion_ray.data.video import write_video
from motion_ray.errors import ConfigError, DataError
from motion_ray.evaluation.prompts import contains_word
from motion_ray.generation import VideoGenerator
from motion_ray.types import CaptionedClip, Draw, ExampleSet, LatentPosterior

log = logging.getLogger(__name__)

LEAST_CONTRAST = 0.1  # of token_contrast; 0.02 was too little (LOG.md, 2026-11-24), 0.5 is enough
SAMPLING = "sampling regularization clips"
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Batch:
    """The examples of one step.

    Attributes:
        latents: x_0, ``[b, c, f, h, w]`` float32, freshly sampled from the posteriors.
        text: text states ``[b, n, d]``, or token ids ``[b, n]`` while V*'s embedding trains.
        sources: the set each example came from.
    """

    latents: Tensor
    text: Tensor
    sources: tuple[ExampleSet, ...]


@dataclass(frozen=True)
class ClipLists:
    """The clips of a run before decoding."""

    folder: MotionFolder
    motion: tuple[CaptionedClip, ...]
    regularization: tuple[CaptionedClip, ...]


def read_clip_lists(config: CustomizationConfig, generated: Path) -> ClipLists:
    """Read the motion folder and the regularization set.

    Args:
        config: ``motion``, ``motion_clips`` and ``regularization`` are used.
        generated: where synthetic regularization clips lie (or will lie).

    Raises:
        DataError: a folder or caption is wrong.
        ConfigError: real regularization without a folder, synthetic captions with the token, or
            fewer clips than ``motion_clips``.
    """
    folder = load_motion_folder(config.motion)
    check_motion_clips(config, len(folder.clips))
    regularization: tuple[CaptionedClip, ...] = ()
    settings = config.regularization
    if settings.source == "real":
        if settings.folder is None:
            raise ConfigError(
                "regularization.folder",
                "real regularization needs a folder of clips with related but different motions",
                "e.g. --set regularization.folder=clips/other, or regularization.source=none",
            )
        regularization = load_regularization_folder(settings.folder, folder.token)
    elif settings.source == "synthetic":
        prompts = settings.synthetic_prompts
        for prompt in prompts:
            if contains_word(prompt, folder.token):
                raise ConfigError(
                    f"regularization.synthetic_prompts: {prompt!r}",
                    f"holds {folder.token!r}, the token of the motion, and shows another",
                    'for example "a person doing other things"',
                )
        regularization = tuple(
            CaptionedClip(generated / f"{index:04d}.mp4", prompts[index % len(prompts)])
            for index in range(settings.synthetic_clips)
        )
    return ClipLists(folder, tuple(folder.clips[: config.motion_clips]), regularization)


def check_motion_clips(config: CustomizationConfig, there: int) -> None:
    """Refuse to train on more clips than the motion has.

    Raises:
        ConfigError: ``motion_clips`` is larger than the number of clips that are there.
    """
    if config.motion_clips is not None and config.motion_clips > there:
        raise ConfigError(
            "motion_clips",
            f"asks for {config.motion_clips} clips, {config.motion} holds {there}",
            "ask for fewer, or for all with motion_clips=null",
        )


def generate_regularization(
    clips: tuple[CaptionedClip, ...], generator: VideoGenerator, seed: int, on_progress: OnProgress
) -> None:
    """Sample the synthetic regularization set from the untouched base model (paper section 4.1,
    DreamBooth).
    """
    for index, clip in enumerate(clips):
        if not clip.path.exists():  # written atomically, so a file that exists is whole
            clip.path.parent.mkdir(parents=True, exist_ok=True)
            [video] = generator.generate(
                [clip.caption],
                [seed * 100_003 + index],
                # told at every step, so that whoever listens can end it there
                on_step=lambda *_, index=index: on_progress(SAMPLING, index, len(clips)),
            )
            write_video(clip.path, video.frames, video.fps)
        on_progress(SAMPLING, index + 1, len(clips))


class Examples:
    """All examples of a run in memory as latent posteriors, and the mixture that draws from them.

    Args:
        backbone: encodes clips and captions.
        config: of the run.
        clips: from :func:`read_clip_lists`.
        cache: folder of the latent and text caches; may be shared by many runs.
        on_progress: told (stage, done, total).

    Attributes:
        sources: motion clip to the sha256 of its content.
        record: each set to its clips in order, each as a name and a hash that the caption is part
            of; and whether clips are mirrored.
    """

    def __init__(
        self,
        backbone: UNet3DBackbone,
        config: CustomizationConfig,
        clips: ClipLists,
        cache: Path,
        on_progress: OnProgress,
    ) -> None:
        augmentation = config.augmentation
        if augmentation.flip and not clips.folder.flip:
            # Mirroring would teach a one-sided motion to both hands.
            augmentation = augmentation.model_copy(update={"flip": False})
        # Before what takes minutes.
        _check_token_is_read(backbone, clips)
        _warn_of_a_token_that_is_overlooked(backbone, config, clips)
        latents = LatentCache(cache / "latents")
        self._posteriors: dict[ExampleSet, list[list[LatentPosterior]]] = {}
        sets = {ExampleSet.MOTION: clips.motion, ExampleSet.REGULARIZATION: clips.regularization}
        for source, members in sets.items():
            stage = f"encoding {source} clips"
            self._posteriors[source] = latents.posteriors(
                backbone,
                members,
                config.clips,
                augmentation,
                config.seed,
                lambda done, total, stage=stage: on_progress(stage, done, total),
            )
        self._captions = {
            source: [clip.caption for clip in members] for source, members in sets.items()
        }
        texts = sorted({caption for captions in self._captions.values() for caption in captions})
        if config.train_token:
            ids = backbone.token_ids(texts)
            self._texts = dict(zip(texts, ids, strict=True))
        else:
            self._texts = TextCache(cache / "text").states(backbone, texts)
        self._mixture = Mixture(
            len(clips.motion),
            len(clips.regularization),
            augmentation.variants,
            config.regularization.share,
            config.seed,
        )
        self._batch_size, self._device = config.batch_size, backbone.device
        # Two subfolders may hold clips of one name.
        root = Path(config.motion).expanduser()
        self.sources = {
            clip.path.relative_to(root).as_posix(): content_hash(clip.path) for clip in clips.motion
        }
        self.record = {
            f"{source} clips": [_named(clip) for clip in clips] for source, clips in sets.items()
        }
        self.record["mirroring"] = [f"flip {augmentation.flip}"]

    def batch(self, step: int, generator: torch.Generator) -> Batch:
        """The examples of a step: which ones is a function of the step, their posterior noise of
        the generator.
        """
        first = step * self._batch_size
        draws = [self._mixture.draw(first + offset) for offset in range(self._batch_size)]
        latents = [
            self._sample(self._posteriors[d.source][d.clip][d.variant], generator) for d in draws
        ]
        text = [self._texts[self._captions[d.source][d.clip]] for d in draws]
        return Batch(
            torch.stack(latents).to(self._device),
            torch.stack(text).to(self._device),
            _sources(draws),
        )

    @staticmethod
    def _sample(posterior: LatentPosterior, generator: torch.Generator) -> Tensor:
        noise = torch.randn(posterior.mean.shape, generator=generator)
        return posterior.mean + torch.exp(0.5 * posterior.logvar) * noise


def _named(clip: CaptionedClip) -> str:
    """A clip's name, and a hash of what is learned from it."""
    learned = f"{content_hash(clip.path)} {clip.frame_fps} {clip.caption}"
    return f"{clip.path.name} {hashlib.sha256(learned.encode()).hexdigest()}"


def _sources(draws: list[Draw]) -> tuple[ExampleSet, ...]:
    return tuple(draw.source for draw in draws)


def _check_token_is_read(backbone: UNet3DBackbone, clips: ClipLists) -> None:
    """A text encoder cuts long captions: V* must come before the cut, or it would never be seen.

    Raises:
        DataError: it does not.
    """
    pieces = backbone.token_pieces(clips.folder.token)
    for clip, ids in zip(
        clips.motion, backbone.token_ids([c.caption for c in clips.motion]).tolist(), strict=True
    ):
        starts = range(len(ids) - len(pieces) + 1)
        if not any(ids[start : start + len(pieces)] == pieces for start in starts):
            raise DataError(
                clip.path,
                f"the caption {clip.caption!r} is longer than the {backbone.max_tokens} tokens the "
                f"text encoder reads, and {clips.folder.token!r} is cut off",
                "shorten the caption, for example 'a person doing the <token>'",
            )


def _warn_of_a_token_that_is_overlooked(
    backbone: UNet3DBackbone, config: CustomizationConfig, clips: ClipLists
) -> None:
    """A fixed V* that the text encoder overlooks is nothing to tie a motion to."""
    token = clips.folder.token
    contrast = token_contrast(backbone, clips.motion[0].caption, token)
    if not config.train_token and contrast < LEAST_CONTRAST:
        log.warning(
            "the text encoder hardly tells %r from other words (%.0f %% of a caption's "
            "states depend on it): the motion may not be learned; try another token, or "
            "train_token=true",
            token,
            100 * contrast,
        )
