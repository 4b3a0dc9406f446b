"""A tier: never over budget, nothing held or pinned leaves, and the cheapest loss leaves first."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from motion_ray.errors import PoolBusyError, PoolError
from motion_ray.serving.tier import MOST_USES, OVERHEAD, Tier


def load(tier: Tier[str], key: str, nbytes: int = 1000, seconds: float = 1.0) -> list[str]:
    """Load a thing and give it back at once; who had to leave."""
    gone = tier.reserve(key, nbytes)
    tier.fill(key, f"value of {key}", seconds)
    tier.release(key)
    return [key for key, _ in gone]


def use(tier: Tier[str], key: str) -> None:
    assert tier.hold(key) == f"value of {key}"
    tier.release(key)


def room_for(count: int, nbytes: int = 1000) -> Tier[str]:
    return Tier("test", count * (nbytes + OVERHEAD))


# --- who leaves -----------------------------------------------------------------------------------


def test_with_equal_costs_and_uses_the_first_to_come_leaves():
    tier = room_for(2)
    load(tier, "a")
    load(tier, "b")
    assert load(tier, "c") == ["a"]
    assert load(tier, "d") == ["b"]


def test_what_is_used_stays():
    tier = room_for(2)
    load(tier, "a")
    load(tier, "b")
    use(tier, "a")
    assert load(tier, "c") == ["b"]


def test_what_loads_quickly_leaves_before_what_loads_slowly():
    tier = room_for(2)
    load(tier, "slow", seconds=10)
    load(tier, "quick", seconds=1)
    use(tier, "quick")
    assert load(tier, "c", seconds=10) == ["quick"]


def test_at_equal_cost_the_larger_leaves():
    tier = Tier[str]("test", 100_000 + 1000 + 3 * OVERHEAD)
    load(tier, "small", 1000)
    load(tier, "large", 90_000)
    assert load(tier, "c", 90_000) == ["large"]


def test_an_old_favourite_leaves_in_the_end():
    """Uses count up to a limit, and every departure makes old uses count less."""
    tier = room_for(2)
    load(tier, "favourite")
    for _ in range(10 * MOST_USES):
        use(tier, "favourite")
    for number in range(2 * MOST_USES):
        if "favourite" in load(tier, f"{number}"):
            return
    raise AssertionError("it never left")


def test_nothing_leaves_for_what_cannot_come():
    tier = room_for(3)
    for key in "abc":
        load(tier, key)
    assert tier.hold("a")
    with pytest.raises(PoolBusyError, match=r"big needs 14,096 bytes, 5,096 of 15,288 are held"):
        tier.reserve("big", 10_000)
    with pytest.raises(PoolError, match="huge needs 104,096 bytes, the budget is 15,288; raise"):
        tier.reserve("huge", 100_000)
    assert sorted(tier) == ["a", "b", "c"]


def test_pins_are_named_when_they_leave_no_room():
    tier = room_for(2)
    load(tier, "a")
    tier.pin("a")
    with pytest.raises(PoolError, match="of which pins take 5,096; raise the budget, or unpin"):
        tier.reserve("big", 6000)


def test_a_hold_that_nobody_has_cannot_be_given_back():
    tier = room_for(1)
    load(tier, "a")
    with pytest.raises(ValueError, match="nobody holds a"):
        tier.release("a")


def test_counts():
    tier = room_for(1)
    assert tier.hold("a") is None
    load(tier, "a", seconds=2)
    use(tier, "a")
    load(tier, "b", seconds=3)
    tier.hold("b", count=False)
    tier.hold("a", count=False)
    found = tier.statistics()
    assert (found.hits, found.misses, found.loads, found.evictions) == (1, 1, 2, 1)
    assert (found.entries, found.used, found.held, found.seconds) == (1, 5096, 5096, 5.0)


# --- any sequence of calls ------------------------------------------------------------------------

KEYS = st.sampled_from("abcdefgh")


class TierMachine(RuleBasedStateMachine):
    """Random loads, holds, pins and departures against a plain account of what must be there."""

    held = Bundle("held")

    @initialize(budget=st.integers(5_000, 60_000))
    def start(self, budget):
        self.tier = Tier[str]("test", budget)
        self.sizes: dict[str, int] = {}
        self.holds: dict[str, int] = {}
        self.pinned: set[str] = set()
        self.loading: set[str] = set()

    def fixed(self) -> set[str]:
        """Keys that must not leave."""
        return {key for key, count in self.holds.items() if count} | self.pinned | self.loading

    @rule(key=KEYS, nbytes=st.integers(0, 30_000))
    def reserve(self, key, nbytes):
        if key in self.sizes:
            with pytest.raises(ValueError, match="already"):
                self.tier.reserve(key, nbytes)
            return
        needed = nbytes + OVERHEAD
        fixed = sum(self.sizes[each] for each in self.fixed())
        if needed > self.tier.budget - fixed:
            with pytest.raises(PoolError) as caught:
                self.tier.reserve(key, nbytes)
            pins = sum(self.sizes[each] for each in self.pinned)
            waiting_helps = needed <= self.tier.budget - pins
            assert isinstance(caught.value, PoolBusyError) == waiting_helps
            return
        gone = [each for each, _ in self.tier.reserve(key, nbytes)]
        assert not set(gone) & self.fixed()
        sizes = [self.sizes.pop(each) for each in gone]
        free = self.tier.budget - sum(self.sizes.values())
        assert free >= needed
        if gone:
            assert free - sizes[-1] < needed, "the last one left for nothing"
        self.sizes[key] = needed
        self.loading.add(key)

    @rule(target=held, key=KEYS, seconds=st.floats(0, 100))
    def fill(self, key, seconds):
        if key in self.loading:
            self.tier.fill(key, f"value of {key}", seconds)
            self.loading.discard(key)
            self.holds[key] = 1
            return key
        return None

    @rule(key=KEYS)
    def cancel(self, key):
        if key in self.loading:
            self.tier.cancel(key)
            self.loading.discard(key)
            del self.sizes[key]

    @rule(target=held, key=KEYS)
    def hold(self, key):
        there = key in self.sizes and key not in self.loading
        assert self.tier.hold(key) == (f"value of {key}" if there else None)
        if there:
            self.holds[key] = self.holds.get(key, 0) + 1
            return key
        return None

    @rule(key=held)
    def release(self, key):
        if key is not None and self.holds.get(key):
            self.tier.release(key)
            self.holds[key] -= 1

    @rule(key=KEYS, pinned=st.booleans())
    def pin(self, key, pinned):
        if key in self.sizes and key not in self.loading:
            self.tier.pin(key, pinned)
            (self.pinned.add if pinned else self.pinned.discard)(key)

    @rule(key=KEYS)
    def drop(self, key):
        there = key in self.sizes and key not in self.loading and not self.holds.get(key)
        assert (self.tier.drop(key) is not None) == there
        if there:
            del self.sizes[key]
            self.pinned.discard(key)

    @invariant()
    def the_account_agrees(self):
        found = self.tier.statistics()
        assert found.used == sum(self.sizes.values()) <= self.tier.budget
        assert found.held == sum(self.sizes[key] for key in self.fixed())
        assert set(self.tier) == self.sizes.keys() - self.loading
        for key in self.sizes:
            assert self.tier.is_held(key) == (bool(self.holds.get(key)) or key in self.loading)


TestTierMachine = TierMachine.TestCase
TestTierMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
