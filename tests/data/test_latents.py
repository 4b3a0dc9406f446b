"""The latent and text caches, with a real VAE and text encoder of small size."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.config import AugmentationConfig, ClipConfig
from motion_ray.data.augment import apply_augmentation
from motion_ray.data.latents import LatentCache, TextCache, variant_draws
from motion_ray.data.video import read_clip, write_video
from motion_ray.errors import DataError
from motion_ray.types import CaptionedClip, LatentPosterior
from tests.data.media import write_pictures

CLIPS = ClipConfig(frames=4, fps=None, height=32, width=40)
AUGMENTATION = AugmentationConfig(variants=3)


class CountingBackbone(UNet3DBackbone):
    """The real model; counts what it is asked to encode."""

    videos = 0
    texts = 0

    def encode_video(self, frames: Tensor) -> LatentPosterior:
        self.videos += 1
        return super().encode_video(frames)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        self.texts += len(texts)
        return super().encode_text(texts)


@pytest.fixture(scope="module")
def loaded(tiny_bases) -> UNet3DBackbone:
    return load_backbone(str(tiny_bases["epsilon"]), "cpu")


@pytest.fixture
def backbone(loaded, monkeypatch) -> CountingBackbone:
    counting = object.__new__(CountingBackbone)
    counting.__dict__.update(loaded.__dict__)
    return counting


@pytest.fixture
def clips(tmp_path) -> list[CaptionedClip]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for name, (height, width) in {"a.mp4": (48, 64), "b.mp4": (64, 48)}.items():
        frames = torch.randint(0, 256, (8, 3, height, width), generator=generator)
        write_video(tmp_path / name, frames.to(torch.uint8), 8)
        made.append(CaptionedClip(tmp_path / name, "a person"))
    return made


def equal(a: list[list[LatentPosterior]], b: list[list[LatentPosterior]]) -> bool:
    pairs = [(x, y) for xs, ys in zip(a, b, strict=True) for x, y in zip(xs, ys, strict=True)]
    return all(torch.equal(x.mean, y.mean) and torch.equal(x.logvar, y.logvar) for x, y in pairs)


def entries(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if not path.name.startswith("."))


def test_posteriors_are_those_of_the_augmented_clips(backbone, clips, tmp_path):
    found = LatentCache(tmp_path / "c").posteriors(backbone, clips, CLIPS, AUGMENTATION, 5)
    assert [len(variants) for variants in found] == [3, 3]
    for clip, variants in zip(clips, found, strict=True):
        frames = read_clip(clip.path, CLIPS).frames
        for draw, posterior in zip(
            variant_draws(clip, CLIPS, AUGMENTATION, 5), variants, strict=True
        ):
            expected = backbone.encode_video(apply_augmentation(frames, draw, 32, 40))
            assert posterior.mean.shape == posterior.logvar.shape == (4, 4, 4, 5)
            assert posterior.mean.dtype == torch.float32
            assert torch.equal(posterior.mean, expected.mean)
            assert torch.equal(posterior.logvar, expected.logvar)
    # variants differ, or augmentation would do nothing
    assert not torch.equal(found[0][0].mean, found[0][1].mean)


def test_a_second_run_reads_instead_of_encoding(backbone, clips, tmp_path):
    cache, told = LatentCache(tmp_path / "c"), []
    first = cache.posteriors(backbone, clips, CLIPS, AUGMENTATION, 0)
    assert backbone.videos == 6 and len(entries(tmp_path / "c")) == 6
    again = LatentCache(tmp_path / "c").posteriors(
        backbone, clips, CLIPS, AUGMENTATION, 0, lambda done, total: told.append((done, total))
    )
    assert backbone.videos == 6 and equal(first, again)
    assert told == [(3, 6), (6, 6)]


def test_several_that_start_together_encode_every_variant_once(backbone, clips, tmp_path):
    counting = threading.Lock()
    encode = backbone.encode_video

    def slowly(frames: Tensor) -> LatentPosterior:
        with counting:
            posterior = encode(frames)
        time.sleep(0.02)  # time for the others to come along
        return posterior

    backbone.encode_video = slowly
    together = threading.Barrier(4)

    def run() -> list[list[LatentPosterior]]:
        together.wait()
        cache = LatentCache(tmp_path / "c")
        return cache.posteriors(backbone, clips, CLIPS, AUGMENTATION, 0)

    with ThreadPoolExecutor(4) as pool:
        results = [each.result() for each in [pool.submit(run) for _ in range(4)]]
    assert backbone.videos == 6
    assert all(equal(results[0], other) for other in results[1:])


def test_entries_follow_content_and_not_names_captions_or_company(backbone, clips, tmp_path):
    cache = LatentCache(tmp_path / "c")
    first = cache.posteriors(backbone, clips, CLIPS, AUGMENTATION, 0)
    moved = clips[1].path.rename(tmp_path / "renamed.mov")
    again = cache.posteriors(backbone, [CaptionedClip(moved, "x")], CLIPS, AUGMENTATION, 0)
    assert backbone.videos == 6 and equal([first[1]], again)
    more = AUGMENTATION.model_copy(update={"variants": 5})
    cache.posteriors(backbone, [clips[0]], CLIPS, more, 0)
    assert backbone.videos == 8  # only the two new variants


@pytest.mark.parametrize(
    ("config", "augmentation", "seed", "encoded"),
    [
        ({}, {}, 0, 0),
        ({"frames": 5}, {}, 0, 3),
        ({"fps": 4.0}, {}, 0, 3),
        ({"width": 32}, {}, 0, 3),
        # another draw; the plain variant is the same whatever the seed and the ranges
        ({}, {"brightness": 0.3}, 0, 2),
        ({}, {}, 1, 2),
    ],
)
def test_whatever_changes_the_latents_changes_the_entry(
    backbone, clips, tmp_path, config, augmentation, seed, encoded
):
    cache = LatentCache(tmp_path / "c")
    cache.posteriors(backbone, clips[:1], CLIPS, AUGMENTATION, 0)
    backbone.videos = 0
    cache.posteriors(
        backbone,
        clips[:1],
        CLIPS.model_copy(update=config),
        AUGMENTATION.model_copy(update=augmentation),
        seed,
    )
    assert backbone.videos == encoded


def test_another_vae_or_clip_is_another_entry(backbone, clips, tmp_path):
    cache = LatentCache(tmp_path / "c")
    cache.posteriors(backbone, clips[:1], CLIPS, AUGMENTATION, 0)
    backbone.vae_fingerprint = "another"
    cache.posteriors(backbone, clips[:1], CLIPS, AUGMENTATION, 0)
    assert backbone.videos == 6
    backbone.encoding = "bfloat16"  # another rounding is another entry, too
    cache.posteriors(backbone, clips[:1], CLIPS, AUGMENTATION, 0)
    assert backbone.videos == 9
    write_video(clips[0].path, torch.zeros(8, 3, 48, 64, dtype=torch.uint8), 8)
    cache.posteriors(backbone, clips[:1], CLIPS, AUGMENTATION, 0)
    assert backbone.videos == 12


def test_the_rate_of_a_picture_folder_counts(backbone, tmp_path):
    frames = torch.randint(0, 256, (12, 3, 48, 64), dtype=torch.uint8)
    path = write_pictures(tmp_path / "pictures", frames)
    config = CLIPS.model_copy(update={"fps": 6.0})
    cache, one = LatentCache(tmp_path / "c"), AugmentationConfig(variants=1)
    slow, fast = (
        cache.posteriors(backbone, [CaptionedClip(path, "", fps)], config, one, 0)
        for fps in (6.0, 12.0)
    )
    assert backbone.videos == 2 and not equal(slow, fast)


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "tensor byte":
        data[-5] ^= 4
    elif how == "header byte":
        data[20] ^= 1
    elif how == "cut":
        data = data[:-7]
    elif how == "empty":
        data = bytearray()
    elif how == "length":
        data[:8] = b"\xff" * 8
    elif how == "other entry":
        data = bytearray(next(p for p in entries(path.parent) if p != path).read_bytes())
    elif how == "unstamped":
        save_file(load_file(path), path)
        return
    path.write_bytes(data)


@pytest.mark.parametrize(
    "how", ["tensor byte", "header byte", "cut", "empty", "length", "other entry", "unstamped"]
)
def test_a_damaged_entry_is_noticed_and_made_again(backbone, clips, tmp_path, caplog, how):
    cache = LatentCache(tmp_path / "c")
    first = cache.posteriors(backbone, clips, CLIPS, AUGMENTATION, 0)
    damage(entries(tmp_path / "c")[0], how)
    backbone.videos = 0
    with caplog.at_level(logging.WARNING):
        assert equal(first, cache.posteriors(backbone, clips, CLIPS, AUGMENTATION, 0))
    assert backbone.videos == 1
    assert len(caplog.messages) == 1 and "is damaged" in caplog.messages[0]
    caplog.clear()
    cache.posteriors(backbone, clips, CLIPS, AUGMENTATION, 0)
    assert backbone.videos == 1 and not caplog.messages


def test_every_single_bit_flip_is_noticed(backbone, clips, tmp_path, caplog):
    cache, one = LatentCache(tmp_path / "c"), AugmentationConfig(variants=1)
    first = cache.posteriors(backbone, clips[:1], CLIPS, one, 0)
    [path] = entries(tmp_path / "c")
    intact, random = path.read_bytes(), np.random.default_rng(0)
    for i in range(120):
        data = bytearray(intact)
        # the header as thoroughly as the much longer tensors
        place = int(random.integers(0, 600 if i % 2 else len(data)))
        data[place] ^= 1 << int(random.integers(0, 8))
        path.write_bytes(data)
        assert equal(first, cache.posteriors(backbone, clips[:1], CLIPS, one, 0))
    # a flip that leaves the meaning (a blank in the header's padding) may pass; values never differ
    assert backbone.videos >= 110


def test_a_cache_that_cannot_be_written_says_so(backbone, clips, tmp_path):
    (tmp_path / "c").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot be read: Not a directory"):
        LatentCache(tmp_path / "c").posteriors(backbone, clips, CLIPS, AUGMENTATION, 0)


def test_clips_that_cannot_be_used_are_named(backbone, clips, tmp_path):
    long = CLIPS.model_copy(update={"frames": 20})
    with pytest.raises(DataError, match=r"a.mp4: needs 20 frames, has 8"):
        LatentCache(tmp_path / "c").posteriors(backbone, clips, long, AUGMENTATION, 0)


WORKER = """
import sys, time, torch
from pathlib import Path
from motion_ray.backbones.unet3d import load_backbone
from motion_ray.config import AugmentationConfig, ClipConfig
from motion_ray.data.latents import LatentCache
from motion_ray.types import CaptionedClip

