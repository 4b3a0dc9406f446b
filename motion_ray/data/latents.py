"""Latents and text states, computed once and shared by runs: the caches on disk.

Caching and augmentation go together here: K augmented variants of every clip are encoded, and of
each the posterior's mean and log-variance are kept, so that every training step samples anew.
Entries are named by what they were made from; nothing ever has to be invalidated. Shape legend: f
frames, c latent channels, h/w latent cells, n tokens, d text width.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from motion_ray.locks import one_at_a_time
from motion_ray.types import CaptionedClip, LatentPosterior

log = logging.getLogger(__name__)

FORMAT = "motion_ray.cache/1"  # raise it when reading, augmentation or encoding changes its result
OnProgress = Callable[[int, int], None]
_Key = tuple[str, AugmentationDraw]  # name of an entry, and what is done to the clip for it


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
            backbone: its VAE encodes; its ``vae_fingerprint`` and ``encoding`` are part of an
                entry's name.
            clips: captions do not matter here.
            clip_config: frames, rate and size.
            augmentation: ranges and number of variants; ``flip`` must be what the motion allows.
            seed: of the draws.
            on_progress: told (variants done, variants in all), after each clip.

        Raises:
            DataError: a clip cannot be used, or the cache cannot be written.
        """
        result, total = [], len(clips) * augmentation.variants
        for clip in clips:
            draws = variant_draws(clip, clip_config, augmentation, seed)
            keys = list(self._keys(backbone, clip, clip_config, draws))
            tensors = self._found(keys, warn=True)
            if None in tensors:
                # Processes that start together with the same clips: one encodes, the others read.
                with self._entries.alone(keys[0][0]):
                    tensors = self._completed(backbone, clip, clip_config, keys)
            variants = [LatentPosterior(each["mean"], each["logvar"]) for each in tensors if each]
            result.append(variants)
            if on_progress:
                on_progress(len(result) * augmentation.variants, total)
        return result

    def _found(self, keys: Sequence[_Key], *, warn: bool) -> list[dict[str, Tensor] | None]:
        return [self._entries.read(key, ("mean", "logvar"), warn=warn) for key, _ in keys]

    def _completed(
        self, backbone: Backbone, clip: CaptionedClip, config: ClipConfig, keys: Sequence[_Key]
    ) -> list[dict[str, Tensor] | None]:
        """All variants of a clip; those that are not there yet are encoded and written."""
        tensors = self._found(keys, warn=False)
        if None in tensors:  # else the process before has done it
            frames = read_clip(clip.path, config, frame_fps=clip.frame_fps).frames
            for index, (key, draw) in enumerate(keys):
                if tensors[index] is None:
                    encoded = _encode(backbone, frames, draw, config)
                    self._entries.write(key, encoded)
                    tensors[index] = encoded
        return tensors

    @staticmethod
    def _keys(
        backbone: Backbone,
        clip: CaptionedClip,
        clip_config: ClipConfig,
        draws: Sequence[AugmentationDraw],
    ) -> Iterable[_Key]:
        made_from = {
            "clip": content_hash(clip.path),
            # a folder of pictures has no rate of its own, so its hash does not hold it
            "frame_fps": clip.frame_fps if clip.path.is_dir() else None,
            "config": clip_config.model_dump(mode="json"),
            "vae": backbone.vae_fingerprint,
            **_rounding(backbone),
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
            key = _key({"text": text, "base": backbone.fingerprint, **_rounding(backbone)})
            tensors = self._entries.read(key, ("states",))
            if tensors is None:
                # one at a time: a batch may round differently, and an entry must not depend on its
                # company
                tensors = {"states": backbone.encode_text([text])[0].float().cpu().contiguous()}
                self._entries.write(key, tensors)
            states[text] = tensors["states"]
        return states


def _rounding(backbone: Backbone) -> dict[str, str]:
    """Part of a key: a run in float32 must not learn from what another rounded. Float32 goes
    without saying, as it always has.
    """
    return {} if backbone.encoding == "float32" else {"encoding": backbone.encoding}


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

    def read(
        self, key: str, names: Sequence[str], *, warn: bool = True
    ) -> dict[str, Tensor] | None:
        """The entry's tensors, or null if there is none or it is damaged (logged if ``warn``)."""
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
        if warn:
            log.warning("%s: is damaged; computing it again", path)
        return None

    def write(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        # Equal keys have equal content, so it does not matter which of several writers comes last.
        data = safetensors.torch.save(dict(tensors), _stamp(key, tensors))
        write_bytes_atomic(self._path(key), data, DataError)

    @contextlib.contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Keep other processes from making the same entry meanwhile."""
        path = self._path(key)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(one_at_a_time(path))
            except OSError as error:
                rule = f"cannot be written: {(error.strerror or str(error)).lower()}"
                raise DataError(str(path), rule, "check the cache folder") from error
            yield

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
