"""Several motions at once: exact at weights 0 and 1, swapped where disjoint, summed where not."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion_ray.errors import BaseModelError, DeltaError, PoolError, RequestError
from motion_ray.serving.mix import BASE, Mix
from motion_ray.serving.pool import MotionPool, PoolConfig
from motion_ray.serving.tier import OVERHEAD
from tests.serving.toy import Library, ToyBase, expected, record_of, toy_delta

ARMS, HAT, BOTH = toy_delta(1, "ab"), toy_delta(2, "cd"), toy_delta(3, "bc")
R = {delta.sha256: record_of(delta) for delta in (ARMS, HAT, BOTH)}


def mix(*weighted) -> Mix:
    return Mix.of([(R[delta.sha256], weight) for delta, weight in weighted])


def inside(base: ToyBase, pool: MotionPool, wanted: Mix) -> dict[str, torch.Tensor]:
    """The base's parameters while a mix is applied; checks that the base comes back."""
    before = base.state()
    with pool.lease(wanted, timeout=0) as lease, lease.applied():
        found = base.values()
    assert base.state() == before
    return found


@pytest.fixture
def pool(base) -> MotionPool:
    return MotionPool(Library(ARMS, HAT, BOTH), base)


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- weights 0 and 1 ------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [(), ((ARMS, 0.0),), ((ARMS, 0.0), (HAT, -0.0))])
def test_weight_0_is_the_base_bit_for_bit(base, pool, wanted):
    assert mix(*wanted).key == BASE
    assert equal(inside(base, pool, mix(*wanted)), base.values())


def test_weight_1_is_the_motion_bit_for_bit(base, pool):
    for delta in (ARMS, HAT, BOTH):
        assert equal(inside(base, pool, mix((delta, 1.0))), expected(delta, base))
    assert pool.statistics().blends == 0


def test_a_motion_at_weight_0_beside_another_changes_nothing(base, pool):
    assert equal(inside(base, pool, mix((ARMS, 1.0), (HAT, 0.0))), expected(ARMS, base))


def test_disjoint_motions_are_both_there_bit_for_bit_and_take_no_memory(base, pool):
    found = inside(base, pool, mix((ARMS, 1.0), (HAT, 1.0)))
    assert equal(found, {**base.values(), **dict(ARMS.tensors), **dict(HAT.tensors)})
    used = pool.statistics().device.used
    assert used == ARMS.nbytes + HAT.nbytes + 3 * OVERHEAD  # three entries, values of two


def test_where_motions_meet_they_are_summed(base, pool):
    found = inside(base, pool, mix((ARMS, 1.0), (BOTH, 0.5)))
    own = base.values()
    assert torch.equal(found["a"], ARMS.tensors["a"])
    assert torch.equal(found["d"], own["d"])
    b = own["b"] + (ARMS.tensors["b"] - own["b"]) + 0.5 * (BOTH.tensors["b"] - own["b"])
    assert torch.allclose(found["b"], b, atol=1e-6)
    c = own["c"] + 0.5 * (BOTH.tensors["c"] - own["c"])
    assert torch.allclose(found["c"], c, atol=1e-6)


@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, -1.0]), min_size=3, max_size=3),
    st.permutations(range(3)),
)
@settings(max_examples=60, deadline=None)
def test_any_weights_in_any_order(weights, order):
    base = ToyBase()
    pool = MotionPool(Library(ARMS, HAT, BOTH), base)
    wanted = list(zip((ARMS, HAT, BOTH), weights, strict=True))
    found = inside(base, pool, mix(*wanted))
    assert equal(found, inside(base, pool, mix(*(wanted[i] for i in order))))
    own = base.values()
    for name, value in found.items():
        changes = [w * (d.tensors[name] - own[name]) for d, w in wanted if name in d.tensors]
        total = own[name] + sum(changes, torch.zeros(()))
        assert torch.allclose(value, total, atol=1e-5)


