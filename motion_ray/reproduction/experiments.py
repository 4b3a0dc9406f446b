"""The paper's tables and figures as data: whose rows, which numbers, what is claimed about them.

Numbers of table 2 and figure 7 are pictures in the text that this project was made from; of them
the statements survive, and those are what is tested. Numbers of table 1 are the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from motion_ray.data.puppets.bodies import KINDS
from motion_ray.data.puppets.captions import with_article
from motion_ray.recipes.ablations import CLIPS, OURS, RANKS, RATES, TABLE_2, Variant
from motion_ray.reproduction.claims import Bound, Claim, Contrast

ACCURACY, APPEARANCE, ALIGNMENT = "motion accuracy", "CLIP appearance", "text alignment"
COPYING, CONSISTENCY = "copying, any frame", "temporal consistency"
NEAREST = "likeness to the nearest training frame"
"""Mean over videos of the highest cosine of the copy detector: it differs where no video, or every
one, counts as a copy."""
COUNT, JUMPING, KICKING = "two puppets seen", "looks like jumping", "looks like kicking"
"""Scores of scenes: share of videos in which two are seen; mean probability of a motion."""
TEMPO = "consistency where recognised"
"""Temporal consistency of the videos in which the motion is recognised: a puppet that stands still
is consistent too, and neither slow nor fast at it."""
BASE = "base in words"
"""Row of the untouched base, asked in natural words (supplement D)."""
FIRST, LAST = "ours, first look", "ours, last look"
"""Rows of our method at the first and the last step that a curve looks at."""
IN_SCENE = "ours, "
"""Before the name of a scene or a kind of puppet: rows of our results there."""
NEAR_ZERO = 0.05


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        method: ``"ours"``, or what follows the scale in a recipe's name.
        title: in the table.
        paper: the paper's numbers by score.
        headline: trained with every headline seed, so that the noise of training shows.
    """

    method: str
    title: str
    paper: Mapping[str, float] = field(default_factory=dict)
    headline: bool = False


@dataclass(frozen=True)
class Scene:
    """Something else that our results are asked for, in the puppet world.

    Attributes:
        name: in the report; with "ours, " before it, as a method of claims.
        count: one puppet or two.
        speed: ``"slowly"``, ``"quickly"``, or neither.
        also: a motion of the base that is asked for at the same time.
    """

    name: str
    count: int = 1
    speed: str = ""
    also: str | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """Of what a prompt describes."""
        return {"count": self.count, "speed": self.speed, "also": self.also}


