"""The protocol with real, very small models: questions, videos, rows, resuming, failures."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from motion_ray.config import ClipConfig
from motion_ray.customization.delta import MotionDelta
from motion_ray.data.clips import content_hash, load_motion_folder
from motion_ray.data.puppets.bodies import COLOURS, KINDS
from motion_ray.data.puppets.captions import appearance_phrase
from motion_ray.data.puppets.places import PLACES
from motion_ray.data.puppets.world import PuppetScene
from motion_ray.errors import BaseModelError, ConfigError, DeltaError, DeviceError, FolderBusyError
from motion_ray.evaluation.clip import appearance_score
from motion_ray.evaluation.evaluated_motion import (
    EvaluatedMotion,
    Target,
    describe_motions,
    read_targets,
)
from motion_ray.evaluation.evaluator import (
    NOT_RUN,
    EvaluationSettings,
    Evaluator,
    open_evaluator,
)
from motion_ray.evaluation.examiner import SHUFFLE_SEED
from motion_ray.evaluation.measurement import Measurement, Part, Question, Scores
from motion_ray.evaluation.prompt_list import PromptList, load_prompt_list
from motion_ray.evaluation.protocol import evaluate, in_process
from motion_ray.evaluation.tasks import Task, ask_all, batches
from motion_ray.evaluation.training_clips import read_clips
from motion_ray.generation import VideoGenerator
from motion_ray.locks import only_process
from motion_ray.store import DeltaStore
from tests.deltas import changed, header
from tests.evaluation.fake_evaluators import build_tiny_classifier

CLIPS = ClipConfig(frames=4, height=32, width=32)


@dataclass(frozen=True)
class Mosaic:
    """A descriptor of frames that can be computed by hand: colours of squares, normalised."""

    name: str = "mosaic"
    sha256: str = "00" * 32
    threshold: float = 0.999

    def embed(self, frames: Tensor) -> Tensor:
        squares = functional.avg_pool2d(frames.float() - 128, 8)
        return functional.normalize(squares.flatten(1), dim=-1)


@dataclass(frozen=True)
class Setting:
    evaluator: Evaluator
    store: str
    motions: list[EvaluatedMotion]
    prompts: PromptList


@pytest.fixture(scope="module")
def setting(
    tiny_bases: dict[str, Path],
    tiny_motion: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Setting:
    root = tmp_path_factory.mktemp("evaluation")
    settings = EvaluationSettings(
        base=str(tiny_bases["v_prediction"]),
        classifier=str(build_tiny_classifier(root / "classifier")),
        copy_detector=NOT_RUN,
        clips=CLIPS,
        batch_size=3,
    )
    settings = replace(settings, sampling=settings.sampling.model_copy(update={"steps": 1}))
    evaluator = open_evaluator(settings, str(root / "store"), "cpu")
    evaluator.examiner = replace(evaluator.examiner, detector=Mosaic())
    clips = load_motion_folder(tiny_motion["motion"]).clips
    head = header(
        evaluator.backbone,
        name="dabbing",
        sources={clip.path.name: content_hash(clip.path) for clip in clips},
        config={"seed": 5, "motion": str(tiny_motion["motion"])},
    )
    store = DeltaStore(root / "store")
    store.publish(MotionDelta(head, changed(evaluator.backbone)), "dabbing")
    motions = describe_motions(store, ["dabbing"], {})
    listed = load_prompt_list("puppet")
    return Setting(
        evaluator, str(root / "store"), motions, replace(listed, prompts=listed.prompts[:2])
    )


def run(setting: Setting, out: Path, **options: bool) -> list[Measurement]:
    asked = ask_all(setting.motions, setting.prompts, [0, 1])
    return evaluate(
        asked,
        in_process(setting.evaluator),
        out,
        setting.evaluator.measured_with(),
        batch_size=3,
        **options,  # type: ignore[arg-type]
    )


def video_of(setting: Setting, question: Question) -> Tensor:
    """What the delta makes of a question, alone."""
    evaluator = setting.evaluator
    generator = VideoGenerator(evaluator.backbone, evaluator.settings.sampling, CLIPS)
    with DeltaStore(setting.store).load("dabbing").applied(evaluator.backbone):
        return generator.generate([question.text], [question.seed])[0].frames


def training_of(folder: Path) -> list[Tensor]:
    return read_clips(load_motion_folder(folder).clips, CLIPS)


def check_nearest(scores: Scores, video: Tensor, training: Sequence[Tensor], margin: float) -> None:
    """Both nearest frames are those of every pair of frames held side by side."""
    frames = [
        (clip, at, frame) for clip, each in enumerate(training) for at, frame in enumerate(each)
    ]
    embed = Mosaic().embed
    cosines = {
        (number, clip, at): float(embed(own[None])[0] @ embed(frame[None])[0])
        for number, own in enumerate(video)
        for clip, at, frame in frames
    }
    first = {where: cosine for where, cosine in cosines.items() if where[2] == 0}
    for found, among in ((scores.copy_any, cosines), (scores.copy_first, first)):
        assert found is not None
        assert found.score == pytest.approx(max(among.values()), abs=margin)
        where = (found.frame, found.clip, found.clip_frame)
        assert among[where] == pytest.approx(found.score, abs=margin)
    assert max(cosines.values()) > max(first.values()) + 2 * margin  # else the two could be one


@pytest.fixture(scope="module")
def rows(setting: Setting, tmp_path_factory: pytest.TempPathFactory) -> list[Measurement]:
    return run(setting, tmp_path_factory.mktemp("rows"))


# --- questions ------------------------------------------------------------------------------------


def test_every_prompt_is_asked_with_every_seed_and_the_controls_too(setting: Setting) -> None:
    asked = ask_all(setting.motions, setting.prompts, [0, 1, 2])
    parts = Counter(each.question.part for each in asked)
    assert parts == {Part.CUSTOMIZED: 6, Part.BASE: 6, Part.REAL: 2}
    first = asked[0].question
    assert first.text == "a green person doing the pll in the forest"
    assert first.appearance_text == "a green person in the forest"
    assert first.natural_text == "a green person dabbing in the forest"
    assert (first.reference, first.step, first.training_seed) == ("dabbing@1", 300, 5)
    base = next(each.question for each in asked if each.question.part is Part.BASE)
    assert base.text == first.natural_text and base.delta == ""
    assert len(ask_all(setting.motions, setting.prompts, [0], controls=False)) == 2


def test_two_trainings_of_one_motion_share_their_controls(setting: Setting) -> None:
    again = replace(setting.motions[0], reference="dabbing@2", delta="00" * 32, training_seed=6)
    asked = ask_all([setting.motions[0], again], setting.prompts, [0])
    parts = Counter(each.question.part for each in asked)
    assert parts == {Part.CUSTOMIZED: 4, Part.BASE: 2, Part.REAL: 2}
    tasks = batches(asked, 8)
    assert [len(task.questions) for task in tasks] == [2, 2, 2, 2]
    assert all(len({q.part for q in task.questions}) == 1 for task in tasks)


def test_questions_without_a_delta_stay_with_their_motion(setting: Setting) -> None:
    """Drawn clips of two motions follow each other; a batch of both would draw one of them."""
    [dabbing] = setting.motions
    other = replace(
        dabbing, name="drumming", target=dabbing.target.model_copy(update={"label": "drumming"})
    )
    asked = ask_all([replace(dabbing, delta=""), replace(other, delta="")], setting.prompts, [0])
    real = [each for each in asked if each.question.part is Part.REAL]
    tasks = batches(real, 3)
    assert [[q.label for q in task.questions] for task in tasks] == [
        ["dabbing"] * 2,
        ["drumming"] * 2,
    ]
    assert [task.motion.target.label for task in tasks] == ["dabbing", "drumming"]


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_useless_seeds_are_refused(setting: Setting, seeds: list[int]) -> None:
    with pytest.raises(ConfigError, match="--seeds"):
        ask_all(setting.motions, setting.prompts, seeds)


# --- rows -----------------------------------------------------------------------------------------


def test_rows_hold_what_the_metrics_say_of_the_very_video(
    setting: Setting, rows: list[Measurement]
) -> None:
    [row] = [r for r in rows if r.question.part is Part.CUSTOMIZED and r.question.prompt == 1][1:]
    evaluator, scores = setting.evaluator, row.scores
    assert scores is not None and row.question.seed == 1
    video = video_of(setting, row.question)
    encoder, classifier = evaluator.examiner.encoder, evaluator.examiner.classifier
    assert scores.appearance == pytest.approx(
        appearance_score(encoder, [video], ["a blue robot in the desert"]), abs=1e-5
    )
    assert scores.alignment == pytest.approx(
        appearance_score(encoder, [video], ["a blue robot dabbing in the desert"]), abs=1e-5
    )
    chances = classifier.probabilities(video[None])[0]
    assert scores.probabilities == pytest.approx(chances.tolist(), abs=1e-4)
    assert scores.said == classifier.labels[int(chances.argmax())]
    order = torch.randperm(4, generator=torch.Generator().manual_seed(SHUFFLE_SEED))
    for said, other in (
        (scores.said_reversed, video.flip(0)),
        (scores.said_shuffled, video[order]),
    ):
        answer = classifier.probabilities(other[None])[0]
        assert said == classifier.labels[int(answer.argmax())]
        assert float((answer - chances).abs().max()) > 0.01  # the order of frames matters here
    looks = list(itertools.product(KINDS, COLOURS, PLACES))
    phrases = [appearance_phrase(PuppetScene(*look, "waving")) for look in looks]
    fits = encoder.similarities(video, phrases).mean(0)
    seen = (scores.seen_kind, scores.seen_colour, scores.seen_place)
    assert seen == looks[int(fits.argmax())]


def test_copies_are_looked_for_in_the_training_clips(
    setting: Setting, rows: list[Measurement], tiny_motion: dict[str, Path]
) -> None:
    folder = setting.motions[0].target.training
    assert folder == str(tiny_motion["motion"])
    row = next(r for r in rows if r.question.part is Part.CUSTOMIZED)
    assert row.scores is not None
    # A pixel may be rounded otherwise where a video is made alone.
    video, training = video_of(setting, row.question), training_of(tiny_motion["motion"])
    check_nearest(row.scores, video, training, 1e-3)
    assert row.scores.fidelity is not None and -1 <= row.scores.fidelity <= 1


def test_the_base_is_left_as_it_was(setting: Setting, rows: list[Measurement]) -> None:
    assert len(rows) == 10
    base = [r for r in rows if r.question.part is Part.BASE]
    generator = VideoGenerator(
        setting.evaluator.backbone, setting.evaluator.settings.sampling, CLIPS
    )
    video = generator.generate([base[0].question.text], [0])[0].frames
    said = setting.evaluator.examiner.classifier.probabilities(video[None])[0].tolist()
    assert base[0].scores and base[0].scores.probabilities == pytest.approx(said, abs=1e-4)


def test_a_killed_evaluation_goes_on_with_what_is_missing(
    setting: Setting, rows: list[Measurement], tmp_path: Path
) -> None:
    asked = ask_all(setting.motions, setting.prompts, [0, 1])
    done: list[int] = []

    def killed(tasks: Sequence[Task]) -> Iterator[list[Measurement]]:
        for number, task in enumerate(tasks):
            if number == 2:
                raise KeyboardInterrupt
            yield setting.evaluator.work(task)

    measured_with = setting.evaluator.measured_with()
    with pytest.raises(KeyboardInterrupt):
        evaluate(asked, killed, tmp_path, measured_with, batch_size=3)
    found = evaluate(
        asked,
        in_process(setting.evaluator),
        tmp_path,
        measured_with,
        batch_size=3,
        on_progress=lambda now, total: done.append(now),
    )
    assert done[0] == 4 and done[-1] == len(asked)  # batches of 3 and 1 were there
    # The very same rows, in batches of other company; up to rounding, by which kernels differ.
    for one, other in zip(found, rows, strict=True):
        assert one.question == other.question and one.scores and other.scores
        assert one.scores.embedding == pytest.approx(other.scores.embedding, abs=1e-4)


@dataclass
class Fragile(Evaluator):
    """Its generator has no memory for one of the seeds."""

    def videos(self, task: Task) -> Sequence[Tensor]:
        if any(q.seed == 1 and q.part is Part.BASE for q in task.questions):
            raise torch.OutOfMemoryError("no memory for this one")
        return super().videos(task)


def test_a_video_that_cannot_be_made_is_counted_and_can_be_tried_again(
    setting: Setting, tmp_path: Path
) -> None:
    sound = setting.evaluator
    fragile = Fragile(sound.settings, sound.store, sound.backbone, sound.examiner)
    found = run(replace(setting, evaluator=fragile), tmp_path)
    bad = [row for row in found if row.failure]
    assert len(found) == 10 and len(bad) == 2
    assert all(row.question.seed == 1 and "OutOfMemoryError" in row.failure for row in bad)
    assert run(setting, tmp_path) == found  # a failure is an answer
    again = run(setting, tmp_path, retry_failed=True)
    assert not any(row.failure for row in again)


def test_a_device_that_works_no_more_ends_the_evaluation(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or every video after that would count as not recognised."""
    sound = setting.evaluator

    def broken(*_: object) -> Tensor:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def dead(device: torch.device, fault: Exception) -> None:
        raise DeviceError(str(device), f"computes nothing more: {fault}")

    monkeypatch.setattr(sound.backbone, "encode_text", broken)
    monkeypatch.setattr("motion_ray.evaluation.evaluator.check_works", dead)
    with pytest.raises(DeviceError, match="nothing more: CUDA error: an illegal memory access"):
        run(setting, tmp_path)


