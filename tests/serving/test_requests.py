"""Requests: everything is decided and limited before any tensor is made."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from motion_ray.errors import (
    AmbiguousTokenError,
    IncompatibleMotionError,
    MotionRayError,
    RequestError,
    StoreError,
    TokenError,
    TooLargeError,
    UnknownMotionError,
    UnknownTokenError,
)
from motion_ray.serving.catalog import MotionCatalog
from motion_ray.serving.requests import (
    LARGEST_SEED,
    GenerationSpec,
    ServingLimits,
    ServingProfile,
    VideoRequest,
    resolve,
)
from motion_ray.store import DeltaStore
from tests.serving.fake_engine import SPEC
from tests.serving.toy import FINGERPRINT, toy_delta

PROFILE = ServingProfile(
    base="puppet",
    frames=8,
    width=64,
    height=64,
    steps=15,
    guidance=3.0,
    negative_prompt="blurred",
    limits=ServingLimits(
        frames=32,
        side=512,
        steps=50,
        motions=2,
        pixels=32 * 128 * 128,
        work=8 * 64 * 64 * 15 * 4,
    ),
)


@pytest.fixture
def store(tmp_path) -> DeltaStore:
    store = DeltaStore(tmp_path / "store")
    store.publish(toy_delta(1, token="pll"), "arms")
    store.publish(toy_delta(2, token="sks"), "hat")
    return store


@pytest.fixture
def catalog(store) -> MotionCatalog:
    return MotionCatalog(store, FINGERPRINT)


def ask(catalog, **fields) -> GenerationSpec:
    request = VideoRequest.model_validate({"prompt": "a red robot"} | fields)
    return resolve(request, PROFILE, catalog, draw_seed=lambda: 7)


def named(spec: GenerationSpec) -> list[tuple[str, int, float]]:
    return [(each.id, each.version, each.weight) for each in spec.motions]


# --- what is decided ------------------------------------------------------------------------------


def test_what_is_left_out_is_decided(catalog):
    spec = ask(catalog)
    assert spec == GenerationSpec(
        prompt="a red robot",
        negative_prompt="blurred",
        width=64,
        height=64,
        frames=8,
        fps=8,
        steps=15,
        guidance=3.0,
        seed=7,
    )
    assert spec.work == 8 * 64 * 64 * 15


def test_what_is_asked_for_is_taken(catalog):
    spec = ask(
        catalog,
        size="32x128",
        seconds="2",
        fps=4,
        num_inference_steps=5,
        guidance_scale=1,
        seed=LARGEST_SEED,
        negative_prompt="",
        model="puppet",
    )
    assert (spec.width, spec.height, spec.frames, spec.fps) == (32, 128, 8, 4)
    assert (spec.steps, spec.guidance, spec.seed) == (5, 1.0, LARGEST_SEED)
    assert spec.negative_prompt == ""
    torch.Generator().manual_seed(spec.seed)


def test_a_spec_goes_through_json(catalog):
    spec = ask(catalog, prompt="a robot doing the pll")
    assert GenerationSpec.model_validate(json.loads(json.dumps(spec.model_dump()))) == spec


def test_seeds_are_drawn_when_none_is_given(catalog):
    request = VideoRequest(prompt="a red robot")
    assert len({resolve(request, PROFILE, catalog).seed for _ in range(10)}) > 1


def test_equal_requests_have_equal_fingerprints():
    one = VideoRequest(prompt="a", seconds="2")
    assert one.fingerprint == VideoRequest(seconds=2.0, prompt="a").fingerprint
    assert one.fingerprint != VideoRequest(prompt="a", seconds=3).fingerprint


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error", "where", "message"),
    [
        ({"prompt": "x" * 1001}, TooLargeError, "prompt", "1001 characters, the limit is 1000"),
        ({"negative_prompt": "x" * 1001}, TooLargeError, "negative_prompt", "1001 characters"),
        ({"num_frames": 33}, TooLargeError, "num_frames", "33 frames, the limit is 32"),
        ({"seconds": 5}, TooLargeError, "seconds", "40 frames, the limit is 32"),
        ({"seconds": "1e300"}, TooLargeError, "seconds", "frames, the limit is 32"),
        ({"size": "8x520"}, TooLargeError, "size", "520 pixels a side, the limit is 512"),
        ({"size": "99999x99999"}, TooLargeError, "size", "99999 pixels a side"),
        ({"num_inference_steps": 51}, TooLargeError, "num_inference_steps", "51 steps"),
        ({"fps": 61}, TooLargeError, "fps", "61 frames a second"),
        ({"num_frames": 32, "size": "128x128"}, TooLargeError, "size", "is 7,864,320, the limit"),
        (
            {"num_frames": 32, "size": "136x128", "num_inference_steps": 1},
            TooLargeError,
            "size",
            "frames x width x height is 557,056, the limit is 524,288",
        ),
        ({"size": "60x64"}, RequestError, "size", "multiples of 8 pixels; for example 64x64"),
        ({"model": "other"}, RequestError, "model", "'other' is not served here; use 'puppet'"),
    ],
)
def test_limits_name_the_field(catalog, fields, error, where, message):
    with pytest.raises(error, match=message) as caught:
        ask(catalog, **fields)
    assert caught.value.where == where


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": ""},
        {"prompt": " \n"},
        {"prompt": "a\0b"},
        {"prompt": "a\x1b[2J"},
        {"prompt": 5},
        {"size": "64"},
        {"size": "064x64"},
        {"size": "64x-64"},
        {"size": "64x64\n"},
        {"seconds": "two"},
        {"seconds": "nan"},
        {"seconds": "inf"},
        {"seconds": "-1"},
        {"seconds": 0},
        {"seconds": 1, "num_frames": 8},
        {"num_frames": 0},
        {"num_frames": -1},
        {"num_frames": 1.5},
        {"num_frames": "8"},
        {"num_frames": True},
        {"num_frames": 10**30},
        {"fps": 0},
        {"num_inference_steps": 0},
        {"guidance_scale": 0.5},
        {"guidance_scale": float("nan")},
        {"guidance_scale": 1e308},
        {"seed": -1},
        {"seed": LARGEST_SEED + 1},
        {"seed": "1"},
        {"seed": 1.0},
        {"deadline_s": 0},
        {"deadline_s": float("inf")},
        {"status": "completed"},
        {"motions": "arms"},
        {"motions": [{"id": "arms", "path": "/etc"}]},
        {"motions": [{"id": "arms", "weight": float("nan")}]},
        {"motions": [{"id": "arms", "weight": 2.1}]},
        {"motions": [{"id": "arms", "weight": -0.1}]},
        {"motions": [{"id": "arms", "version": 0}]},
        {"motions": [{"id": "arms"}, {"id": "arms"}]},
        {"model": ""},
        {"model": "puppet:../x"},
        {"model": "puppet:arms@0"},
    ],
    ids=lambda fields: ascii(fields)[:60],
)
def test_what_makes_no_sense_is_refused(fields):
    with pytest.raises(ValidationError):
        VideoRequest.model_validate({"prompt": "a red robot"} | fields)


EMPTY = MotionCatalog(DeltaStore("memory://none"), FINGERPRINT)
HOSTILE = [
    *("", ".", "..", "../arms", "/etc/passwd", "a/b", "a\\b", "arms/../../x", "-arms", "Arms"),
    *("arms_1", "wäve", "arms\n", "arms\0", " arms", "~", "%2e%2e%2f", "a" * 64, "ａrms", "arms@1"),
]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:20])
def test_motion_names_cannot_leave_the_store(catalog, name):
    with pytest.raises(ValidationError):
        VideoRequest.model_validate({"prompt": "x", "motions": [{"id": name}]})
    with pytest.raises(StoreError):
        catalog.resolve(name)


@given(
    st.fixed_dictionaries(
        {"prompt": st.text(max_size=20)},
        optional={
            "size": st.from_regex(r"\d{1,6}x\d{1,6}", fullmatch=True) | st.text(max_size=5),
            "seconds": st.floats() | st.text(max_size=5),
            "num_frames": st.integers(),
            "fps": st.integers(),
            "num_inference_steps": st.integers(),
            "guidance_scale": st.floats(),
            "seed": st.integers(),
            "model": st.text(max_size=8),
        },
    )
)
@settings(max_examples=150, deadline=None)
def test_whatever_is_asked_for_is_refused_in_words_or_within_the_limits(fields):
    try:
        spec = resolve(VideoRequest.model_validate(fields), PROFILE, EMPTY)
    except (ValidationError, MotionRayError):
        return
    assert spec.pixels <= PROFILE.limits.pixels and spec.work <= PROFILE.limits.work
    assert spec.frames <= 32 and spec.steps <= 50
    assert spec.width % 8 == spec.height % 8 == 0 and 1 <= spec.guidance <= 50


# --- motions --------------------------------------------------------------------------------------


def test_a_token_asks_for_its_motion(catalog):
    assert named(ask(catalog, prompt="a red robot doing the PLL, slowly")) == [("arms", 1, 1.0)]
    both = ask(catalog, prompt="a robot with sks doing the pll")
    assert named(both) == [("hat", 1, 1.0), ("arms", 1, 1.0)]
    assert named(ask(catalog, prompt="a red robot waving")) == []


def test_a_token_inside_a_word_asks_for_nothing(catalog):
    assert named(ask(catalog, prompt="a pullpll in a pllow")) == []


def test_named_motions_win_over_tokens(catalog):
    spec = ask(catalog, prompt="doing the pll with sks", motions=[{"id": "hat", "weight": 0.5}])
    assert named(spec) == [("hat", 1, 0.5)]
    assert named(ask(catalog, prompt="doing the pll", motions=[])) == []
    assert named(ask(catalog, prompt="doing the pll", model="puppet:arms@1")) == [("arms", 1, 1.0)]
    with pytest.raises(RequestError, match="names a motion, and so does motions"):
        ask(catalog, prompt="the pll", model="puppet:arms", motions=[{"id": "arms"}])


def test_a_named_motion_needs_its_token_unless_allowed(catalog):
    arms = [{"id": "arms"}]
    message = r"does not hold 'pll', the token of arms; .* \"a person doing the pll\""
    with pytest.raises(TokenError, match=message):
        ask(catalog, motions=arms)
    assert named(ask(catalog, motions=arms, allow_missing_token=True)) == [("arms", 1, 1.0)]
    off = [{"id": "arms", "weight": 0}]
    assert named(ask(catalog, motions=off)) == [("arms", 1, 0.0)]
    assert ask(catalog, motions=off).mix(catalog).parts == ()


def test_an_unknown_token_lists_the_known_ones(catalog):
    message = r"'zwx' is the token of no motion here; known tokens: pll \(arms\), sks \(hat\)"
    with pytest.raises(UnknownTokenError, match=message):
        ask(catalog, prompt="a robot doing the zwx")


def test_a_token_of_another_base_says_so(store, catalog):
    store.publish(toy_delta(3, token="dgx", base_fingerprint="other"), "foreign")
    with pytest.raises(UnknownTokenError, match="made for another base model"):
        ask(catalog, prompt="a robot doing the dgx")
    with pytest.raises(IncompatibleMotionError, match="foreign@1 was made for base other"):
        ask(catalog, prompt="the dgx", motions=[{"id": "foreign"}])


def test_a_token_of_several_motions_has_to_be_named(store, catalog):
    store.publish(toy_delta(3, token="pll"), "legs")
    with pytest.raises(
        AmbiguousTokenError, match=r"belongs to several motions: arms, legs; name one"
    ):
        ask(catalog, prompt="a robot doing the pll")
    assert named(ask(catalog, prompt="the pll", motions=[{"id": "legs"}])) == [("legs", 1, 1.0)]


def test_unknown_motions_and_versions(catalog):
    with pytest.raises(UnknownMotionError, match="has no motion 'legs'; it holds: arms, hat"):
        ask(catalog, motions=[{"id": "legs"}])
    with pytest.raises(UnknownMotionError, match="has no arms@2; versions of arms: 1"):
        ask(catalog, motions=[{"id": "arms", "version": 2}])


def test_too_many_motions(store, catalog):
    store.publish(toy_delta(3, token="vqz"), "legs")
    with pytest.raises(TooLargeError, match="uses 3 tokens of motions, the limit is 2"):
        ask(catalog, prompt="pll and sks and vqz")
    with pytest.raises(TooLargeError, match="3 motions, the limit is 2"):
        ask(catalog, motions=[{"id": name} for name in ("arms", "hat", "legs")])


def test_a_job_keeps_the_version_that_it_was_accepted_with(store, catalog):
    spec = ask(catalog, prompt="the pll")
    store.publish(toy_delta(9, token="pll"), "arms")
    (part,) = spec.mix(catalog).parts
    assert (part.record.version, part.record.sha256) == (1, toy_delta(1).sha256)
    assert named(ask(catalog, prompt="the pll")) == [("arms", 2, 1.0)]
    forged = spec.motions[0].model_copy(update={"sha256": "0" * 64})
    with pytest.raises(IncompatibleMotionError, match="arms@1 is another delta"):
        spec.model_copy(update={"motions": (forged,)}).mix(catalog)


def test_a_stored_request_of_another_version_is_refused_and_can_still_be_shown():
    spec = SPEC.model_copy(update={"seed": 5})
    request = spec.model_dump(mode="json")
    assert GenerationSpec.stored(request) == GenerationSpec.legible(request) == spec
    newer = request | {"colour": "red", "steps": "many"}
    del newer["fps"]
    with pytest.raises(RequestError, match=r"cannot be read by this version of the server \(fps"):
        GenerationSpec.stored(newer)
    shown = GenerationSpec.legible(newer)
    assert (shown.prompt, shown.seed, shown.steps) == (spec.prompt, 5, 0)
