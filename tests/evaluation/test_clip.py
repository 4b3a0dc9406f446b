"""The embedded image-text model, and loading any other that open_clip can load."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from open_clip.model import CLIP
from torch import Tensor

from motion_ray.data.puppets.captions import appearance_phrase
from motion_ray.data.puppets.render import render_batch
from motion_ray.data.puppets.world import PuppetScene
from motion_ray.errors import BaseModelError, ConfigError
from motion_ray.evaluation.clip import (
    EMBEDDED_FOLDER,
    OpenClipEncoder,
    appearance_score,
    load_image_text_encoder,
)
from motion_ray.evaluation.clip_card import ladder
from motion_ray.evaluation.clip_data import draw_frames, draw_scenes
from motion_ray.evaluation.clip_model import model_config, write_model_folder
from motion_ray.evaluation.clip_scores import OPTIONS, ClipScores, accuracy, score_encoder
from motion_ray.manifest import sha256_of

SCENES = 96
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def encoder() -> OpenClipEncoder:
    return load_image_text_encoder("puppet")


@pytest.fixture(scope="module")
def fresh() -> tuple[list[PuppetScene], Tensor]:
    """Scenes that neither training nor the card's test drew, and a frame of each."""
    scenes = draw_scenes(SCENES, "tests of the embedded clip")
    return scenes, torch.cat(list(draw_frames(scenes, 1, "tests of the embedded clip, frames")))


@pytest.fixture(scope="module")
def scores(encoder: OpenClipEncoder, fresh: tuple[list[PuppetScene], Tensor]) -> ClipScores:
    return score_encoder(encoder, fresh[1], fresh[0])


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EMBEDDED_FOLDER, tmp_path / "clip"))


# --- what the embedded model knows ----------------------------------------------------------------


@pytest.mark.parametrize("attribute", OPTIONS)
def test_attributes_of_fresh_scenes_are_recognised(scores: ClipScores, attribute: str) -> None:
    assert scores.accuracy[attribute] >= 0.9