def test_an_error_that_would_come_again_ends_the_evaluation(
    setting: Setting, tmp_path: Path
) -> None:
    other = replace(setting.motions[0], delta="00" * 32)
    with pytest.raises(DeltaError, match="published anew"):
        run(replace(setting, motions=[other]), tmp_path)


def test_two_processes_do_not_write_to_one_folder(setting: Setting, tmp_path: Path) -> None:
    with only_process(tmp_path, "--out"), pytest.raises(FolderBusyError):
        run(setting, tmp_path)


# --- motions --------------------------------------------------------------------------------------


def test_a_motion_that_nobody_knows_is_described_in_a_file(
    setting: Setting, tmp_path: Path
) -> None:
    store = DeltaStore(tmp_path / "store")
    delta = MotionDelta(
        header(setting.evaluator.backbone, name="swiping"), changed(setting.evaluator.backbone)
    )
    store.publish(delta, "swiping")
    with pytest.raises(ConfigError, match="--targets"):
        describe_motions(store, ["swiping"], {})
    path = tmp_path / "targets.yaml"
    path.write_text("swiping: {label: Swiping Down, description: swiping hand down}")
    [motion] = describe_motions(store, ["swiping"], read_targets(path))
    assert (motion.target.label, motion.training) == ("Swiping Down", "")
    with pytest.raises(ConfigError, match="does not know it"):
        run(replace(setting, motions=[motion]), tmp_path / "out")
    with pytest.raises(ConfigError, match="twice"):
        describe_motions(store, ["swiping", "swiping@1"], read_targets(path))
    path.write_text("swiping: {label: Swiping Down}")
    with pytest.raises(ConfigError, match="does not describe motions"):
        read_targets(path)


