"""Verdicts: what holds, what does not, what may be chance, and what was not run."""

from __future__ import annotations

import pytest

from motion_ray.evaluation.bootstrap import Observation
from motion_ray.reproduction.claims import Bound, Contrast, Word, judge

OFTEN = Bound("other is frequent", "accuracy", "other", 0.5, above=True)
BETTER = Contrast("ours is better", "accuracy", {"ours": 1.0, "other": -1.0})
TWICE = Contrast("ours is twice as good", "accuracy", {"ours": 1.0, "other": -2.0})
RARE = Bound("other is rare", "accuracy", "other", 0.05)


def rates(ours: list[float], other: list[float], metric: str = "accuracy"):
    """Values of two methods on the same prompts."""
    return {
        (method, metric, ()): {n: Observation(v, n, "motion") for n, v in enumerate(values)}
        for method, values in (("ours", ours), ("other", other))
    }


def share(right: int, of: int) -> list[float]:
    return [1.0] * right + [0.0] * (of - right)


@pytest.mark.parametrize(
    ("claim", "ours", "other", "word"),
    [
        (BETTER, share(80, 100), share(40, 100), Word.REPRODUCED),
        (BETTER, share(40, 100), share(80, 100), Word.NOT),
        (BETTER, share(41, 100), share(40, 100), Word.INCONCLUSIVE),
        (BETTER, share(3, 4), share(0, 4), Word.INCONCLUSIVE),  # four prompts prove nothing
        (TWICE, share(90, 100), share(20, 100), Word.REPRODUCED),
        (TWICE, share(60, 100), share(50, 100), Word.NOT),  # better, but not twice as good
        (RARE, share(50, 100), share(0, 100), Word.REPRODUCED),
        (RARE, share(50, 100), share(30, 100), Word.NOT),
        (OFTEN, share(0, 100), share(70, 100), Word.REPRODUCED),
        (OFTEN, share(0, 100), share(30, 100), Word.NOT),
        (OFTEN, share(0, 10), share(6, 10), Word.INCONCLUSIVE),
        (RARE, share(5, 10), share(0, 10), Word.INCONCLUSIVE),  # 0 of 10 may be 20 %
        (RARE, share(5, 100), share(1, 100), Word.INCONCLUSIVE),  # 1 of 100 may be 5.4 %
        (OFTEN, share(0, 4), share(4, 4), Word.INCONCLUSIVE),  # as four heads are of a coin
        (OFTEN, share(0, 6), share(6, 6), Word.REPRODUCED),
    ],
)
def test_verdicts(claim, ours, other, word):
    [verdict] = judge([claim], rates(ours, other))
    assert verdict.word is word, verdict.because


def test_a_contrast_is_estimated_on_pairs():
    """By hand: 1 - 2 x 1, 1 - 0, 0 - 0 and 1 - 0 have a mean of 1/4."""
    [verdict] = judge([TWICE], rates([1, 1, 0, 1], [1, 0, 0, 0]))
    assert verdict.estimate is not None
    assert verdict.estimate.value == pytest.approx(0.25)
    assert "accuracy of ours - 2 x other is 0.250" in verdict.because


def test_a_limit_is_not_judged_by_few_prompts_however_many_motions_have_them():
    """Five prompts of ten motions that are all right: as if a coin had shown five heads."""
    for prompts, word in ((5, Word.INCONCLUSIVE), (6, Word.REPRODUCED)):
        right = {
            (prompt, motion): Observation(1.0, prompt, f"motion {motion}")
            for prompt in range(prompts)
            for motion in range(10)
        }
        [verdict] = judge([OFTEN], {("other", "accuracy", ()): right})
        assert verdict.word is word, verdict.because
        assert ("of 5 prompts, too few" in verdict.because) == (prompts == 5)


def test_less_than_twice_is_not_the_opposite_of_better():
    [twice] = judge([TWICE], rates(share(60, 100), share(50, 100)))
    assert twice.because.endswith("it is less than that")
    [worse] = judge([BETTER], rates(share(40, 100), share(80, 100)))
    assert worse.because.endswith("the opposite holds")


def test_where_no_pair_differs_nothing_was_tested():
    copies = rates([0.0] * 20, [0.0] * 20, "copying")
    values = {**rates(share(16, 20), share(9, 20)), **copies}
    alike = Contrast("copies less", "copying", {"other": 1.0, "ours": -1.0})
    alone = judge([BETTER], values)[0]
    better, *others = judge([BETTER, *[alike] * 9], values)
    assert better.p == alone.p  # the others are no reason to be stricter
    assert {each.word for each in others} == {Word.INCONCLUSIVE}
    assert others[0].because == "copying is the same in all 20 pairs: it cannot tell"


def test_many_claims_are_corrected_together():
    one = judge([BETTER], rates(share(16, 20), share(9, 20)))
    many = judge([BETTER, *[TWICE] * 9], rates(share(16, 20), share(9, 20)))
    assert one[0].p is not None and many[0].p is not None
    assert one[0].word is Word.REPRODUCED
    assert many[0].p == pytest.approx(min(1.0, 10 * one[0].p), rel=0.01)
    assert many[0].word is Word.INCONCLUSIVE


def test_what_was_not_run_says_why():
    values = rates(share(1, 2), share(1, 2))
    other = Contrast("copies less", "copying", {"ours": -1.0, "other": 1.0})
    [missing] = judge([other], values)
    assert missing.word is Word.NOT_RUN and "was not trained" in missing.because
    refused = {**rates(share(1, 2), share(1, 2), "copying"), ("other", "copying", ()): "refused"}
    [told] = judge([other], refused)
    assert told.because == "other: refused" and told.estimate is None


def test_methods_without_common_videos_are_not_compared():
    values = rates(share(1, 2), [])
    values["other", "accuracy", ()] = {"elsewhere": Observation(1.0, 0, "motion")}
    [verdict] = judge([BETTER], values)
    assert verdict.word is Word.NOT_RUN and "in common" in verdict.because