def test_chance_is_far_below(fresh: tuple[list[PuppetScene], Tensor]) -> None:
    """The measure itself: an untrained model of the same shape is near one in so many."""
    scenes, frames = fresh
    folder_config = model_config(100)["model_cfg"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        untrained = CLIP(
            folder_config["embed_dim"], folder_config["vision_cfg"], folder_config["text_cfg"]
        )
    trained = load_image_text_encoder("puppet")
    random_model = OpenClipEncoder(
        "untrained", "", untrained.eval(), trained.preprocess, _within(trained), torch.device("cpu")
    )
    for attribute, options in OPTIONS.items():
        assert accuracy(random_model, frames, scenes, attribute) < 1 / len(options) + 0.2


def _within(encoder: OpenClipEncoder) -> Callable[[list[str]], Tensor]:
    return lambda texts: encoder.tokenizer(texts).clamp(max=99)


def test_a_worse_picture_scores_lower_step_by_step(scores: ClipScores) -> None:
    blur, noise = [scores.right, *scores.blur.values()], [scores.right, *scores.noise.values()]
    for ladder_ in (blur, noise):
        assert all(better > worse - 0.01 for better, worse in pairwise(ladder_))
        assert ladder_[0] > ladder_[-1] + 0.1


def test_a_wrong_phrase_scores_lower_the_more_is_wrong(scores: ClipScores) -> None:
    for single in ("kind", "colour", "place"):
        assert scores.right > scores.wrong[single] + 0.1
    assert min(scores.wrong[name] for name in ("kind", "colour")) > scores.wrong["kind+colour"]
    assert scores.wrong["kind+colour"] > scores.wrong["kind+colour+place"]
    assert scores.right > scores.shuffled + 0.2
    assert scores.right > scores.grey + 0.2


def test_the_card_tells_what_is_measured_here(scores: ClipScores) -> None:
    card = (EMBEDDED_FOLDER / "README.md").read_text()
    for name, _ in ladder(scores):
        assert f"| {name} |" in card
    said = next(line for line in card.splitlines() if line.startswith("| as it is |"))
    assert float(said.split("|")[2]) == pytest.approx(scores.right, abs=0.03)


def test_appearance_does_not_depend_on_the_motion(encoder: OpenClipEncoder) -> None:
    def score(motion: str) -> float:
        scenes = [
            PuppetScene(kind, colour, place, motion, seed=index)
            for index, (kind, colour, place) in enumerate(
                [
                    ("robot", "red", "in the forest"),
                    ("bear", "blue", "at night"),
                    ("alien", "pink", "in the snow"),
                ]
            )
        ]
        return appearance_score(
            encoder, list(render_batch(scenes)), [appearance_phrase(s) for s in scenes]
        )

    base, held_out = score("waving"), score("swinging arms")
    assert held_out > 0.9 * base


def test_unknown_words_say_little(encoder: OpenClipEncoder) -> None:
    plain, strange = "a red robot in the forest", "a red robot doing the pll in the forest"
    vectors = encoder.encode_texts([plain, strange, "a blue bear at night"])
    assert float(vectors[0] @ vectors[1]) > 0.9 > 0.5 > float(vectors[0] @ vectors[2])


def test_scores_are_the_same_every_time_and_in_every_batch(
    encoder: OpenClipEncoder, fresh: tuple[list[PuppetScene], Tensor]
) -> None:
    frames = fresh[1]
    once = encoder.similarity(frames, "a red robot")
    assert torch.equal(once, load_image_text_encoder("puppet").similarity(frames, "a red robot"))
    single = torch.cat([encoder.similarity(frame[None], "a red robot") for frame in frames[:8]])
    assert torch.allclose(single, once[:8], atol=1e-5)
    assert once.shape == (SCENES,) and once.abs().max() <= 1.0001


def test_a_larger_picture_is_scored_like_the_small_one(encoder: OpenClipEncoder) -> None:
    scene = PuppetScene("robot", "red", "in the forest", "waving", seed=2)
    small, large = (render_batch([scene], size=size)[0] for size in (64, 256))
    text = appearance_phrase(scene)
    difference = encoder.similarity(small, text) - encoder.similarity(large, text)
    assert difference.abs().mean() < 0.05


# --- appearance_score -----------------------------------------------------------------------------


class Brightness:
    """A score that can be computed in the head: mean brightness, if the text is about light."""

    name, weights_sha256 = "brightness", "0"

    def similarity(self, frames: Tensor, text: str) -> Tensor:
        sign = 1.0 if text == "light" else -1.0
        return sign * frames.float().mean((1, 2, 3)) / 255


def test_the_score_is_the_mean_over_frames_and_then_over_videos() -> None:
    short = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 3, 2, 2)
    long = torch.full((6, 3, 2, 2), 255, dtype=torch.uint8)
    assert appearance_score(Brightness(), [short, long], ["light", "light"]) == pytest.approx(0.75)
    assert appearance_score(Brightness(), [short, long], ["light", "dark"]) == pytest.approx(-0.25)


def test_an_empty_phrase_is_refused() -> None:
    video = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    with pytest.raises(ConfigError, match="more than the motion"):
        appearance_score(Brightness(), [video], [" "])
    with pytest.raises(ValueError, match="one phrase a video"):
        appearance_score(Brightness(), [video], [])


@pytest.mark.parametrize(
    "frames",
    [
        torch.zeros(1, 3, 4, 4),
        torch.zeros(3, 4, 4, dtype=torch.uint8),
        torch.zeros(0, 3, 4, 4).byte(),
    ],
)
def test_frames_of_another_form_are_refused(encoder: OpenClipEncoder, frames: Tensor) -> None:
    with pytest.raises(ValueError, match="uint8"):
        encoder.similarity(frames, "a robot")


# --- loading --------------------------------------------------------------------------------------


def test_the_embedded_model_is_small_and_names_itself(encoder: OpenClipEncoder) -> None:
    weights = EMBEDDED_FOLDER / WEIGHTS
    assert encoder.name == "puppet" and encoder.weights_sha256 == sha256_of(weights)
    assert weights.stat().st_size < 4 * 2**20
    assert not encoder.model.training


