"""The paper's tables and figures as data: whose rows, which numbers, what is claimed about them.

Numbers of table 2 and figure 7 are pictures in the text that this project was made from; of them
the statements survive, and those are what is tested. Numbers of table 1 are the paper's.
"""

from __future__ import annotations

from motion_ray.recipes.ablations import TABLE_2
from motion_ray.reproduction.beyond import BEYOND, TUNE_A_VIDEO
from motion_ray.reproduction.claims import Bound, Claim, Contrast
from motion_ray.reproduction.experiment import (
    ACCURACY,
    ALIGNMENT,
    APPEARANCE,
    BASE,
    COPYING,
    FIRST,
    LAST,
    NEAREST,
    Experiment,
    Row,
    rows_of,
)

NEAR_ZERO = 0.05
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
            "temporal layers with K/V copy half as much as with all spatial layers (section 4.2)",
            COPYING,
            {"spatial-all": 1.0, "ours": -2.0},
        ),
        Contrast(
            "with all spatial layers more is copied than with K/V: likeness to a training frame "
            "(table 2a)",
            NEAREST,
            {"spatial-all": 1.0, "ours": -1.0},
        ),
    ),
    "table2b": (
        Contrast(
            "K/V alone are not enough: temporal layers raise accuracy (table 2b)",
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

EXPERIMENTS: dict[str, Experiment] = {
    each.name: each
    for each in (
        Experiment(
            "table1", "Table 1: image customization methods", _TABLE_1, _CLAIMS_1, curves=True
        ),
        *(
            Experiment(name, _TITLES_2[name], rows_of(variants), _CLAIMS_2[name])
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
            (TUNE_A_VIDEO, _OURS),
            (
                Contrast(
                    "ours has a higher accuracy than Tune-A-Video (figure 5)",
                    ACCURACY,
                    {"ours": 1.0, "tune-a-video": -1.0},
                ),
            ),
        ),
        *BEYOND,
    )
}

#: What ``all`` stands for: the paper's own.
PAPERS_OWN = tuple(n for n, each in EXPERIMENTS.items() if each not in BEYOND)
