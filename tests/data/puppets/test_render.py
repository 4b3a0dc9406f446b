"""The renderer: deterministic bits, and pixels that show what the scene says."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from motion_ray.data.puppets.bodies import COLOURS, KINDS, PLANS, build
from motion_ray.data.puppets.motions import IMPROVISED, MOTIONS, NAMED_MOTIONS, pose
from motion_ray.data.puppets.places import PLACES
from motion_ray.data.puppets.pose import STYLES, Beat
from motion_ray.data.puppets.render import (
    ASIDE,
    GROUND,
    SCALE,
    SIZES,
    STANDING,
    STRENGTHS,
    UP,
    render_batch,
    render_scene,
)
from motion_ray.data.puppets.world import PuppetScene
from motion_ray.errors import DataError

GOLDEN = Path(__file__).parent / "golden.json"


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
    assert together.shape == (len(MOTIONS), 8, 3, 64, 64) and together.dtype == torch.uint8
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


@pytest.mark.parametrize("kind", KINDS)
def test_hands_stand_out_from_arm_and_trunk(kind: str) -> None:
    """A clapping puppet's hands are there in every frame, though they pass before the chest."""
    scene = PuppetScene(kind, "blue", "in the city", "clapping", seed=3)
    frames = render_scene(scene).frames.float()
    hand, own = PLANS[kind].hand_paint, COLOURS["blue"]
    assert max(abs(one - other) for one, other in zip(hand, own, strict=True)) > 0.2
    painted = (frames - torch.tensor(hand)[:, None, None] * 255).abs().amax(1) < 3
    assert (painted.flatten(1).sum(1) > 8).all()  # of 4096 pixels
    assert (painted[0] != painted[4]).any()  # half a clip later they are elsewhere


def test_a_crab_is_wide_and_low_and_has_four_legs() -> None:
    def own_colour(kind: str, size: int) -> Tensor:
        scene = PuppetScene(kind, "red", "in the snow", "standing still", seed=2)
        frame = render_scene(scene, frames=1, size=size).frames[0].float()
        return (frame[0] - frame[1]) > 40

    crab = own_colour("crab", 64)
    for kind in ("bear", "alien"):  # the others' limbs are not of their own colour
        other = own_colour(kind, 64)
        assert crab.any(0).sum() > other.any(0).sum()
        assert crab.any(1).sum() < 0.8 * other.any(1).sum()
    large = own_colour("crab", 256)
    just_above_the_soles = large[int(large.any(1).nonzero().max()) - 8]
    assert (just_above_the_soles.int().diff() == 1).sum() == 4


@pytest.mark.parametrize("kind", KINDS)
def test_every_improvised_scene_is_another_gesture(kind: str) -> None:
    """Poses differ from seed to seed, and puppets that improvise together do the same."""
    scenes = [PuppetScene(kind, "red", "in the snow", IMPROVISED, 1, seed=s) for s in range(6)]
    drawn = render_batch(scenes).float()
    for (one, a), (other, b) in itertools.combinations(enumerate(drawn), 2):
        assert ((a - b).abs().amax(1) > 40).float().mean() > 0.01, (one, other)
    for clip in drawn:
        assert ((clip[1:] - clip[:-1]).abs().amax(1) > 40).any()