def test_nothing_is_asked_of_a_network() -> None:
    """In a fresh process without the offline switches, which the libraries read at import."""
    program = """
import socket

def refuse(*arguments, **named):
    raise AssertionError(f"network: {arguments}")

socket.socket.connect = socket.getaddrinfo = refuse
from motion_ray.evaluation.clip import load_image_text_encoder
print(tuple(load_image_text_encoder("puppet").encode_texts(["a robot"]).shape))
"""
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_OFFLINE")}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.strip() == "(1, 96)"


def test_a_folder_of_another_model_loads_with_the_built_in_tokenizer(tmp_path: Path) -> None:
    """open_clip's usual layout: its own BPE tokenizer, no manifest, another picture size."""
    config = {
        "model_cfg": {
            "embed_dim": 16,
            "vision_cfg": {
                "image_size": 32,
                "layers": 1,
                "width": 32,
                "head_width": 16,
                "patch_size": 8,
            },
            "text_cfg": {
                "context_length": 77,
                "vocab_size": 49408,
                "width": 16,
                "heads": 2,
                "layers": 1,
            },
        },
        "preprocess_cfg": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]},
    }
    from safetensors.torch import save_file

    cfg = config["model_cfg"]
    model = CLIP(cfg["embed_dim"], cfg["vision_cfg"], cfg["text_cfg"])
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / WEIGHTS
    )
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    loaded = load_image_text_encoder(str(tmp_path))
    cosines = loaded.similarities(torch.zeros(2, 3, 48, 80, dtype=torch.uint8), ["a dog", "a cat"])
    assert cosines.shape == (2, 2) and loaded.name == str(tmp_path)
    assert loaded.weights_sha256 == sha256_of(tmp_path / WEIGHTS)


def test_a_folder_that_is_not_there_is_refused() -> None:
    with pytest.raises(BaseModelError, match="no such folder") as error:
        load_image_text_encoder("no/such/folder")
    assert "'puppet'" in error.value.fix


def test_a_flipped_bit_is_refused(copy: Path) -> None:
    data = bytearray((copy / WEIGHTS).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / WEIGHTS).write_bytes(data)
    with pytest.raises(BaseModelError, match=r"open_clip_model\.safetensors.*damaged"):
        load_image_text_encoder(str(copy))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("open_clip_config.json", None, "is missing"),
        ("open_clip_config.json", "{", "no readable JSON"),
        ("open_clip_config.json", "[]", "no JSON object"),
        ("open_clip_config.json", "{}", "no model_cfg"),
        (WEIGHTS, None, "only safetensors are read"),
        (WEIGHTS, "not tensors", "cannot load it"),
        ("tokenizer.json", None, "cannot load it"),
    ],
)
def test_a_folder_without_manifest_says_what_is_wrong(
    copy: Path, name: str, content: str | None, message: str
) -> None:
    (copy / "manifest.json").unlink()
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_text(content)
    with pytest.raises(BaseModelError, match=message) as error:
        load_image_text_encoder(str(copy))
    assert "\n" not in str(error.value)


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    (copy / "manifest.json").unlink()
    config = json.loads((copy / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["width"] = 8
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(BaseModelError, match="cannot load it"):
        load_image_text_encoder(str(copy))


def test_pickled_weights_are_not_read(copy: Path) -> None:
    (copy / "manifest.json").unlink()
    (copy / WEIGHTS).rename(copy / "open_clip_pytorch_model.bin")
    with pytest.raises(BaseModelError, match="only safetensors"):
        load_image_text_encoder(str(copy))


def test_a_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail(folder: Path) -> str:
        assert (folder / WEIGHTS).is_file()
        raise RuntimeError("no card")

    with pytest.raises(RuntimeError):
        write_model_folder({"weight": torch.zeros(2)}, tmp_path / "clip", fail)
    assert not list(tmp_path.iterdir())
