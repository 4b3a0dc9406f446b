"""Looking at what was trained: the protocol of evaluation on every delta of every cell.

It begins when all cells are trained. Evaluators hold models of their own, so beside a training they
would need memory and cores of their own too; afterwards they get those of the training, and one
pass over all cells keeps every worker busy to the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from motion_ray.config import CustomizationConfig
from motion_ray.data.video import write_video
from motion_ray.evaluation.evaluated_motion import EvaluatedMotion
from motion_ray.evaluation.measurement import Measurement, Part
from motion_ray.evaluation.protocol import evaluate
from motion_ray.evaluation.tasks import Asked, Task, ask_all
from motion_ray.evaluation.workforce import OpenWorkforce, Workforce
from motion_ray.reproduction.cells import Cell
from motion_ray.reproduction.clips import CLIPS, SHOWN, Clips
from motion_ray.reproduction.evaluators import evaluators_of
from motion_ray.reproduction.experiment import staged
from motion_ray.reproduction.record import Learned, Record, Trained
from motion_ray.reproduction.scenes import Scenes, prompts_of

VIDEOS = "videos"
OnProgress = Callable[[str, int, int], None]
Shown = dict[str, list[tuple[str, Path]]]
"""Method to (prompt, file)."""


@dataclass(frozen=True)
class Look:
    """One delta of a cell, seen.

    Attributes:
        cell: itself.
        step: of the delta.
        final: whether it is the cell's result, not one on the way.
        rows: one a video.
    """

    cell: Cell
    step: int
    final: bool
    rows: tuple[Measurement, ...]


@dataclass
class Sights:
    """Everything that was seen of the cells.

    Attributes:
        looks: in the order of the cells.
        staged: rows of methods' results in other scenes, by row
            (:func:`~motion_ray.reproduction.experiment.staged`).
        drawn: rows of drawn clips of the same scenes, by scene.
        videos: a few of each method, for people.
    """

    looks: list[Look] = field(default_factory=list)
    staged: dict[str, list[Measurement]] = field(default_factory=dict)
    drawn: dict[str, list[Measurement]] = field(default_factory=dict)
    videos: Shown = field(default_factory=dict)


class Looker:
    """Asks evaluators about the cells of a reproduction, and keeps what they say.

    Args:
        clips: what was learned from.
        root: of the reproduction: ``evaluation/`` and ``videos/`` are in it.
        open_workforce: opens evaluators.
        on_progress: told what is looked at, videos done and their total.
        known: folder of rows that were measured elsewhere, or null.
        retry_failed: whether videos that could not be made are to be tried again.
    """

    def __init__(
        self,
        clips: Clips,
        root: Path,
        open_workforce: OpenWorkforce,
        on_progress: OnProgress,
        known: Path | None = None,
        *,
        retry_failed: bool = False,
    ) -> None:
        self._clips, self._root, self._told = clips, root, on_progress
        self._retry_failed = retry_failed
        self._evaluators = evaluators_of(
            *(clips.scale.settings, root, open_workforce, known), retry_failed=retry_failed
        )
        self._prompts = clips.scale.asked()
        #: Models and settings behind every row but those of inflated bases, by hash.
        self.measured_with: dict[str, Any] = {}

    @property
    def threshold(self) -> float | None:
        """Cosine that makes a copy; None if copying is not run. Known after :meth:`controls`."""
        return self.measured_with["copy threshold"]

    def missing(self, record: Record, scenes: Scenes, *, so_far: bool = False) -> int:
        """How many videos are to be measured, if no floor ends a cell early.

        Args:
            record: of the cells.
            scenes: as for :meth:`cells`.
            so_far: whether no cell is trained any more.
        """
        trained, _ = record.outcomes(so_far=True)
        waiting = [] if so_far else record.to_come()
        looks = sum(_looks_at(record.trials[cell].config) for cell in waiting)
        looks += sum(len(scenes.get(cell.method, ())) for cell in waiting)
        asked = looks * len(self._clips.scale.video_seeds)
        drawn = [] if trained or not waiting else self._drawn_in_all(scenes)
        missing = self.missing_of(trained, scenes) + self._evaluators[False].missing(drawn)
        return missing + asked * len(self._prompts)

    def missing_of(self, trained: Sequence[Trained], scenes: Scenes) -> int:
        """How many videos of cells that are trained are to be measured, and of controls.

        Args:
            trained: the cells.
            scenes: as for :meth:`cells`.
        """
        asked = {False: self._controls(), True: list[Asked]()}
        for inflated, every in asked.items():
            mine = [each for each in trained if each.config.inflate is inflated]
            every += self._plan(mine, scenes, inflated)[2]
        asked[False] += self._drawn_in_all(scenes) if trained else []
        return sum(self._evaluators[turned].missing(every) for turned, every in asked.items())

    def controls(self) -> list[Measurement]:
        """The base asked in words (floor), and real clips (ceiling, and control of copying)."""
        asked = self._controls()
        with self._evaluators[False].opened(asked) as force:
            self.measured_with = dict(force.measured_with)
            return self._rows(asked, False, "the base and real clips", force)

    def _controls(self) -> list[Asked]:
        scale = self._clips.scale
        motions = [self._clips.evaluated(motion) for motion in scale.motions]
        return [
            each
            for each in ask_all(motions, self._prompts, scale.video_seeds)
            if each.question.part is not Part.CUSTOMIZED
        ]

    def cells(self, trained: Sequence[Trained], scenes: Scenes | None = None) -> Sights:
        """Every delta of every cell, asked for by its token.

        Args:
            trained: the cells.
            scenes: other prompts for the results of some methods; each list is as long as the
                scale's and means the same in the same place. Cells that were trained elsewhere, and
                not asked there, are passed over: their deltas are not here.

        Raises:
            RunFolderError: the rows on disk belong to other models or settings.
            DeltaError: a delta is damaged.
        """
        sights = Sights()
        for inflated in (False, True):
            mine = [each for each in trained if each.config.inflate is inflated]
            drawn = {} if inflated or not trained else self._drawn(scenes or {})
            if not mine and not drawn:
                continue
            asked, in_scenes, every = self._plan(mine, scenes or {}, inflated)
            every += [each for questions in drawn.values() for each in questions]
            with self._evaluators[inflated].opened(every) as force:
                sights.looks += self._looks(asked, inflated, force)
                for row, questions in in_scenes.items():
                    sights.staged[row] = self._rows(questions, inflated, row, force)
                for name, questions in drawn.items():
                    what = f"drawn clips, {name}"
                    sights.drawn[name] = self._rows(questions, inflated, what, force)
                sights.videos |= self._film(mine, force)
        order = {each.cell: number for number, each in enumerate(trained)}
        sights.looks.sort(key=lambda look: (order[look.cell], look.step))
        return sights

    def _plan(
        self, trained: Sequence[Trained], scenes: Scenes, inflated: bool
    ) -> tuple[list[tuple[Trained, int, list[Asked]]], dict[str, list[Asked]], list[Asked]]:
        """Questions by cell and step, by row in a scene, and all together."""
        asked = [(each, step, self._asked(each, delta)) for each, step, delta in _deltas(trained)]
        in_scenes = self._in_scenes(trained, scenes, inflated)
        every = [each for _, _, questions in asked for each in questions]
        every += [each for questions in in_scenes.values() for each in questions]
        return asked, in_scenes, every

    def _looks(
        self, asked: Sequence[tuple[Trained, int, list[Asked]]], inflated: bool, force: Workforce
    ) -> list[Look]:
        every = [question for _, _, questions in asked for question in questions]
        rows = iter(self._rows(every, inflated, "what was learned", force))
        return [
            Look(
                each.cell,
                step,
                step == max(each.deltas),
                tuple(next(rows) for _ in questions),
            )
            for each, step, questions in asked
        ]

    def _in_scenes(
        self, trained: Sequence[Trained], scenes: Scenes, inflated: bool
    ) -> dict[str, list[Asked]]:
        seeds, found = self._clips.scale.video_seeds, dict[str, list[Asked]]()
        mine = [each for each in trained if each.cell.method in scenes]
        away = any(not each.here for each in mine)
        known = self._evaluators[inflated].looked_at() if away else set[object]()
        for each in mine:
            learned = self._described(each, each.result)
            for name, prompts in scenes[each.cell.method].items():
                asked = ask_all([learned], prompts, seeds, controls=False)
                if each.here or all(one.question.key in known for one in asked):
                    found.setdefault(staged(each.cell.method, name), []).extend(asked)
        return found

    def _drawn_in_all(self, scenes: Scenes) -> list[Asked]:
        return [each for drawn in self._drawn(scenes).values() for each in drawn]

    def _drawn(self, scenes: Scenes) -> dict[str, list[Asked]]:
        """Real clips of every scene: what the evaluators see where it is shown as it should be."""
        seeds = self._clips.scale.video_seeds
        motions = [self._clips.evaluated(motion) for motion in self._clips.scale.motions]
        return {
            name: [a for a in ask_all(motions, prompts, seeds) if a.question.part is Part.REAL]
            for name, prompts in prompts_of(scenes).items()
        }

    def _film(self, trained: Sequence[Trained], force: Workforce) -> Shown:
        """A few videos of the first cell of each method, all of one motion and seed; written if
        missing.

        A cell that was trained elsewhere is passed over, unless its videos were brought along.
        """
        found: Shown = {}
        tasks: list[Task] = []
        files: dict[str, list[Path]] = {}
        first = (self._clips.scale.motions[0], self._clips.scale.headline_seeds[0])
        for each in trained:
            if (each.cell.motion, each.cell.seed) != first:
                continue
            asked = self._asked(each, each.result)
            seed = self._clips.scale.video_seeds[0]
            shown = tuple(a.question for a in asked if a.question.seed == seed)[:SHOWN]
            folder = self._root / VIDEOS / f"{each.cell.name}-{each.result.sha256[:12]}"
            made = [folder / f"{number}.mp4" for number in range(len(shown))]
            there = all(file.exists() for file in made)
            if not there and not each.here:
                continue
            found[each.cell.method] = [(q.text, f) for q, f in zip(shown, made, strict=True)]
            if not there:
                files[each.result.sha256] = made
                tasks.append(Task(asked[0].motion, shown))
        for task, videos in force.film(tasks):
            for file, frames in zip(files[task.motion.delta], videos, strict=True):
                file.parent.mkdir(parents=True, exist_ok=True)
                write_video(file, frames, self._clips.scale.settings.sampling.fps)
        return found

    def _rows(
        self, asked: list[Asked], inflated: bool, what: str, force: Workforce
    ) -> list[Measurement]:
        return evaluate(
            asked,
            force.work,
            self._evaluators[inflated].folder,
            force.measured_with,
            batch_size=force.batch_size,
            retry_failed=self._retry_failed,
            on_progress=lambda done, total: self._told(what, done, total),
        )

    def _asked(self, trained: Trained, delta: Learned) -> list[Asked]:
        motion, scale = self._described(trained, delta), self._clips.scale
        return ask_all([motion], self._prompts, scale.video_seeds, controls=False)

    def _described(self, trained: Trained, delta: Learned) -> EvaluatedMotion:
        # The motion's own name, whatever the cell's: videos of two methods are pairs by it.
        clips = trained.config.motion_clips or CLIPS
        return replace(
            self._clips.evaluated(trained.cell.motion, clips),
            reference=delta.reference,
            delta=delta.sha256,
            token=delta.token,
            recipe=delta.recipe,
            step=delta.step,
            training_seed=trained.cell.seed,
        )


def _looks_at(config: CustomizationConfig) -> int:
    """How many deltas a cell gives, if no floor ends it early."""
    on_the_way = (config.max_steps - 1) // config.validation.every
    return 1 + (on_the_way if config.validation.publish else 0)


def _deltas(trained: Sequence[Trained]) -> list[tuple[Trained, int, Learned]]:
    """Every delta of cells, with its step."""
    return [(each, step, delta) for each in trained for step, delta in each.deltas.items()]
