"""Looking at what was trained: the protocol of evaluation on every delta of every cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from motion_ray.backbones.inflated import PREFIX
from motion_ray.data.video import write_video
from motion_ray.evaluation.evaluated_motion import EvaluatedMotion
from motion_ray.evaluation.evaluator import Evaluator, open_evaluator
from motion_ray.evaluation.measurement import Measurement, Part
from motion_ray.evaluation.protocol import evaluate, in_process
from motion_ray.evaluation.tasks import Asked, ask_all
from motion_ray.generation import VideoGenerator
from motion_ray.reproduction.cells import Cell
from motion_ray.reproduction.clips import CLIPS, Clips
from motion_ray.reproduction.training import Trained
from motion_ray.store import DeltaStore

SHOWN = 4  # videos of each cell that a report shows
OnProgress = Callable[[str, int, int], None]


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


class Looker:
    """Evaluators around each kind of base, opened when they are needed and kept.

    Args:
        clips: what was learned from.
        root: of the reproduction: ``store/``, ``evaluation/`` and ``videos/`` are in it.
        device: null takes the GPU if there is one.
        on_progress: told what is looked at, videos done and their total.
    """

    def __init__(
        self, clips: Clips, root: Path, device: str | None, on_progress: OnProgress
    ) -> None:
        self._clips, self._root, self._device, self._told = clips, root, device, on_progress
        self._prompts = clips.scale.asked()
        self._evaluators: dict[bool, Evaluator] = {}

    def measured_with(self) -> dict[str, object]:
        """Models and settings behind every row but those of inflated bases, by hash."""
        return dict(self._evaluator(inflated=False).measured_with())

    @property
    def threshold(self) -> float | None:
        """Cosine that makes a copy; None if copying is not run."""
        detector = self._evaluator(inflated=False).examiner.detector
        return None if detector is None else detector.threshold

    def cell(self, trained: Trained) -> list[Look]:
        """Every delta of a cell, asked for by its token.

        Raises:
            RunFolderError: the rows on disk belong to other models or settings.
            DeltaError: a delta is damaged.
        """
        last = max(trained.deltas)
        found = []
        for step, name in trained.deltas.items():
            motion = self._described(trained, name)
            asked = ask_all([motion], self._prompts, self._clips.scale.video_seeds, controls=False)
            rows = self._rows(asked, trained.config.inflate, f"{trained.cell.name} step {step}")
            found.append(Look(trained.cell, step, step == last, tuple(rows)))
        return found

    def controls(self, motion: str) -> list[Measurement]:
        """The base asked in words (floor), and real clips (ceiling, and control of copying)."""
        every = ask_all(
            [self._clips.evaluated(motion)], self._prompts, self._clips.scale.video_seeds
        )
        asked = [each for each in every if each.question.part is not Part.CUSTOMIZED]
        return self._rows(asked, False, f"{motion} without a delta")

    def videos(self, trained: Trained) -> list[tuple[str, Path]]:
        """A few videos of a cell's result for people, as (prompt, file); written if missing."""
        evaluator = self._evaluator(trained.config.inflate)
        delta = DeltaStore(self._root / "store").load(trained.deltas[max(trained.deltas)])
        phrase, token = self._target(trained).target.phrase, delta.header.token
        prompts = [each.prompt.with_token(token, phrase) for each in self._prompts.prompts[:SHOWN]]
        folder = self._root / "videos" / f"{trained.cell.name}-{delta.sha256[:12]}"
        files = [folder / f"{number}.mp4" for number in range(len(prompts))]
        if not all(file.exists() for file in files):
            settings = evaluator.settings
            generator = VideoGenerator(
                evaluator.backbone, settings.sampling, settings.clips, settings.precision
            )
            seeds = [self._clips.scale.video_seeds[0]] * len(prompts)
            with delta.applied(evaluator.backbone):
                made = generator.generate(prompts, seeds)
            folder.mkdir(parents=True, exist_ok=True)
            for file, video in zip(files, made, strict=True):
                write_video(file, video.frames, video.fps)
        return list(zip(prompts, files, strict=True))

    def _rows(self, asked: list[Asked], inflated: bool, what: str) -> list[Measurement]:
        evaluator = self._evaluator(inflated)
        return evaluate(
            asked,
            in_process(evaluator),
            self._root / "evaluation" / ("inflated" if inflated else "base"),
            evaluator.measured_with(),
            batch_size=evaluator.settings.batch_size,
            on_progress=lambda done, total: self._told(what, done, total),
        )

    def _target(self, trained: Trained) -> EvaluatedMotion:
        return self._clips.evaluated(trained.cell.motion, trained.config.motion_clips or CLIPS)

    def _described(self, trained: Trained, name: str) -> EvaluatedMotion:
        # The motion's own name, whatever the cell's: videos of two methods are pairs by it.
        record = DeltaStore(self._root / "store").resolve(name)
        return replace(
            self._target(trained),
            reference=record.reference,
            delta=record.sha256,
            token=record.token,
            recipe=record.recipe,
            step=record.step,
            training_seed=trained.cell.seed,
        )

    def _evaluator(self, inflated: bool) -> Evaluator:
        if inflated not in self._evaluators:
            settings = self._clips.scale.settings
            if inflated:
                settings = replace(settings, base=f"{PREFIX}{settings.base}")
            store = str(self._root / "store")
            self._evaluators[inflated] = open_evaluator(settings, store, self._device)
        return self._evaluators[inflated]