base, root, mine, *paths = map(Path, sys.argv[1:])
torch.set_num_threads(1)
backbone = load_backbone(str(base), "cpu")
clips = [CaptionedClip(path, "") for path in paths]
config = ClipConfig(frames=4, fps=None, height=32, width=40)
mine.with_suffix(".ready").touch()
while not (mine.parent / "go").exists():
    time.sleep(0.02)
rounds = []
for _ in range(6):
    found = LatentCache(root).posteriors(backbone, clips, config, AugmentationConfig(variants=3), 0)
    rounds.append(torch.stack([p.mean for variants in found for p in variants]))
torch.save(torch.stack(rounds), mine)
"""


@pytest.mark.slow
def test_several_processes_share_a_cache_while_entries_are_damaged(tiny_bases, clips, tmp_path):
    root, signals = tmp_path / "c", tmp_path / "signals"
    signals.mkdir()
    outputs = [signals / f"{i}.pt" for i in range(2)]
    paths = [str(clip.path) for clip in clips]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tiny_bases["epsilon"]), str(root), str(out), *paths],
            cwd=Path(__file__).parents[2],
        )
        for out in outputs
    ]
    try:
        while not all(out.with_suffix(".ready").exists() for out in outputs):
            assert all(worker.poll() is None for worker in workers)
            time.sleep(0.05)
        (signals / "go").touch()
        random = np.random.default_rng(0)
        while any(worker.poll() is None for worker in workers):
            files = list(root.glob("latent-*")) if root.exists() else []
            if files:  # not atomically, as a failing disk would
                files[int(random.integers(len(files)))].write_bytes(random.bytes(500))
            time.sleep(0.02)
        assert [worker.wait() for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    results = [torch.load(out, weights_only=True) for out in outputs]
    backbone = load_backbone(str(tiny_bases["epsilon"]), "cpu")
    found = LatentCache(tmp_path / "fresh").posteriors(backbone, clips, CLIPS, AUGMENTATION, 0)
    expected = torch.stack([p.mean for variants in found for p in variants])
    for result in results:
        torch.testing.assert_close(result, expected.expand_as(result), rtol=1e-5, atol=1e-5)
    assert all(path.name.startswith("latent-") for path in entries(root))


# --- text -----------------------------------------------------------------------------------------


def test_texts_are_encoded_once(backbone, tmp_path):
    texts = ["a person doing the pll", "a person", "a person"]
    states = TextCache(tmp_path / "t").states(backbone, texts)
    assert list(states) == texts[:2] and backbone.texts == 2
    for text, found in states.items():
        assert torch.equal(found, backbone.encode_text([text])[0])
        assert found.shape == (backbone.max_tokens, 16) and found.dtype == torch.float32
    backbone.texts = 0
    again = TextCache(tmp_path / "t").states(backbone, texts)
    assert backbone.texts == 0 and all(torch.equal(again[t], states[t]) for t in texts)


def test_text_entries_belong_to_a_base_and_do_not_depend_on_company(backbone, tmp_path):
    alone = TextCache(tmp_path / "a").states(backbone, ["a b"])
    with_others = TextCache(tmp_path / "b").states(backbone, ["a b c", "a b", "z"])
    assert torch.equal(alone["a b"], with_others["a b"])
    backbone.fingerprint, backbone.texts = "another", 0
    TextCache(tmp_path / "a").states(backbone, ["a b"])
    assert backbone.texts == 1


def test_a_damaged_text_entry_is_made_again(backbone, tmp_path, caplog):
    cache = TextCache(tmp_path / "t")
    states = cache.states(backbone, ["a b"])
    damage(entries(tmp_path / "t")[0], "tensor byte")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(cache.states(backbone, ["a b"])["a b"], states["a b"])
    assert "is damaged" in caplog.messages[0]


def test_one_folder_may_hold_both_caches(backbone, clips, tmp_path):
    LatentCache(tmp_path / "c").posteriors(backbone, clips, CLIPS, AUGMENTATION, 0)
    TextCache(tmp_path / "c").states(backbone, ["a b"])
    kinds = [path.name.partition("-")[0] for path in entries(tmp_path / "c")]
    assert kinds == ["latent"] * 6 + ["text"]
