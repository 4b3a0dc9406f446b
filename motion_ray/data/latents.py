"""Latents and text states, computed once and shared by runs: the caches on disk.

Caching and augmentation go together here: K augmented variants of every clip are encoded, and of
each the posterior's mean and log-variance are kept, so that every training step samples anew.
Entries are named by what they were made from; nothing ever has to be invalidated. Shape legend: f
frames, c latent channels, h/w latent cells, n tokens, d text width.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from motion_ray.backbones.base import Backbone
from motion_ray.config import AugmentationConfig, ClipConfig
from motion_ray.data.augment import AugmentationDraw, apply_augmentation, draw_variant
from motion_ray.data.clips import content_hash
from motion_ray.data.video import probe, read_clip
from motion_ray.errors import DataError
from motion_ray.files import write_bytes_atomic
from motion_ray.types import CaptionedClip, Clip, LatentPosterior

log = logging.getLogger(__name__)

FORMAT = "motion_ray.cache/1"  # raise it when reading, augmentation or encoding changes its result
OnProgress = Callable[[int, int], None]


class LatentCache:
    """Posteriors on disk, one file a variant. Any number of processes may share a folder.

    Args:
        root: created when the first entry is written.
    """

    def __init__(self, root: Path) -> None:
        self._entries = _Entries(Path(root), "latent")

    def posteriors(
        self,
        backbone: Backbone,
        clips: Sequence[CaptionedClip],
        clip_config: ClipConfig,
        augmentation: AugmentationConfig,
        seed: int,
        on_progress: OnProgress | None = None,
    ) -> list[list[LatentPosterior]]:
        """Posteriors ``[clip][variant]`` of ``[c, f, h, w]``, float32 on the CPU; encoded if
        missing.

        Args:
            backbone: its VAE encodes; its ``vae_fingerprint`` is part of an entry's name.
            clips: captions do not matter here.
            clip_config: frames, rate and size.
            augmentation: ranges and number of variants; ``flip`` must be what the motion allows.
            seed: of the draws.
            on_progress: told (variants done, variants in all).

        Raises:
            DataError: a clip cannot be used, or the cache cannot be written.
        """
        result, total = [], len(clips) * augmentation.variants
        for clip in clips:
            variants = []
            draws = variant_draws(clip, clip_config, augmentation, seed)
            frames: Clip | None = None  # decoded for the first variant that is missing
            for key, draw in self._keys(backbone, clip, clip_config, draws):
                tensors = self._entries.read(key, ("mean", "logvar"))
                if tensors is None:
                    frames = frames or read_clip(clip.path, clip_config, frame_fps=clip.frame_fps)
                    tensors = _encode(backbone, frames.frames, draw, clip_config)
                    self._entries.write(key, tensors)
                variants.append(LatentPosterior(tensors["mean"], tensors["logvar"]))
                if on_progress:
                    on_progress(len(result) * augmentation.variants + len(variants), total)
            result.append(variants)
        return result

    @staticmethod
    def _keys(
        backbone: Backbone,
        clip: CaptionedClip,
        clip_config: ClipConfig,
        draws: Sequence[AugmentationDraw],
    ) -> Iterable[tuple[str, AugmentationDraw]]:
        made_from = {
            "clip": content_hash(clip.path),
            # a folder of pictures has no rate of its own, so its hash does not hold it
            "frame_fps": clip.frame_fps if clip.path.is_dir() else None,
            "config": clip_config.model_dump(mode="json"),
            "vae": backbone.vae_fingerprint,
        }
        for draw in draws:
            yield _key({**made_from, "draw": asdict(draw)}), draw


class TextCache:
    """Text states on disk, one file a text.

    Args:
        root: created when the first entry is written.
    """

    def __init__(self, root: Path) -> None:
        self._entries = _Entries(Path(root), "text")

    def states(self, backbone: Backbone, texts: Sequence[str]) -> dict[str, Tensor]:
        """Text to its states ``[n, d]``, float32 on the CPU.

        Valid only for the base's own text encoder: while an embedding is replaced or trained, the
        fingerprint says nothing about the states, so do not call this then.

        Raises:
            DataError: the cache cannot be written.
        """
        states = {}
        for text in dict.fromkeys(texts):
            key = _key({"text": text, "base": backbone.fingerprint})
            tensors = self._entries.read(key, ("states",))
            if tensors is None:
                # one at a time: a batch may round differently, and an entry must not depend on its
                # company
                tensors = {"states": backbone.encode_text([text])[0].float().cpu().contiguous()}
                self._entries.write(key, tensors)
            states[text] = tensors["states"]
        return states


def variant_draws(
    clip: CaptionedClip, clip_config: ClipConfig, augmentation: AugmentationConfig, seed: int
) -> list[AugmentationDraw]:
    """What is done to each variant of a clip, plain first.

    Raises:
        DataError: the clip cannot be used.
    """
    info = probe(clip.path, frame_fps=clip.frame_fps)
    content = content_hash(clip.path)
    frame_hw, out_hw = (info.height, info.width), (clip_config.height, clip_config.width)
    return [
        draw_variant(augmentation, frame_hw, out_hw, seed, content, variant)
        for variant in range(augmentation.variants)
    ]


def _encode(
    backbone: Backbone, frames: Tensor, draw: AugmentationDraw, config: ClipConfig
) -> dict[str, Tensor]:
    posterior = backbone.encode_video(apply_augmentation(frames, draw, config.height, config.width))
    return {
        "mean": posterior.mean.float().cpu().contiguous(),
        "logvar": posterior.logvar.float().cpu().contiguous(),
    }


class _Entries:
    """A folder of verified safetensors files named ``<kind>-<key>.safetensors``.

    The checksum stands inside the file, in its metadata, over names, shapes, types and bytes of all
    tensors (safetensors itself has none). A sidecar would be a second rename: a reader between the
    two, or two writers, would see a file and a checksum that do not belong together.
    """

    def __init__(self, root: Path, kind: str) -> None:
        self._root, self._kind = root, kind

    def read(self, key: str, names: Sequence[str]) -> dict[str, Tensor] | None:
        """The entry's tensors, or null if there is none or it is damaged (logged)."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            rule = f"cannot be read: {error.strerror}"
            raise DataError(str(path), rule, "check the cache folder, or remove it") from None
        try:
            tensors = safetensors.torch.load(data)
            metadata = _metadata(data)
        except (SafetensorError, ValueError):
            tensors, metadata = {}, {}
        if set(tensors) == set(names) and metadata == _stamp(key, tensors):
            return tensors
        log.warning("%s: is damaged; computing it again", path)
        return None

    def write(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        # Equal keys have equal content, so it does not matter which of several writers comes last.
        data = safetensors.torch.save(dict(tensors), _stamp(key, tensors))
        write_bytes_atomic(self._path(key), data, DataError)

    def _path(self, key: str) -> Path:
        return self._root / f"{self._kind}-{key}.safetensors"


def _stamp(key: str, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return {"format": FORMAT, "key": key, "sha256": digest.hexdigest()}


def _metadata(data: bytes) -> dict[str, str]:
    """The metadata of safetensors bytes: a little-endian length, then JSON."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header.get("__metadata__", {})


def _key(made_from: Mapping[str, object]) -> str:
    text = json.dumps({"format": FORMAT, **made_from}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