def test_two_puppets_improvise_the_same_gesture() -> None:
    pairs = [PuppetScene("alien", "red", "in the snow", IMPROVISED, 2, seed=s) for s in range(12)]
    clips = render_batch(pairs).float()
    red = (clips[:, :, 0] - clips[:, :, 1]) > 40
    left, right = red[..., :32], red[..., 32:]

    def overlap(one: Tensor, other: Tensor) -> float:
        """Of what both cover, the share where both are, wherever the other stands."""
        shifted = [
            other.roll((down, aside), (-2, -1)) for down in range(-3, 4) for aside in range(-5, 6)
        ]
        return max(float((one & each).sum() / (one | each).sum()) for each in shifted)

    together = [overlap(*pair) for pair in zip(left, right, strict=True)]
    strangers = [overlap(*pair) for pair in zip(left, right.roll(1, 0), strict=True)]
    assert sum(a > b for a, b in zip(together, strangers, strict=True)) >= 11


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2])
def test_chance_never_puts_trunk_and_head_out_of_the_picture(kind: str, count: int) -> None:
    """In the worst corner of all ranges, at every moment of every motion.

    Puppets are drawn as large as gestures need to be legible, so that arms stretched far to the
    side are cut: by 0.4 of half the picture at most, where a hand is 0.2 across.
    """
    corners = [
        (strength, side, centre + aside, GROUND[count] + up, SCALE[count] * SIZES[1])
        for strength in STRENGTHS
        for side in (-1.0, 1.0)
        for centre in STANDING[count]
        for aside in (-ASIDE, ASIDE)
        for up in (-UP, UP)
    ]
    strength, side, x, y, scale = torch.tensor(corners)[..., None].unbind(1)
    phase = (torch.arange(24) / 24 * 1.68).expand(len(corners), -1)  # "quickly"
    style = torch.rand(len(corners), STYLES, generator=torch.Generator().manual_seed(0))
    legs = 2 * PLANS[kind].legs
    for motion in MOTIONS:
        body = pose(motion, Beat(phase, strength, side, style))
        shapes = build(kind, torch.zeros(len(corners), 3), body, x, y, scale).shapes
        ends, radius = shapes[..., :4].unflatten(-1, (2, 2)), shapes[..., 4]
        beyond = ends.abs().amax((-2, -1)) + radius - 1
        trunk_and_head = beyond[:, legs : legs + 2]
        assert trunk_and_head.max() < 0.15, motion
        assert beyond.max() < 0.4, motion


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2])
def test_puppets_hardly_touch_the_border(kind: str, count: int) -> None:
    """Against the plain background of the snow: a foot or an outstretched arm, no more."""
    scenes = [
        PuppetScene(kind, "red", "in the snow", motion, count, seed=seed)
        for motion in MOTIONS
        for seed in range(4)
    ]
    frames = render_batch(scenes).float()
    red = (frames[:, :, 0] - frames[:, :, 1]) > 40
    assert red.flatten(2).any(2).all()
    border = torch.cat([red[..., 0, :], red[..., -1, :], red[..., 0], red[..., -1]], -1)
    share = border.float().mean((1, 2))
    for scene, touched in zip(scenes, share, strict=True):
        assert touched < 0.06, scene
    assert share.mean() < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_two_puppets_are_two(kind: str) -> None:
    """Side by side, with a column between them where there is no puppet's colour."""
    for seed in range(5):
        scene = PuppetScene(kind, "blue", "in the desert", "standing still", 2, seed=seed)
        frames = render_scene(scene).frames.float()
        columns = ((frames[:, 2] - frames[:, 0]) > 60).any(1).int()
        middle = columns[:, 26:38]
        assert (middle.min(1).values == 0).all()
        assert columns[:, :32].any(1).all() and columns[:, 32:].any(1).all()


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


@pytest.mark.parametrize("kind", ["robot", "crab"])
def test_every_motion_looks_different_from_every_other(kind: str) -> None:
    scenes = [PuppetScene(kind, "red", "in the snow", motion, seed=5) for motion in NAMED_MOTIONS]
    clips = render_batch(scenes).float()
    for (one, a), (other, b) in itertools.combinations(zip(NAMED_MOTIONS, clips, strict=True), 2):
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
    """Mean colours on a coarse grid, a scene a motion; a change would age every shipped model.

    The golden values are drawn anew only when the base model is trained anew.
    """
    golden = json.loads(GOLDEN.read_text())
    drawn = coarse(render_batch(every_motion()))
    assert list(golden) == list(MOTIONS)
    for motion, now in zip(MOTIONS, drawn, strict=True):
        assert (torch.tensor(golden[motion]) - now).abs().max() < 1.0, motion


def coarse(clips: Tensor) -> Tensor:
    """``[b, f, 3, h, w]`` to ``[b, 192]``: mean colours of four frames on a 4x4 grid."""
    grid = torch.nn.functional.avg_pool2d(clips[:, ::2].flatten(0, 1).float(), 16)
    return grid.unflatten(0, (len(clips), 4)).flatten(1)
