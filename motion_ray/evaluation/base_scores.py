"""How good a base model of the puppet world is: does a video show what its prompt says?

Scored by the evaluators on prompts whose scenes the base has not seen, between a ceiling (the same
scenes drawn and passed through the base's VAE) and a floor (each video held against the prompt of
another). Held-out motions named in words are the base's zero-shot accuracy of the paper's
supplement D: near chance, or the motion was not held out.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motion_ray.data.puppets.motions import HELD_OUT_MOTIONS
from motion_ray.evaluation.recognition import ATTRIBUTES, agrees
from motion_ray.evaluation.rows import RowFile, VideoRow
from motion_ray.evaluation.scene_prompts import ScenePrompt, balanced_prompts
from motion_ray.evaluation.scored_videos import Bench, OnProgress, score_generated, score_real
from motion_ray.evaluation.statistics import Share, share_of

GENERATED, REAL, NAMED = "generated videos", "real clips", "held-out motions in words"
NAMED_SEED = 7  # other scenes and noises than the base motions have


@dataclass(frozen=True)
class Confusion:
    """How often a motion was taken for another."""

    asked: str
    seen: str
    count: int


@dataclass(frozen=True)
class BaseScores:
    """Shares of videos that show what was asked for, by attribute (motion, kind, colour, place).

    Attributes:
        generated: by the base.
        ceiling: real clips through its VAE.
        floor: generated videos held against the prompts of others; what guessing gets.
        motions: of generated videos, by motion.
        real_motions: of real clips, by motion.
        named: held-out motions named in words, by motion; empty if not asked for.
        confusions: of generated videos, the most frequent first.
        appearance: mean CLIP appearance of generated videos.
        measured_with: hashes of models, and settings.
    """

    generated: dict[str, Share]
    ceiling: dict[str, Share]
    floor: dict[str, Share]
    motions: dict[str, Share]
    real_motions: dict[str, Share]
    named: dict[str, Share]
    confusions: tuple[Confusion, ...]
    appearance: float
    measured_with: dict[str, Any]

    @property
    def named_in_all(self) -> Share:
        """All held-out motions named in words together."""
        shares = self.named.values()
        return Share(sum(s.right for s in shares), sum(s.of for s in shares))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        shares = {
            name: {key: share.to_dict() for key, share in getattr(self, name).items()}
            for name in ("generated", "ceiling", "floor", "motions", "real_motions", "named")
        }
        return {
            **shares,
            "confusions": [vars(each) for each in self.confusions],
            "appearance": self.appearance,
            "measured_with": self.measured_with,
        }


def score_base(
    bench: Bench,
    prompts: Sequence[ScenePrompt],
    *,
    named_prompts: Sequence[ScenePrompt] = (),
    ceiling: bool = True,
    rows_file: Path | None = None,
    on_progress: OnProgress | None = None,
) -> BaseScores:
    """Generate a video for each prompt and compare it with what was asked for.

    The same bench and prompts give the same scores; a video depends on its own seed only.

    Args:
        bench: base model, evaluators and sampling.
        prompts: see :func:`~motion_ray.evaluation.scene_prompts.balanced_prompts`; 48 give a rough
            idea (an interval of about 25 points), 500 a figure to report.
        named_prompts: of held-out motions, see :func:`held_out_in_words`.
        ceiling: whether to score real clips through the VAE too.
        rows_file: every video's row is kept here, and what is here already is not generated again.
        on_progress: told stage, done and total.

    Raises:
        RunFolderError: the rows file belongs to other models or settings, or cannot be written.
        ValueError: the classifier does not know a motion that is asked for.
    """
    rows = RowFile(rows_file, bench.identity())
    made = score_generated(bench, prompts, rows, GENERATED, on_progress)
    real = score_real(bench, prompts, rows, REAL, on_progress) if ceiling else []
    named = score_generated(bench, named_prompts, rows, NAMED, on_progress)
    return summarize(made, real, named, bench.identity())


def held_out_in_words(each: int, motions: Sequence[str] = HELD_OUT_MOTIONS) -> list[ScenePrompt]:
    """Prompts that name motions which the base has never seen, ``each`` of every motion."""
    if not each:
        return []
    return balanced_prompts(each * len(motions), motions, seed=NAMED_SEED)


def summarize(
    made: Sequence[VideoRow],
    real: Sequence[VideoRow],
    named: Sequence[VideoRow],
    measured_with: Mapping[str, Any],
) -> BaseScores:
    """All tables from rows alone."""
    mistakes = Counter(
        (row.prompt.scene.motion, row.seen.motion)
        for row in made
        if not agrees(row.seen, row.prompt.scene, "motion")
    )
    return BaseScores(
        generated=by_attribute(made),
        ceiling=by_attribute(real),
        floor=by_attribute(shuffled(made)),
        motions=by_motion(made),
        real_motions=by_motion(real),
        named=by_motion(named),
        confusions=tuple(Confusion(*pair, n) for pair, n in mistakes.most_common()),
        appearance=sum(row.seen.appearance for row in made) / max(1, len(made)),
        measured_with=dict(measured_with),
    )


def by_attribute(rows: Sequence[VideoRow]) -> dict[str, Share]:
    """Share of videos that show what was asked for, for each attribute."""
    return {
        name: share_of(agrees(row.seen, row.prompt.scene, name) for row in rows)
        for name in ATTRIBUTES
    }


def by_motion(rows: Sequence[VideoRow]) -> dict[str, Share]:
    """Share of videos that show their motion, for each motion that was asked for."""
    motions = dict.fromkeys(row.prompt.scene.motion for row in rows)
    return {
        motion: share_of(
            row.seen.motion == motion for row in rows if row.prompt.scene.motion == motion
        )
        for motion in sorted(motions)
    }


def shuffled(rows: Sequence[VideoRow]) -> list[VideoRow]:
    """Each video with the prompt of another; none if there is only one."""
    if len(rows) < 2:
        return []
    order = list(range(len(rows)))
    rng = random.Random("floor")
    while any(other == own for own, other in enumerate(order)):
        rng.shuffle(order)
    return [
        VideoRow(row.part, row.index, rows[other].prompt, row.seen)
        for row, other in zip(rows, order, strict=True)
    ]
