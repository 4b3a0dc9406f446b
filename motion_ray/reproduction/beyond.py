"""What is asked beyond the paper's tables: clips, ranks, rates, scenes; as data, as they are."""

from __future__ import annotations

from motion_ray.data.puppets.bodies import KINDS
from motion_ray.data.puppets.captions import with_article
from motion_ray.recipes.ablations import CLIPS, OURS, RANKS, RATES, SLOWER, Variant
from motion_ray.reproduction.claims import Bound, Contrast
from motion_ray.reproduction.experiment import (
    ACCURACY,
    COUNT,
    JUMPING,
    KICKING,
    TEMPO,
    Experiment,
    Row,
    Scene,
    rows_of,
    staged,
)

#: The clips show one person who does nothing else, at normal speed.
TWO, SLOWLY = Scene("two puppets", count=2), Scene("slowly", speed="slowly")
QUICKLY = Scene("quickly", speed="quickly")
WHILE_JUMPING = Scene("while jumping", also="jumping")
WHILE_KICKING = Scene("while kicking", also="kicking")
SCENES = (TWO, SLOWLY, QUICKLY, WHILE_JUMPING, WHILE_KICKING)
#: Those of the paper's figure 5; what its person eats meanwhile, puppets do with their legs.
SCENES_5 = (TWO, SLOWLY, WHILE_JUMPING, WHILE_KICKING)
MOSTLY = 0.5
_CLAIMS_SCENES = (
    *(
        Bound(
            f"the motion carries over to {with_article(kind)}, a kind that no clip shows: accuracy "
            f"above {MOSTLY:.0%}",
            ACCURACY,
            staged("ours", kind),
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
            staged("ours", scene.name),
            MOSTLY,
            above=True,
        )
        for scene in SCENES
    ),
    Bound(
        f"two puppets are seen where two are asked for: above {MOSTLY:.0%}",
        COUNT,
        staged("ours", TWO.name),
        MOSTLY,
        above=True,
    ),
    *(
        Contrast(
            f"asked for {also} at the same time, videos look more like it",
            score,
            {staged("ours", f"while {also}"): 1.0, "ours": -1.0},
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
            ("slowly than quickly", staged("ours", SLOWLY.name), staged("ours", QUICKLY.name)),
            ("slowly than as learned", staged("ours", SLOWLY.name), "ours"),
            ("as learned than quickly", "ours", staged("ours", QUICKLY.name)),
        )
    ),
)


(_OURS,) = rows_of((OURS,))
TUNE_A_VIDEO = Row("tune-a-video", "Tune-A-Video")
#: Accuracy while jumping is left out: the classifier does not see it in drawn clips either.
_CLAIMS_5 = tuple(
    Contrast(
        f"{text} than Tune-A-Video's (figure 5)",
        score,
        {staged("ours", scene.name): 1.0, staged("tune-a-video", scene.name): -1.0},
    )
    for text, score, scene in (
        ("of two puppets our videos show the motion more often", ACCURACY, TWO),
        ("of two puppets our videos show two more often", COUNT, TWO),
        ("asked for slowly, our videos show the motion more often", ACCURACY, SLOWLY),
        ("asked for kicking too, our videos show the motion more often", ACCURACY, WHILE_KICKING),
        ("asked for jumping too, our videos look more like it", JUMPING, WHILE_JUMPING),
    )
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


_DREAMBOOTH = Row("dreambooth", "DreamBooth", headline=True)
_SLOWER = tuple(Row(f"dreambooth-{v.name}", f"DreamBooth at {v.title}") for v in SLOWER)
#: Twice, too: of image customization the best is what section 4.1's claim is about, and with a
#: rate of its own DreamBooth may be better than as its paper has it.
_CLAIMS_SLOWER = tuple(
    claim
    for row in _SLOWER
    for claim in (
        Contrast(
            f"ours has a higher motion accuracy than {row.title}",
            ACCURACY,
            {"ours": 1.0, row.method: -1.0},
        ),
        *(
            Contrast(
                f"ours has at least twice the motion accuracy of {row.title}{where}",
                ACCURACY,
                {"ours": 1.0, row.method: -2.0},
                matched=bool(where),
            )
            for where in ("", ", at matched appearance")
        ),
        Contrast(
            f"{row.title} learns more than at its own: motion accuracy",
            ACCURACY,
            {row.method: 1.0, "dreambooth": -1.0},
        ),
    )
)

BEYOND = (
    Experiment(
        "clips",
        "Beyond the paper: how many clips",
        rows_of((*CLIPS[:-1], OURS)),
        _learns_more("ten clips teach", CLIPS[:-1]),
    ),
    Experiment(
        "ranks",
        "Beyond the paper: low rank",
        rows_of((*RANKS, OURS)),
        _learns_more("whole values learn", RANKS),
    ),
    Experiment(
        "rates",
        "Beyond the paper: the learning rate",
        rows_of((OURS, *RATES)),
        _learns_more("our learning rate teaches", RATES),
    ),
    Experiment(
        "slower",
        "Beyond the paper: DreamBooth at lower learning rates",
        (_DREAMBOOTH, *_SLOWER, _OURS),
        _CLAIMS_SLOWER,
    ),
    Experiment(
        "beyond",
        "Beyond the paper: other characters, two of them, other speeds, two motions at once",
        (_OURS,),
        _CLAIMS_SCENES,
        scenes=SCENES,
        kinds=True,
    ),
    Experiment(
        "fig5-scenes",
        "Beyond the paper: figure 5's scenes as numbers, Tune-A-Video and ours",
        (TUNE_A_VIDEO, _OURS),
        _CLAIMS_5,
        scenes=SCENES_5,
    ),
)
