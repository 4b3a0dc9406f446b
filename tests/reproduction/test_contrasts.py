"""What each claim compares, against a list that was written by hand from the claims' words."""

from __future__ import annotations

import pytest

from motion_ray.reproduction.claims import Bound, Contrast
from motion_ray.reproduction.experiments import EXPERIMENTS

#: A claim, and below it which of two has more of what; "2 x" is at least twice the other's.
CONTRASTS = """
ours has a higher motion accuracy than Textual Inversion (section 4.1)
    ours > textual-inversion: motion accuracy
ours has a higher motion accuracy than Custom Diffusion (section 4.1)
    ours > custom-diffusion: motion accuracy
ours has a higher motion accuracy than DreamBooth (section 4.1)
    ours > dreambooth: motion accuracy
ours has at least twice the motion accuracy of Textual Inversion (section 4.1)
    ours > 2 x textual-inversion: motion accuracy
ours has at least twice the motion accuracy of Custom Diffusion (section 4.1)
    ours > 2 x custom-diffusion: motion accuracy
ours has at least twice the motion accuracy of DreamBooth (section 4.1)
    ours > 2 x dreambooth: motion accuracy
ours has a higher motion accuracy than Textual Inversion, at matched appearance (section 4.1)
    ours > textual-inversion: motion accuracy
ours has a higher motion accuracy than Custom Diffusion, at matched appearance (section 4.1)
    ours > custom-diffusion: motion accuracy
ours has a higher motion accuracy than DreamBooth, at matched appearance (section 4.1)
    ours > dreambooth: motion accuracy
ours has at least twice the motion accuracy of Textual Inversion, at matched appearance (section 4.1)
    ours > 2 x textual-inversion: motion accuracy
ours has at least twice the motion accuracy of Custom Diffusion, at matched appearance (section 4.1)
    ours > 2 x custom-diffusion: motion accuracy
ours has at least twice the motion accuracy of DreamBooth, at matched appearance (section 4.1)
    ours > 2 x dreambooth: motion accuracy
ours follows the prompts better than Textual Inversion: text alignment (table 1)
    ours > textual-inversion: text alignment
ours follows the prompts better than Custom Diffusion: text alignment (table 1)
    ours > custom-diffusion: text alignment
ours follows the prompts better than DreamBooth: text alignment (table 1)
    ours > dreambooth: text alignment

temporal layers with K/V have a higher accuracy than temporal layers alone (table 2a)
    ours > spatial-none: motion accuracy
temporal layers with K/V copy half as much as with all spatial layers (section 4.2)
    spatial-all > 2 x ours: copying, any frame
with all spatial layers more is copied than with K/V: likeness to a training frame (table 2a)
    spatial-all > ours: likeness to the nearest training frame
K/V alone are not enough: temporal layers raise accuracy (table 2b)
    ours > temporal-none: motion accuracy
training the token as well raises accuracy (table 2c)
    token-trained > ours: motion accuracy
training the token as well raises copying: likeness to a training frame (table 2c)
    token-trained > ours: likeness to the nearest training frame
coarse-noise sampling raises accuracy over uniform (table 2d)
    ours > uniform: motion accuracy
coarse-noise sampling lowers copying: likeness to a training frame (table 2d)
    uniform > ours: likeness to the nearest training frame
real regularization raises accuracy over none (table 2e)
    ours > regularization-none: motion accuracy
real regularization raises accuracy over synthetic (table 2e)
    ours > regularization-synthetic: motion accuracy

accuracy rises with training (figure 7)
    ours, last look > ours, first look: motion accuracy
CLIP appearance falls with training (figure 7)
    ours, first look > ours, last look: CLIP appearance
copying rises with training: likeness to a training frame (figure 7)
    ours, last look > ours, first look: likeness to the nearest training frame
ours has a higher accuracy than Tune-A-Video (figure 5)
    ours > tune-a-video: motion accuracy

ten clips teach more than 1 clip: motion accuracy
    ours > clips-1: motion accuracy
ten clips teach more than 3 clips: motion accuracy
    ours > clips-3: motion accuracy
ten clips teach more than 5 clips: motion accuracy
    ours > clips-5: motion accuracy
whole values learn more than LoRA of rank 1: motion accuracy
    ours > rank-1: motion accuracy
whole values learn more than LoRA of rank 4: motion accuracy
    ours > rank-4: motion accuracy
whole values learn more than LoRA of rank 16: motion accuracy
    ours > rank-16: motion accuracy
our learning rate teaches more than a third of the learning rate: motion accuracy
    ours > rate-third: motion accuracy
our learning rate teaches more than three times the learning rate: motion accuracy
    ours > rate-triple: motion accuracy
ours has a higher motion accuracy than DreamBooth at a third of the learning rate
    ours > dreambooth-rate-third: motion accuracy
ours has at least twice the motion accuracy of DreamBooth at a third of the learning rate
    ours > 2 x dreambooth-rate-third: motion accuracy
ours has at least twice the motion accuracy of DreamBooth at a third of the learning rate, at matched appearance
    ours > 2 x dreambooth-rate-third: motion accuracy
DreamBooth at a third of the learning rate learns more than at its own: motion accuracy
    dreambooth-rate-third > dreambooth: motion accuracy
ours has a higher motion accuracy than DreamBooth at a tenth of the learning rate
    ours > dreambooth-rate-tenth: motion accuracy
ours has at least twice the motion accuracy of DreamBooth at a tenth of the learning rate
    ours > 2 x dreambooth-rate-tenth: motion accuracy
ours has at least twice the motion accuracy of DreamBooth at a tenth of the learning rate, at matched appearance
    ours > 2 x dreambooth-rate-tenth: motion accuracy
DreamBooth at a tenth of the learning rate learns more than at its own: motion accuracy
    dreambooth-rate-tenth > dreambooth: motion accuracy

asked for jumping at the same time, videos look more like it
    ours, while jumping > ours: looks like jumping
asked for kicking at the same time, videos look more like it
    ours, while kicking > ours: looks like kicking
a learned motion can be slower or faster: frames change less slowly than quickly
    ours, slowly > ours, quickly: consistency where recognised
a learned motion can be slower or faster: frames change less slowly than as learned
    ours, slowly > ours: consistency where recognised
a learned motion can be slower or faster: frames change less as learned than quickly
    ours > ours, quickly: consistency where recognised
of two puppets our videos show the motion more often than Tune-A-Video's (figure 5)
    ours, two puppets > tune-a-video, two puppets: motion accuracy
of two puppets our videos show two more often than Tune-A-Video's (figure 5)
    ours, two puppets > tune-a-video, two puppets: two puppets seen
asked for slowly, our videos show the motion more often than Tune-A-Video's (figure 5)
    ours, slowly > tune-a-video, slowly: motion accuracy
asked for kicking too, our videos show the motion more often than Tune-A-Video's (figure 5)
    ours, while kicking > tune-a-video, while kicking: motion accuracy
asked for jumping too, our videos look more like it than Tune-A-Video's (figure 5)
    ours, while jumping > tune-a-video, while jumping: looks like jumping
"""  # noqa: E501

