"""The renderer: deterministic bits, and pixels that show what the scene says."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from motion_ray.data.puppets.bodies import COLOURS, KINDS
from motion_ray.data.puppets.motions import MOTIONS
from motion_ray.data.puppets.places import PLACES
from motion_ray.data.puppets.render import render_batch, render_scene
from motion_ray.data.puppets.world import PuppetScene
from motion_ray.errors import DataError

GOLDEN = Path(__file__).parent / "golden.json"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small pictures: threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def every_motion() -> list[PuppetScene]:
    kinds, colours, places = (
        itertools.cycle(KINDS),
        itertools.cycle(COLOURS),
        itertools.cycle(PLACES),
    )
    return [
        PuppetScene(kind, colour, place, motion, count=1 + (index % 4 == 3), seed=index)
        for index, (motion, kind, colour, place) in enumerate(
            zip(MOTIONS, kinds, colours, places, strict=False)
        )
    ]


def test_the_same_scene_gives_the_same_bits_whatever_its_neighbours() -> None:
    scenes = every_motion()
    together = render_batch(scenes)
    assert together.shape == (17, 8, 3, 64, 64) and together.dtype == torch.uint8
    for scene, drawn in zip(scenes, together, strict=True):
        assert torch.equal(render_scene(scene).frames, drawn)
    assert torch.equal(render_batch(scenes[::-1]), together.flip(0))


def test_another_seed_gives_another_clip() -> None:
    one = PuppetScene("bear", "red", "in the snow", "walking", seed=1)
    other = PuppetScene("bear", "red", "in the snow", "walking", seed=2)
    assert not torch.equal(render_scene(one).frames, render_scene(other).frames)


def test_a_clip_says_its_rate_and_source() -> None:
    clip = render_scene(PuppetScene("bear", "red", "in the snow", "walking", seed=41))
    assert clip.fps == 8.0 and "41" in clip.source


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("colour", COLOURS)
def test_the_body_has_its_colour(kind: str, colour: str) -> None:
    frames = render_scene(PuppetScene(kind, colour, "in the city", "waving", seed=3)).frames
    wanted = torch.tensor(COLOURS[colour])[:, None, None] * 255
    exact = ((frames - wanted).abs() < 1.0).all(1)
    assert exact.flatten(1).sum(1).min() > 40  # of 4096 pixels, in every frame
    for other in set(COLOURS) - {colour}:
        rgb = torch.tensor(COLOURS[other])[:, None, None] * 255
        assert ((frames - rgb).abs() < 1.0).all(1).sum() < 40


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("count", [1, 2])
def test_puppets_stay_inside_the_frame(motion: str, count: int) -> None:
    """Against the plain background of the snow, nothing of a red bear touches the border."""
    for seed in range(6):
        scene = PuppetScene("bear", "red", "in the snow", motion, count, seed=seed)
        frames = render_scene(scene).frames.float()
        red = (frames[:, 0] - frames[:, 1]) > 40
        assert red.flatten(1).any(1).all()
        border = torch.cat([red[:, 0], red[:, -1], red[:, :, 0], red[:, :, -1]], 1)
        assert border.float().mean() < 0.02, (motion, seed)


def test_two_puppets_are_two() -> None:
    for seed in range(5):
        scene = PuppetScene("robot", "blue", "in the desert", "standing still", 2, seed=seed)
        frames = render_scene(scene).frames.float()
        blue = (frames[:, 2] - frames[:, 0]) > 60
        columns = blue.any(1).int()
        rises = (columns.diff(dim=1) == 1).sum(1)
        assert (rises == 2).all()


def test_edges_are_anti_aliased() -> None:
    frames = render_scene(
        PuppetScene("alien", "red", "in the snow", "waving", seed=1)
    ).frames.float()
    # Red lacks green: a pixel between sky and body has some.
    green = frames[0, 1]
    between = ((green > 70) & (green < 170)).sum()
    assert between > 30
    large = render_scene(
        PuppetScene("alien", "red", "in the snow", "waving", seed=1), size=256
    ).frames
    shrunk = torch.nn.functional.avg_pool2d(large.float(), 4)
    assert (shrunk - frames).abs().mean() < 2.0  # as good as drawing four times as large


@pytest.mark.parametrize("place", PLACES)
def test_places_are_told_apart_by_their_ground_and_sky(place: str) -> None:
    def look(name: str, seed: int) -> Tensor:
        frame = render_scene(PuppetScene("alien", "red", name, "standing still", seed=seed)).frames[
            0
        ]
        return torch.cat([frame[:, :6].float().mean((1, 2)), frame[:, -6:].float().mean((1, 2))])

    for other in set(PLACES) - {place}:
        for seed in range(3):
            assert (look(place, seed) - look(other, seed + 10)).abs().max() > 15, other


def test_every_motion_looks_different_from_every_other() -> None:
    scenes = [PuppetScene("robot", "red", "in the snow", motion, seed=5) for motion in MOTIONS]
    clips = render_batch(scenes).float()
    for (one, a), (other, b) in itertools.combinations(zip(MOTIONS, clips, strict=True), 2):
        assert ((a - b).abs().amax(1) > 40).float().mean() > 0.01, (one, other)


def test_a_slow_motion_covers_less_of_its_cycle() -> None:
    def travel(speed: str) -> float:
        scene = PuppetScene(
            "person", "red", "in the snow", "raising both arms", speed=speed, seed=5
        )
        return float(render_scene(scene, frames=32).frames.float().diff(dim=0).abs().mean())

    assert travel("slowly") < 0.75 * travel("") < 0.75 * travel("quickly")


@pytest.mark.parametrize(("frames", "size"), [(1, 64), (16, 64), (8, 40), (3, 200)])
def test_other_lengths_and_sizes(frames: int, size: int) -> None:
    scene = PuppetScene("bear", "red", "in the snow", "walking")
    assert render_scene(scene, frames, size).frames.shape == (frames, 3, size, size)


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(DataError, match="scenes"):
        render_batch([])
    with pytest.raises(DataError, match="frames"):
        render_scene(every_motion()[0], frames=0)


def test_the_world_is_as_it_was_when_the_base_model_learned_it() -> None:
    """Mean colours on a coarse grid, a scene a motion; a change would age every shipped model."""
    golden = json.loads(GOLDEN.read_text())
    drawn = coarse(render_batch(every_motion()))
    assert list(golden) == list(MOTIONS)
    for motion, now in zip(MOTIONS, drawn, strict=True):
        assert (torch.tensor(golden[motion]) - now).abs().max() < 1.0, motion


def coarse(clips: Tensor) -> Tensor:
    """``[b, f, 3, h, w]`` to ``[b, 192]``: mean colours of four frames on a 4x4 grid."""
    grid = torch.nn.functional.avg_pool2d(clips[:, ::2].flatten(0, 1).float(), 16)
    return grid.unflatten(0, (len(clips), 4)).flatten(1)