def test_low_rank_and_full_motions_mix():
    base = ToyBase()
    thin = toy_delta(5, "ac", parametrization="lora")
    pool = MotionPool(library := Library(ARMS), base)
    wanted = Mix.of([(R[ARMS.sha256], 1.0), (library.add(thin), 0.5)])
    found, own = inside(base, pool, wanted), base.values()
    change = thin.values(own)["a"] - own["a"]
    assert torch.allclose(found["a"], ARMS.tensors["a"] + 0.5 * change, atol=1e-5)
    assert torch.equal(found["b"], ARMS.tensors["b"])
    only = inside(base, pool, Mix.of([(record_of(thin), 1.0)]))
    assert equal(only, expected(thin, base))


def test_compressed_motions_mix_with_all_others():
    base = ToyBase()
    one, two = (toy_delta(seed, "abc", parametrization="int8") for seed in (6, 7))
    thin = toy_delta(5, "ac", parametrization="lora")
    pool = MotionPool(library := Library(ARMS), base)
    own = base.values()
    wanted = [
        (R[ARMS.sha256], 1.0, ARMS),
        (library.add(thin), 0.5, thin),
        (library.add(one), -0.5, one),
        (library.add(two), 2.0, two),
    ]
    found = inside(base, pool, Mix.of([(record, weight) for record, weight, _ in wanted]))
    for name in "abc":
        total = own[name].clone()
        for _, weight, delta in wanted:
            if name in delta.parameters:
                total += weight * (delta.values(own)[name] - own[name])
        assert torch.allclose(found[name], total, atol=1e-5), name
    assert torch.equal(found["d"], own["d"])


def test_a_compressed_motion_alone():
    base = ToyBase()
    delta = toy_delta(6, "abc", parametrization="int8")
    pool = MotionPool(library := Library(), base)
    record, own = library.add(delta), base.values()
    found = inside(base, pool, Mix.of([(record, 1.0)]))
    for name in "ac":
        scale = delta.tensors[f"{name}.int8_scale"].view(-1, *[1] * (own[name].dim() - 1))
        assert torch.equal(found[name], own[name] + delta.tensors[f"{name}.int8"] * scale), name
    assert torch.equal(found["b"], delta.tensors["b"])
    assert equal(inside(base, pool, Mix.of([(record, 0.0)])), own)
    assert pool.statistics().host.used - OVERHEAD == delta.nbytes == 64 + 32 + 8 * 4 + 96 + 4 * 4


# --- the sum as an entry of its own ---------------------------------------------------------------


def test_a_sum_is_made_once_and_kept_with_its_own_bytes(base, pool):
    wanted = mix((ARMS, 0.5), (BOTH, 2.0))
    first = inside(base, pool, wanted)
    before = pool.statistics()
    assert (before.blends, before.mix_hits, before.mix_misses) == (1, 0, 1)
    assert before.device.used >= sum(first[name].nbytes for name in "abc")
    assert equal(inside(base, pool, mix((BOTH, 2.0), (ARMS, 0.5))), first)
    after = pool.statistics()
    assert (after.blends, after.device.loads) == (1, before.device.loads)
    assert (after.mix_hits, after.mix_misses) == (1, 1)
    assert wanted.key in pool.residency()


def test_the_sum_is_of_the_base_even_while_another_motion_is_applied(base, pool):
    """Prefetching reads the base's values in the middle of a generation."""
    wanted = mix((ARMS, 0.5))
    with pool.lease(mix((ARMS, 1.0))) as lease, lease.applied():
        pool.lease(wanted).release()
    own = base.values()
    found = inside(base, pool, wanted)
    assert torch.allclose(found["a"], own["a"] + 0.5 * (ARMS.tensors["a"] - own["a"]), atol=1e-6)


def test_motions_that_do_not_fit_together_are_refused_and_nothing_stays_held(base):
    room = max(ARMS.nbytes, HAT.nbytes) + 2 * 4096 + 100  # one motion and the mix's own entry
    pool = MotionPool(Library(ARMS, HAT), base, PoolConfig(device_bytes=room))
    with pytest.raises(PoolError, match=r"m\d@1 \+ m\d@1 do not fit into it together"):
        pool.lease(mix((ARMS, 1.0), (HAT, 1.0)))
    assert pool.statistics().device.held == 0
    for delta in (ARMS, HAT):
        assert equal(inside(base, pool, mix((delta, 1.0))), expected(delta, base))


