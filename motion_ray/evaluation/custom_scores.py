"""How well a customized motion transfers: is it recognised on kinds that the clips did not show?

The question of the paper's sections 1 and 4.1 at the size of the puppet world. The motion was
learned from clips of one kind; it is asked of the others by its token, and each video is held
against what the same prompt and seed give without the motion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motion_ray.customization.delta import MotionDelta
from motion_ray.data.puppets.bodies import KINDS
from motion_ray.data.puppets.folders import slug
from motion_ray.data.puppets.motions import NAMED_MOTIONS
from motion_ray.errors import ConfigError
from motion_ray.evaluation.base_scores import by_attribute
from motion_ray.evaluation.prompts import DOING, TOKEN
from motion_ray.evaluation.rows import RowFile, VideoRow
from motion_ray.evaluation.scene_prompts import ScenePrompt, balanced_prompts
from motion_ray.evaluation.scored_videos import Bench, OnProgress, score_generated
from motion_ray.evaluation.statistics import Share, share_of

AFTER, BEFORE = "with the motion", "without it"
CUSTOM_SEED = 11


@dataclass(frozen=True)
class CustomScores:
    """Shares of videos that show what was asked for, by attribute (motion, kind, colour, place).

    Attributes:
        motion: what should be recognised.
        after: with the delta.
        before: the same prompts and seeds without it; empty if not asked for.
        kinds: the motion with the delta, by kind.
        taken_for: what else was recognised with the delta, and how often.
        appearance: mean CLIP appearance with the delta.
        appearance_before: mean CLIP appearance without it, or None.
        measured_with: hashes of models and delta, and settings.
    """

    motion: str
    after: dict[str, Share]
    before: dict[str, Share]
    kinds: dict[str, Share]
    taken_for: dict[str, int]
    appearance: float
    appearance_before: float | None
    measured_with: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        shares = {
            name: {key: share.to_dict() for key, share in getattr(self, name).items()}
            for name in ("after", "before", "kinds")
        }
        others = ("motion", "taken_for", "appearance", "appearance_before", "measured_with")
        return {**{name: getattr(self, name) for name in others}, **shares}


def custom_prompts(
    motion: str, token: str, videos: int, trained_kind: str = "person"
) -> list[ScenePrompt]:
    """Prompts by token for the kinds that training did not show, equally often each.

    Args:
        motion: that the token stands for.
        token: V*.
        videos: how many prompts.
        trained_kind: who did it in the training clips, see :func:`kind_of`.

    Raises:
        ConfigError: no videos are asked for, or the motion is none of the world's.
    """
    if motion not in NAMED_MOTIONS:
        raise ConfigError(
            f"motion {motion!r}", "is none of the puppet world's", ", ".join(NAMED_MOTIONS)
        )
    unseen = [kind for kind in KINDS if kind != trained_kind]
    doing = DOING.replace(TOKEN, token)
    return balanced_prompts(videos, [motion], kinds=unseen, doing=doing, seed=CUSTOM_SEED)


def kind_of(template: str) -> str:
    """The kind of puppet that training captions name; a person if they name none."""
    return next((kind for kind in KINDS if kind in template.split()), "person")


def motion_of(name: str) -> str:
    """The motion of the world whose short form a delta's name is: ``"swinging-arms"``.

    Raises:
        ConfigError: there is none.
    """
    for motion in NAMED_MOTIONS:
        if slug(motion) == slug(name):
            return motion
    raise ConfigError(
        f"motion {name!r}",
        "is none of the puppet world's, so nobody knows what to recognise",
        f"say which one it is: {', '.join(NAMED_MOTIONS)}",
    )


def score_customized(
    bench: Bench,
    delta: MotionDelta,
    motion: str,
    prompts: Sequence[ScenePrompt],
    *,
    compare: bool = True,
    rows_file: Path | None = None,
    on_progress: OnProgress | None = None,
) -> CustomScores:
    """Generate a video for each prompt with the delta, and without it, and look what they show.

    Args:
        bench: the untouched base with the evaluators.
        delta: the motion; it is applied while the videos are made and taken off again.
        motion: that should be recognised.
        prompts: see :func:`custom_prompts`.
        compare: whether to generate the same without the delta too.
        rows_file: every video's row is kept here, and what is here already is not generated again.
        on_progress: told stage, done and total.

    Raises:
        DeltaError: the delta belongs to another base.
        RunFolderError: the rows file belongs to other models or settings, or cannot be written.
    """
    identity = {**bench.identity(), "delta": delta.sha256}
    rows = RowFile(rows_file, identity)
    with delta.applied(bench.backbone):
        after = score_generated(bench, prompts, rows, AFTER, on_progress)
    before = score_generated(bench, prompts, rows, BEFORE, on_progress) if compare else []
    return _summarize(motion, after, before, identity)


def _summarize(
    motion: str, after: Sequence[VideoRow], before: Sequence[VideoRow], identity: dict[str, Any]
) -> CustomScores:
    others = Counter(row.seen.motion for row in after if row.seen.motion != motion)
    kinds = dict.fromkeys(row.prompt.scene.kind for row in after)
    return CustomScores(
        motion=motion,
        after=by_attribute(after),
        before=by_attribute(before) if before else {},
        kinds={
            kind: share_of(r.seen.motion == motion for r in after if r.prompt.scene.kind == kind)
            for kind in kinds
        },
        taken_for=dict(others.most_common()),
        appearance=sum(row.seen.appearance for row in after) / max(1, len(after)),
        appearance_before=(
            sum(row.seen.appearance for row in before) / len(before) if before else None
        ),
        measured_with=identity,
    )