@dataclass(frozen=True)
class Experiment:
    """One table or figure.

    Attributes:
        name: on the command line.
        title: in the report.
        rows: methods that are trained for it.
        claims: statements about them.
        curves: whether steps on the way are looked at too.
        control: whether the untouched base is asked in words.
        scenes: that our results are asked for besides the usual prompts.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...] = ()
    curves: bool = False
    control: bool = False
    scenes: tuple[Scene, ...] = ()


def _rows(variants: tuple[Variant, ...]) -> tuple[Row, ...]:
    return tuple(Row(v.name, v.title, headline=v is OURS) for v in variants)


_OURS = Row("ours", "ours", {ACCURACY: 0.706, ALIGNMENT: 0.2818}, headline=True)
_TABLE_1 = (
    Row("textual-inversion", "Textual Inversion", {ACCURACY: 0.003, ALIGNMENT: 0.2733}),
    Row("custom-diffusion", "Custom Diffusion", {ACCURACY: 0.105, ALIGNMENT: 0.2788}),
    Row("dreambooth", "DreamBooth", {ACCURACY: 0.284, ALIGNMENT: 0.2796}, headline=True),
    _OURS,
)


def _better(row: Row, times: float, *, matched: bool = False) -> Contrast:
    how = "a higher motion accuracy than" if times == 1 else "at least twice the motion accuracy of"
    where = ", at matched appearance" if matched else ""
    return Contrast(
        f"ours has {how} {row.title}{where} (section 4.1)",
        ACCURACY,
        {"ours": 1.0, row.method: -times},
        matched=matched,
    )


_CLAIMS_1 = (
    *(
        _better(row, times, matched=matched)
        for matched in (False, True)
        for times in (1.0, 2.0)
        for row in _TABLE_1[:-1]
    ),
    Bound(
        f"Textual Inversion does not learn the motion: accuracy below {NEAR_ZERO:.0%} (table 1)",
        ACCURACY,
        "textual-inversion",
        NEAR_ZERO,
    ),
    *(
        Contrast(
            f"ours follows the prompts better than {row.title}: text alignment (table 1)",
            ALIGNMENT,
            {"ours": 1.0, row.method: -1.0},
        )
        for row in _TABLE_1[:-1]
    ),
)
_CLAIMS_2: dict[str, tuple[Claim, ...]] = {
    "table2a": (
        Contrast(
            "temporal layers with K/V have a higher accuracy than temporal layers alone (table 2a)",
            ACCURACY,
            {"ours": 1.0, "spatial-none": -1.0},
        ),
        Contrast(
            "K/V alone copy half as much as all spatial layers (section 4.2)",
            COPYING,
            {"spatial-all": 1.0, "ours": -2.0},
        ),
        Contrast(
            "all spatial layers copy more than K/V alone: likeness to a training frame (table 2a)",
            NEAREST,
            {"spatial-all": 1.0, "ours": -1.0},
        ),
    ),
    "table2b": (
        Contrast(
            "spatial layers alone are not enough: temporal ones raise accuracy (table 2b)",
            ACCURACY,
            {"ours": 1.0, "temporal-none": -1.0},
        ),
    ),
    "table2c": (
        Contrast(
            "training the token as well raises accuracy (table 2c)",
            ACCURACY,
            {"token-trained": 1.0, "ours": -1.0},
        ),
        Contrast(
            "training the token as well raises copying: likeness to a training frame (table 2c)",
            NEAREST,
            {"token-trained": 1.0, "ours": -1.0},
        ),
    ),
    "table2d": (
        Contrast(
            "coarse-noise sampling raises accuracy over uniform (table 2d)",
            ACCURACY,
            {"ours": 1.0, "uniform": -1.0},
        ),
        Contrast(
            "coarse-noise sampling lowers copying: likeness to a training frame (table 2d)",
            NEAREST,
            {"uniform": 1.0, "ours": -1.0},
        ),
    ),
    "table2e": (
        Contrast(
            "real regularization raises accuracy over none (table 2e)",
            ACCURACY,
            {"ours": 1.0, "regularization-none": -1.0},
        ),
        Contrast(
            "real regularization raises accuracy over synthetic (table 2e)",
            ACCURACY,
            {"ours": 1.0, "regularization-synthetic": -1.0},
        ),
    ),
}
_TITLES_2 = {
    "table2a": "Table 2a: which spatial layers",
    "table2b": "Table 2b: temporal layers",
    "table2c": "Table 2c: the token's embedding",
    "table2d": "Table 2d: timesteps",
    "table2e": "Table 2e: regularization",
}
_CLAIMS_7 = (
    Contrast("accuracy rises with training (figure 7)", ACCURACY, {LAST: 1.0, FIRST: -1.0}),
    Contrast(
        "CLIP appearance falls with training (figure 7)", APPEARANCE, {FIRST: 1.0, LAST: -1.0}
    ),
    Contrast(
        "copying rises with training: likeness to a training frame (figure 7)",
        NEAREST,
        {LAST: 1.0, FIRST: -1.0},
    ),
)

#: What is asked of our results beyond the paper's tables; the clips show one person who does
#: nothing else, at normal speed.
SCENES = (
    Scene("two puppets", count=2),
    Scene("slowly", speed="slowly"),
    Scene("quickly", speed="quickly"),
    Scene("while jumping", also="jumping"),
    Scene("while kicking", also="kicking"),
)
MOSTLY = 0.5
_CLAIMS_BEYOND = (
    *(
        Bound(
            f"the motion carries over to {with_article(kind)}, a kind that no clip shows: accuracy "
            f"above {MOSTLY:.0%}",
            ACCURACY,
            f"{IN_SCENE}{kind}",
            MOSTLY,
            above=True,
        )
        for kind in KINDS
        if kind != "person"
    ),
    *(
        Bound(
            f"the motion is kept in the scene {scene.name!r}: accuracy above {MOSTLY:.0%}",
            ACCURACY,
            f"{IN_SCENE}{scene.name}",
            MOSTLY,
            above=True,
        )
        for scene in SCENES
    ),
    Bound(
        f"two puppets are seen where two are asked for: above {MOSTLY:.0%}",
        COUNT,
        f"{IN_SCENE}two puppets",
        MOSTLY,
        above=True,
    ),
    *(
        Contrast(
            f"asked for {also} at the same time, videos look more like it",
            score,
            {f"{IN_SCENE}while {also}": 1.0, "ours": -1.0},
        )
        for also, score in (("jumping", JUMPING), ("kicking", KICKING))
    ),
    *(
        Contrast(
            f"a learned motion can be slower or faster: frames change less {text}",
            TEMPO,
            {calm: 1.0, hasty: -1.0},
        )
        for text, calm, hasty in (
            ("slowly than quickly", f"{IN_SCENE}slowly", f"{IN_SCENE}quickly"),
            ("slowly than as learned", f"{IN_SCENE}slowly", "ours"),
            ("as learned than quickly", "ours", f"{IN_SCENE}quickly"),
        )
    ),
)


def _learns_more(what: str, variants: tuple[Variant, ...]) -> tuple[Contrast, ...]:
    """Of accuracy alone: of fewer clips there are fewer frames for a nearest one to be among."""
    return tuple(
        Contrast(
            f"{what} more than {variant.title}: motion accuracy",
            ACCURACY,
            {"ours": 1.0, variant.name: -1.0},
        )
        for variant in variants
    )


_CLAIMS_CLIPS = _learns_more("ten clips teach", CLIPS[:-1])
_CLAIMS_RANKS = _learns_more("whole values learn", RANKS)
_CLAIMS_RATES = _learns_more("our learning rate teaches", RATES)

EXPERIMENTS: dict[str, Experiment] = {
    each.name: each
    for each in (
        Experiment(
            "table1", "Table 1: image customization methods", _TABLE_1, _CLAIMS_1, curves=True
        ),
        *(
            Experiment(name, _TITLES_2[name], _rows(variants), _CLAIMS_2[name])
            for name, variants in TABLE_2.items()
        ),
        Experiment("fig7", "Figure 7: the course of training", (_OURS,), _CLAIMS_7, curves=True),
        Experiment(
            "appendix-d",
            "Supplement D: the base model asked in words",
            (),
            (
                Bound(
                    f"the base does not know the motions: accuracy below {NEAR_ZERO:.0%}",
                    ACCURACY,
                    BASE,
                    NEAR_ZERO,
                ),
            ),
            control=True,
        ),
        Experiment(
            "fig5",
            "Figure 5: Tune-A-Video with several clips",
            (Row("tune-a-video", "Tune-A-Video"), _OURS),
            (
                Contrast(
                    "ours has a higher accuracy than Tune-A-Video (figure 5)",
                    ACCURACY,
                    {"ours": 1.0, "tune-a-video": -1.0},
                ),
            ),
        ),
        Experiment(
            *("clips", "Beyond the paper: how many clips", _rows((*CLIPS[:-1], OURS))),
            _CLAIMS_CLIPS,
        ),
        Experiment("ranks", "Beyond the paper: low rank", _rows((*RANKS, OURS)), _CLAIMS_RANKS),
        Experiment(
            "rates", "Beyond the paper: the learning rate", _rows((OURS, *RATES)), _CLAIMS_RATES
        ),
        Experiment(
            "beyond",
            "Beyond the paper: other characters, two of them, other speeds, two motions at once",
            _rows((OURS,)),
            _CLAIMS_BEYOND,
            scenes=SCENES,
        ),
    )
}

#: What ``all`` stands for: the paper's own.
PAPERS_OWN = tuple(n for n in EXPERIMENTS if n not in ("clips", "ranks", "rates", "beyond"))