#: Likewise of one rate alone, and its limit.
BOUNDS = """
Textual Inversion does not learn the motion: accuracy below 5% (table 1)
    textual-inversion < 0.05: motion accuracy
the base does not know the motions: accuracy below 5%
    base in words < 0.05: motion accuracy
the motion carries over to a robot, a kind that no clip shows: accuracy above 50%
    ours, robot > 0.5: motion accuracy
the motion carries over to a bear, a kind that no clip shows: accuracy above 50%
    ours, bear > 0.5: motion accuracy
the motion carries over to an alien, a kind that no clip shows: accuracy above 50%
    ours, alien > 0.5: motion accuracy
the motion carries over to a crab, a kind that no clip shows: accuracy above 50%
    ours, crab > 0.5: motion accuracy
the motion is kept in the scene 'two puppets': accuracy above 50%
    ours, two puppets > 0.5: motion accuracy
the motion is kept in the scene 'slowly': accuracy above 50%
    ours, slowly > 0.5: motion accuracy
the motion is kept in the scene 'quickly': accuracy above 50%
    ours, quickly > 0.5: motion accuracy
the motion is kept in the scene 'while jumping': accuracy above 50%
    ours, while jumping > 0.5: motion accuracy
the motion is kept in the scene 'while kicking': accuracy above 50%
    ours, while kicking > 0.5: motion accuracy
two puppets are seen where two are asked for: above 50%
    ours, two puppets > 0.5: two puppets seen
"""


def listed(text: str) -> dict[str, tuple[str, str]]:
    """Claim to what it compares, and the score."""
    lines = [line for line in text.splitlines() if line]
    found = {}
    for claim, meaning in zip(lines[::2], lines[1::2], strict=True):
        assert meaning.startswith("    ") and not claim.startswith(" ")
        compared, score = meaning.strip().split(": ")
        found[claim] = compared, score
    assert 2 * len(found) == len(lines)  # no claim twice
    return found


CLAIMS = [claim for each in EXPERIMENTS.values() for claim in each.claims]
COMPARED, LIMITED = listed(CONTRASTS), listed(BOUNDS)


def test_every_claim_is_in_the_list_and_no_others() -> None:
    contrasts = [claim.text for claim in CLAIMS if isinstance(claim, Contrast)]
    bounds = [claim.text for claim in CLAIMS if isinstance(claim, Bound)]
    assert sorted(contrasts) == sorted(COMPARED)
    assert sorted(bounds) == sorted(LIMITED)


@pytest.mark.parametrize(
    "claim", [each for each in CLAIMS if isinstance(each, Contrast)], ids=lambda each: each.text
)
def test_a_contrast_says_which_of_two_has_more_of_what(claim: Contrast) -> None:
    compared, score = COMPARED[claim.text]
    better, _, worse = compared.partition(" > ")
    times = 2.0 if worse.startswith("2 x ") else 1.0
    assert claim.weights == {better: 1.0, worse.removeprefix("2 x "): -times}
    assert claim.metric == score
    assert claim.matched == ("at matched appearance" in claim.text)


@pytest.mark.parametrize(
    "claim", [each for each in CLAIMS if isinstance(each, Bound)], ids=lambda each: each.text
)
def test_a_bound_says_on_which_side_of_a_limit_a_rate_is(claim: Bound) -> None:
    compared, score = LIMITED[claim.text]
    sign = " > " if claim.above else " < "
    assert compared == f"{claim.method}{sign}{claim.limit:g}"
    assert claim.metric == score
