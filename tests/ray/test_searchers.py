"""Ray Tune's searchers as a sweep uses them: found again as they were, and better than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from motion_ray.cluster.searchers import TuneSuggester
from motion_ray.recipes.puppet import puppet
from motion_ray.sweeps.distributions import (
    ChoiceValue,
    Distribution,
    IntegerValue,
    LogUniformValue,
    UniformValue,
)
from motion_ray.sweeps.studies import Study
from motion_ray.sweeps.trial import Trial

SPACE: Mapping[str, Distribution] = {
    "optimizer.lr": LogUniformValue(low=1e-6, high=1e-2),
    "optimizer.weight_decay": UniformValue(low=0.0, high=1.0),
    "batch_size": IntegerValue(low=1, high=8),
    "density.kind": ChoiceValue(values=("uniform", "coarse", [1, 2])),
}


def study(letter: str = "a", samples: int = 30) -> Study:
    example = Trial("0" * 64, "m", {}, puppet())
    return Study(letter * 64, "m", {}, 0, "optuna", SPACE, samples, example)


def badness(settings: Mapping[str, Any]) -> float:
    """Least at a rate of 1e-4, no decay, batches of eight, and coarse noise; 0 to 1."""
    rate = abs(math.log10(settings["optimizer.lr"]) + 4) / 2
    wrong = settings["density.kind"] != "coarse"
    parts = [rate, settings["optimizer.weight_decay"], 1 - settings["batch_size"] / 8, wrong]
    return sum(min(part, 1.0) for part in parts) / len(parts)


def search(one: Study, told: bool = True) -> list[dict[str, Any]]:
    """Settings that a searcher picks, three at once."""
    suggester, found = TuneSuggester(one), []
    for number in range(1, one.samples + 1):
        place = suggester.suggest(number)
        assert place is not None
        found.append(one.settings(place))
        if told and number > 2:
            suggester.tell(number - 2, badness(found[number - 3]))
    return found


def test_every_value_is_one_of_its_range() -> None:
    for settings in search(study()):
        assert list(settings) == list(SPACE)
        assert 1e-6 <= settings["optimizer.lr"] < 1e-2
        assert 0.0 <= settings["optimizer.weight_decay"] < 1.0
        assert settings["batch_size"] in range(1, 9)
        assert settings["density.kind"] in ("uniform", "coarse", [1, 2])


def test_the_same_calls_give_the_same_suggestions_and_another_search_has_others() -> None:
    first = search(study())
    assert search(study()) == first
    assert search(study("b")) != first


def test_results_are_used() -> None:
    """Optuna's first ten are drawn; what comes later should be better in the mean."""
    told, blind = search(study(samples=40)), search(study(samples=40), told=False)
    assert told[:3] == blind[:3]
    means = [sum(badness(each) for each in found[20:]) / 20 for found in (told, blind)]
    assert means[0] < 0.8 * means[1]


def test_the_ends_of_a_range_are_inside_it() -> None:
    one = study()
    low, high = one.settings([0.0, 0.0, 0.0, 0]), one.settings([1.0, 1.0, 1.0, 2])
    assert low["batch_size"] == 1 and low["optimizer.lr"] == pytest.approx(1e-6)
    assert high["batch_size"] == 8 and high["optimizer.weight_decay"] < 1.0