def test_a_sum_beyond_the_types_range_is_refused():
    base = ToyBase(torch.float16)
    library = Library()
    one, two = (library.add(toy_delta(n, "a")) for n in (6, 7))
    pool = MotionPool(library, base)
    with pytest.raises(DeltaError, match=r"tensor a does not fit into float16"):
        pool.lease(Mix.of([(one, 1e5), (two, -1e5)]))
    assert pool.statistics().device.entries == 0


def test_a_sum_beyond_what_float32_holds_is_refused(base):
    library = Library()
    one, two = (library.add(toy_delta(n, "a")) for n in (6, 7))
    pool = MotionPool(library, base)
    with pytest.raises(DeltaError, match=r"tensor a does not fit into float32"):
        pool.lease(Mix.of([(one, 3e38), (two, 3e38)]))
    assert pool.statistics().device.entries == 0


# --- tokens ---------------------------------------------------------------------------------------


def test_every_motion_brings_its_trained_token(base):
    library = Library()
    one = library.add(toy_delta(8, "a", row=2.0, token="pll"))
    two = library.add(toy_delta(9, "b", row=6.0, token="sks"))
    pool = MotionPool(library, base)
    before = base.state()
    with pool.lease(Mix.of([(one, 1.0), (two, 0.5)])) as lease, lease.applied():
        assert torch.equal(base.table["pll"], torch.full((4,), 2.0))
        assert torch.equal(base.table["sks"], (torch.arange(4.0) + 10 + 6.0) / 2)
    assert base.state() == before


def test_rows_of_one_token_add_up_and_its_other_spelling_comes_back(base):
    library = Library()
    one = library.add(toy_delta(8, "a", row=2.0, token="pll"))
    two = library.add(toy_delta(9, "b", row=4.0, token="pll"))
    other = library.add(toy_delta(10, "c", row=9.0, token="PLL"))
    pool = MotionPool(library, base)
    before, own = base.state(), base.table["pll"].clone()
    with pool.lease(Mix.of([(one, 0.5), (two, 0.5)])) as lease, lease.applied():
        assert torch.allclose(base.table["pll"], torch.full((4,), 3.0))
    assert base.state() == before
    with pool.lease(Mix.of([(one, 1.0), (other, 1.0)])) as lease, lease.applied():
        assert not torch.equal(base.table["pll"], own)
    assert base.state() == before


def test_a_token_that_the_base_does_not_know_changes_nothing(base):
    library = Library()
    odd = library.add(toy_delta(8, "ab", row=2.0, token="qqq"))
    pool = MotionPool(library, base)
    before = base.state()
    with pytest.raises(BaseModelError, match="does not know qqq"):
        inside(base, pool, Mix.of([(odd, 1.0)]))
    assert base.state() == before


# --- keys -----------------------------------------------------------------------------------------


def test_keys_tell_mixes_apart():
    weights = (0.0, 0.1, 1.0, 1.0000000000000002, -1.0)
    mixes = {
        tuple(sorted(set(zip("AB", pair, strict=True)))): mix((ARMS, pair[0]), (HAT, pair[1])).key
        for pair in itertools.product(weights, repeat=2)
    }
    assert len(set(mixes.values())) == len(weights) ** 2


def test_one_motion_named_twice_counts_twice():
    assert mix((ARMS, 0.5), (ARMS, 0.5)).key == mix((ARMS, 1.0)).key == ARMS.sha256
    assert mix((ARMS, 0.5), (ARMS, -0.5)).key == BASE


def test_a_label_is_for_people():
    assert mix((ARMS, 1.0)).label == "m1@1"
    assert mix((ARMS, 0.5)).label == "m1@1 x 0.5"
    assert mix().label == "no motion"


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_weights_are_finite(weight):
    with pytest.raises(RequestError, match=r"weight of m1@1: .* is not a finite number"):
        mix((ARMS, weight))
