"""A whole reproduction: train what is missing, look at it, and gather what was found.

Called again with the same arguments it goes on where it was: finished cells are not trained again,
and videos that were measured are not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from motion_ray.errors import MotionRayError
from motion_ray.evaluation.clip import load_image_text_encoder
from motion_ray.evaluation.scoreboard import Value
from motion_ray.locks import only_process
from motion_ray.reproduction.cells import cells_of
from motion_ray.reproduction.claims import Key, Observed, Verdict
from motion_ray.reproduction.clips import DRAWN, Clips
from motion_ray.reproduction.experiment import Experiment
from motion_ray.reproduction.findings import Findings
from motion_ray.reproduction.kept import Kept, bring
from motion_ray.reproduction.looking import Looker, OnProgress, Shown
from motion_ray.reproduction.record import Record, Trained, open_record
from motion_ray.reproduction.retraining import Survival, survivals_of
from motion_ray.reproduction.scale import Scale
from motion_ray.reproduction.scenes import scene_scores, scenes_of
from motion_ray.reproduction.verdicts import observe, verdicts_of
from motion_ray.reproduction.workplace import Workplace
from motion_ray.sweeps.trials import Resolve


@dataclass(frozen=True)
class Reproduction:
    """What a report is made of.

    Attributes:
        scale: at which it was done.
        experiments: in the order of the report.
        findings: everything that was seen.
        videos: method to (prompt, file) of its first cell.
        measured_with: models and settings behind every row, by hash.
        trained: cells, in order.
        taught: files of a few clips of the first motion.
    """

    scale: Scale
    experiments: tuple[Experiment, ...]
    findings: Findings
    videos: Shown
    measured_with: dict[str, object]
    trained: tuple[Trained, ...] = ()
    taught: tuple[Path, ...] = ()

    @cached_property
    def verdicts(self) -> dict[str, list[Verdict]]:
        """About every claim, by experiment."""
        return verdicts_of(self.findings, self.experiments, self._observed)

    @cached_property
    def survivals(self) -> list[Survival]:
        """Which differences other trainings would show too."""
        return survivals_of(self.experiments, self._observed)

    @cached_property
    def _observed(self) -> dict[Key, Observed | str]:
        return observe(self.findings, self.experiments)

    @property
    def failed_videos(self) -> int:
        """How many videos could not be made; they count as not showing the motion."""
        found = self.findings
        seen = [*found.controls, *(row for look in found.looks for row in look.rows)]
        scenes = (*found.staged.values(), *found.drawn.values())
        seen += [row for rows in scenes for row in rows]
        return sum(bool(row.failure) for row in seen)

    @property
    def seconds(self) -> float:
        """Of training, all cells together."""
        return sum(each.seconds for each in self.trained)


def reproduce(
    experiments: Sequence[Experiment],
    scale: Scale,
    root: Path,
    workplace: Workplace,
    *,
    resolve: Resolve,
    on_record: Callable[[Record, int], None],
    on_trained: Callable[[int], None],
    on_progress: OnProgress,
    retry_failed: bool = False,
    so_far: bool = False,
    kept: Kept | None = None,
) -> Reproduction:
    """Do everything that some tables need.

    Args:
        experiments: tables and figures.
        scale: at which.
        root: an existing folder for everything: clips, runs, store, rows, videos.
        workplace: where the work is done.
        resolve: makes the paths of a config absolute.
        on_record: told which cells there are and how many videos are to be measured, before
            anything is done.
        on_trained: told how many videos are to be measured once all cells are trained: fewer, if
            a floor ended some early.
        on_progress: told what is looked at, videos done and their total.
        retry_failed: whether cells that could not be trained, and videos that could not be made,
            are to be tried again.
        so_far: train nothing more; what is not trained is told as to come.
        kept: of another reproduction; its cells are not trained and its videos not measured again.

    Raises:
        MotionRayError: bad data, a full disk, a folder that was made at another scale, one that
            another process works in, or nothing is trained so far.
    """
    clips = Clips(scale, root / DRAWN)
    clips.check()
    scenes, kept = scenes_of(experiments, scale), kept or Kept()
    with only_process(root, "--out"):
        bring(kept, root)  # before clips are drawn
        cells = cells_of(experiments, clips)
        again = retry_failed and not so_far  # else a result would become one that is to come
        record = open_record(root, cells, clips, resolve, retry_failed=again, ended=kept.cells)
        looker = Looker(
            *(clips, root, workplace.open_workforce, on_progress, kept.folder),
            retry_failed=retry_failed,
        )
        to_come = record.to_come() if so_far else []
        if to_come and len(to_come) == len(cells):
            rule = "nothing is trained yet"
            raise MotionRayError("--so-far", rule, "give the same command without it")
        on_record(record, looker.missing(record, scenes, so_far=so_far))
        controls = looker.controls()  # first: a model that cannot be loaded is known at once
        if not so_far:
            workplace.train(record)
        trained, failed = record.outcomes(so_far=so_far)
        on_trained(looker.missing_of(trained, scenes))
        sights = looker.cells(trained, scenes)
    findings = Findings(
        *(sights.looks, controls, failed, looker.threshold, sights.staged, sights.drawn),
        _scores(scale, looker) if scenes else {},
        to_come,
    )
    return Reproduction(
        scale,
        tuple(experiments),
        findings,
        sights.videos,
        looker.measured_with,
        tuple(trained),
        clips.shown(),
    )


def _scores(scale: Scale, looker: Looker) -> dict[str, Value]:
    encoder = load_image_text_encoder(scale.settings.clip_model)
    return scene_scores(looker.measured_with["classes"], encoder)