def test_other_clips_than_those_of_the_training_are_refused(
    setting: Setting, tiny_motion: dict[str, Path], tmp_path: Path
) -> None:
    store = DeltaStore(tmp_path / "store")
    config = {"motion": str(tiny_motion["motion"])}
    head = header(setting.evaluator.backbone, name="dabbing", config=config)
    store.publish(MotionDelta(head, changed(setting.evaluator.backbone)), "dabbing")
    target = Target(label="dabbing", description="dabbing", training=str(tiny_motion["motion"]))
    with pytest.raises(ConfigError, match="other clips"):
        describe_motions(store, ["dabbing"], {"dabbing": target})
    [motion] = describe_motions(store, ["dabbing"], {})  # nobody names the folder
    assert motion.training == "" and motion.target.training is None


@pytest.mark.parametrize("first", [None, 2])
def test_a_motion_is_held_against_those_clips_of_its_folder_that_it_was_trained_on(
    setting: Setting, tiny_motion: dict[str, Path], tmp_path: Path, first: int | None
) -> None:
    folder = tiny_motion["motion"]
    clips = load_motion_folder(folder).clips
    head = header(
        setting.evaluator.backbone,
        name="dabbing",
        sources={clip.path.name: content_hash(clip.path) for clip in clips[:first]},
        config={"motion": str(folder), "motion_clips": first},
    )
    store = DeltaStore(tmp_path / "store")
    store.publish(MotionDelta(head, changed(setting.evaluator.backbone)), "dabbing")
    [motion] = describe_motions(store, ["dabbing"], {})
    target = motion.target.model_copy(update={"held_out": str(folder)})
    real = ask_all([replace(motion, target=target)], setting.prompts, [0])[-3:]
    [found] = in_process(setting.evaluator)(batches(real, 8))
    nearest = [row.scores.copy_any.clip for row in found if row.scores and row.scores.copy_any]
    assert len(nearest) == 3 and (2 in nearest) == (first is None)


