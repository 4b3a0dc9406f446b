"""The mixture: stated share in every prefix, epochs without repeats, pure in the position."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motion_ray.data.mixture import Mixture
from motion_ray.types import Draw, ExampleSet

SHARES = st.one_of(
    st.sampled_from([0.5, 0.1, 0.3, 0.29, 0.7, 1 / 3, 0.999]), st.floats(0.001, 0.999)
)


def mixtures(**fixed: object) -> st.SearchStrategy[Mixture]:
    return st.builds(
        Mixture,
        motion_clips=st.integers(1, 12),
        regularization_clips=fixed.get("regularization", st.integers(0, 12)),
        variants=st.integers(1, 6),
        share=SHARES,
        seed=st.integers(0, 2**40),
    )


@given(mixtures(regularization=st.integers(1, 12)), st.integers(1, 400))
def test_every_prefix_holds_the_share_to_within_one(mixture, length):
    found, share = 0, Fraction(str(mixture.share))
    for position in range(length):
        found += mixture.draw(position).source is ExampleSet.REGULARIZATION
        assert abs(found - (position + 1) * share) < 1


def test_exact_shares_stay_exact_far_out():
    mixture = Mixture(3, 3, 2, 0.29, 0)
    start = 10**9
    window = [mixture.draw(start + i).source for i in range(100)]
    assert window.count(ExampleSet.REGULARIZATION) == 29


@given(mixtures(), st.integers(0, 5000))
def test_it_is_a_pure_function_of_the_position(mixture, position):
    twin = Mixture(
        mixture.motion_clips,
        mixture.regularization_clips,
        mixture.variants,
        mixture.share,
        mixture.seed,
    )
    expected = mixture.draw(position)
    for other in (position + 7, 0, position // 2):  # whatever was asked before
        twin.draw(other)
    assert twin.draw(position) == expected


@given(mixtures())
def test_an_epoch_shows_every_clip_and_variant_once(mixture):
    sizes = {
        ExampleSet.MOTION: mixture.motion_clips,
        ExampleSet.REGULARIZATION: mixture.regularization_clips,
    }
    seen: dict[ExampleSet, list[Draw]] = {source: [] for source in sizes}
    for position in range(500):
        draw = mixture.draw(position)
        seen[draw.source].append(draw)
    for source, draws in seen.items():
        everything = {(c, v) for c in range(sizes[source]) for v in range(mixture.variants)}
        assert {(d.clip, d.variant) for d in draws} <= everything
        if not everything:
            assert not draws
            continue
        for start in range(0, len(draws) - len(everything) + 1, len(everything)):
            epoch = draws[start : start + len(everything)]
            assert {(d.clip, d.variant) for d in epoch} == everything


def test_epochs_and_seeds_differ_and_the_sets_are_shuffled_apart():
    def order(seed: int, source: ExampleSet, epoch: int) -> list[tuple[int, int]]:
        mixture = Mixture(10, 10, 8, 0.5, seed)
        draws = [mixture.draw(i) for i in range(160 * epoch, 160 * (epoch + 1))]
        return [(d.clip, d.variant) for d in draws if d.source is source]

    orders = [
        order(seed, source, epoch) for seed in (0, 1) for source in ExampleSet for epoch in (0, 1)
    ]
    assert all(len(o) == 80 for o in orders)
    assert len({tuple(o) for o in orders}) == len(orders)


def test_first_places_are_drawn_evenly():
    firsts = Counter(Mixture(5, 0, 4, 0.5, seed).draw(0) for seed in range(2000))
    assert len(firsts) == 20 and max(firsts.values()) < 150 and min(firsts.values()) > 60


def test_without_regularization_every_example_is_the_motion():
    mixture = Mixture(2, 0, 3, 0.5, 0)
    assert {mixture.draw(i).source for i in range(50)} == {ExampleSet.MOTION}


def test_known_sequence():
    """Resuming an old checkpoint depends on these values: do not change them lightly."""
    mixture = Mixture(2, 3, 2, 0.5, 7)
    drawn = [(d.source.value[0], d.clip, d.variant) for d in map(mixture.draw, range(8))]
    motion = [("m", 0, 0), ("m", 1, 1), ("m", 0, 1), ("m", 1, 0)]
    regularization = [("r", 0, 1), ("r", 1, 1), ("r", 2, 0), ("r", 0, 0)]
    assert drawn[0::2] == motion and drawn[1::2] == regularization


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ((0, 1, 1, 0.5, 0), "motion clips"),
        ((1, 1, 0, 0.5, 0), "variants"),
        ((1, 1, 1, 0.0, 0), "share"),
        ((1, 1, 1, 1.0, 0), "share"),
    ],
)
def test_impossible_mixtures(values, rule):
    with pytest.raises(ValueError, match=rule):
        Mixture(*values)
    with pytest.raises(ValueError, match="position"):
        Mixture(1, 1, 1, 0.5, 0).draw(-1)