def test_held_out_clips_of_a_folder_are_the_ceiling(
    setting: Setting, tiny_motion: dict[str, Path], tmp_path: Path
) -> None:
    motion = setting.motions[0]
    target = motion.target.model_copy(update={"held_out": str(tiny_motion["motion"])})
    asked = ask_all([replace(motion, target=target)], setting.prompts, [0])
    real = [each for each in asked if each.question.part is Part.REAL]
    assert len(real) == 3 and all(each.prompt is None for each in real)
    found = evaluate(
        real,
        in_process(setting.evaluator),
        tmp_path,
        setting.evaluator.measured_with(),
        batch_size=8,
    )
    [task] = batches(real, 8)
    training = training_of(tiny_motion["motion"])
    for row, video in zip(found, setting.evaluator.videos(task), strict=True):
        assert row.scores is not None and row.scores.appearance is None
        check_nearest(row.scores, video, training, 1e-5)


def test_a_missing_copy_detector_is_not_run_and_a_wrong_one_an_error(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("motion_ray.evaluation.evaluator.EMBEDDED_FOLDER", tmp_path / "nowhere")
    settings = replace(setting.evaluator.settings, copy_detector="puppet", fidelity=False)
    opened = open_evaluator(settings, setting.store, "cpu")
    assert opened.measured_with()["copy detector"] == NOT_RUN
    assert opened.measured_with()["tracker"] == NOT_RUN
    broken = replace(settings, copy_detector=str(tmp_path))
    with pytest.raises(BaseModelError):
        open_evaluator(broken, setting.store, "cpu")
