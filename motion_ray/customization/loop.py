"""The one loop of customization: a generator of events that resumes by itself.

A notebook, a Ray worker and a Tune trial all run ``for event in customize(config, out): ...``.
Baselines and ablations are configs of it. Killed at any moment, the same call continues from the
last checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from motion_ray.backbones.unet3d import UNet3DBackbone
from motion_ray.config import CustomizationConfig
from motion_ray.customization.checkpoint import CheckpointFolder
from motion_ray.customization.deferred import (
    DeltaScorer,
    Scorer,
    discard_weights,
    recorded_score,
    submit,
)
from motion_ray.customization.delta import DeltaHeader, MotionDelta
from motion_ray.customization.examples import (
    ClipLists,
    Examples,
    generate_regularization,
    read_clip_lists,
)
from motion_ray.customization.memory import memory_explained, smaller
from motion_ray.customization.models import FROM_DISK, KeptModels, ModelSource
from motion_ray.customization.relayed import relayed
from motion_ray.customization.run import RunFolder
from motion_ray.customization.showcase import make_report
from motion_ray.customization.stopping import AppearanceValidator, scored_prompts
from motion_ray.customization.trainer import Trainer, check_trainable
from motion_ray.devices import resolve_device
from motion_ray.generation import VideoGenerator
from motion_ray.store import DeltaStore, check_name
from motion_ray.types import (
    Checkpointed,
    Preparing,
    RunFinished,
    RunStarted,
    TrainEvent,
    Validated,
)
from motion_ray.versions import installed_versions


def customize(
    config: CustomizationConfig,
    out: Path,
    *,
    store: str | None = None,
    cache: Path | None = None,
    device: str | None = None,
    models: ModelSource | None = None,
    scorer: Scorer | None = None,
) -> Iterator[TrainEvent]:
    """Teach a base model a motion; yields events, and ends with :class:`RunFinished`.

    Args:
        config: everything that decides the result.
        out: run folder. Called again with the same config, the run continues from its last
            checkpoint; a finished run yields its result at once.
        store: path or URI of the delta store; null: ``out/store``.
        cache: folder for encoded clips, may be shared by runs; null: ``out/cache``.
        device: null takes the GPU if there is one.
        models: where base and encoder come from, e.g. a process that keeps them; null: from disk.
        scorer: scores validations beside the training; null: the training waits for each.

    Raises:
        MotionRayError: bad input, a folder of another run, a full disk, a GPU without room, or a
            loss that is not finite.
    """
    out = out.expanduser()
    run = RunFolder(out)
    clips = read_clip_lists(config, run.generated)
    # now, not when an hour of training is published and shown
    check_names(config, clips.folder.name)
    scored_prompts(config.validation)
    with run.claim(config):
        finished = run.finished()
        if finished is not None:
            yield finished
            return
        if config.engine.threads is not None:
            torch.set_num_threads(config.engine.threads)
        models = models or FROM_DISK
        places = (cache or run.cache, store or str(out / "store"))
        asked, config = config, run.settle(config, resolve_device(device))
        with memory_explained():
            backbone = models.base(config.model, device, config.engine.arithmetic)
            session = _Session(config, asked, run, clips, backbone, *places, models, scorer)
            yield from _train(session)


class _Session:
    """What one process needs to train: the parts, wired."""

    def __init__(
        self,
        config: CustomizationConfig,
        asked: CustomizationConfig,
        run: RunFolder,
        clips: ClipLists,
        backbone: UNet3DBackbone,
        cache: Path,
        store: str,
        models: ModelSource,
        scorer: Scorer | None,
    ) -> None:
        self.config, self.run, self.clips, self.backbone = config, run, clips, backbone
        self.asked = asked  # for a scorer, who chooses its own arithmetic: its hardware is another
        self.cache, self.store, self.models = cache, DeltaStore(store), models
        self.checkpoints = CheckpointFolder(run.checkpoints)
        self.generator = VideoGenerator(
            backbone, config.sampling, config.clips, config.engine.arithmetic
        )
        self.scorer = scorer
        self.validator: AppearanceValidator | None = None
        if config.validation.floor is not None and scorer is None:
            encoder = models.encoder(config.validation.floor.clip_model, str(backbone.device))
            self.validator = AppearanceValidator(
                config.validation, self.generator, encoder, clips.folder.token
            )


def _clip_maker(session: _Session) -> VideoGenerator:
    """Plays what it makes at the rate at which training samples clips: no frame is lost there."""
    config = session.config
    sampling = config.sampling
    if config.clips.fps is not None:
        sampling = sampling.model_copy(update={"fps": config.clips.fps})
    return VideoGenerator(session.backbone, sampling, config.clips, config.engine.arithmetic)


def _train(session: _Session) -> Iterator[TrainEvent]:
    config, run = session.config, session.run
    yield Preparing("base model loaded", 1, 1)
    check_trainable(session.backbone, config, session.clips.folder.token)
    checkpoint = session.checkpoints.latest()
    anew = checkpoint is None
    run.tie(base_record(session.backbone), anew=anew and not run.generated.exists())
    if config.regularization.source == "synthetic":
        yield from relayed(
            lambda tell: generate_regularization(
                session.clips.regularization, _clip_maker(session), config.seed, tell
            )
        )
    examples = yield from relayed(
        lambda tell: Examples(session.backbone, config, session.clips, session.cache, tell)
    )
    advice = smaller(config)
    with memory_explained(advice):
        trainer = Trainer(session.backbone, config, session.clips.folder.token)
    run.tie(examples.record, anew=anew)
    if checkpoint is not None:
        trainer.load(checkpoint.directory)
    run.rewind(trainer.step if checkpoint is not None else -1)
    yield RunStarted(
        step=trainer.step,
        max_steps=config.max_steps,
        trainable_parameters=sum(p.numel() for p in trainer.trainable.values()),
        trainable_tensors=len(trainer.trainable),
        motion_clips=len(session.clips.motion),
        regularization_clips=len(session.clips.regularization),
        device=str(session.backbone.device),
        resumed=checkpoint is not None,
    )
    if checkpoint is None:
        yield from _validate_and_save(session, trainer, examples)
    else:
        yield from _await_again(session, trainer)
    looked_at = config.validation.floor is not None or config.validation.publish
    while trainer.step < config.max_steps and not trainer.stopping.stopped:
        with memory_explained(advice):
            event = trainer.take_step(examples)
        run.log(event)
        yield event
        due = looked_at and trainer.step % config.validation.every == 0
        if due or trainer.step == config.max_steps:
            yield from _validate_and_save(session, trainer, examples)
        elif trainer.step % config.checkpoint_every == 0:
            yield _save(session, trainer)
        yield from _take_verdict(session, trainer, wait=False)
    yield from _take_verdict(session, trainer, wait=True)
    yield from _finish(session, trainer, examples)


def _validate_and_save(
    session: _Session, trainer: Trainer, examples: Examples
) -> Iterator[TrainEvent]:
    """Score, publish if asked for, then save: a checkpoint never lacks either of its own step."""
    if session.scorer is not None and session.config.validation.floor is not None:
        yield from _take_verdict(session, trainer, wait=True)  # never more than one ahead
        if trainer.stopping.stopped:
            return
        delta = _build_delta(session, trainer, examples, session.clips.folder.name)
        submit(session.scorer, session.asked, delta, session.run.validation(trainer.step))
        trainer.stopping.pending = trainer.step
    elif session.validator is not None:
        started = time.perf_counter()
        score = session.validator.score(session.run.validation(trainer.step))
        yield from _observe(session, trainer, trainer.step, score, time.perf_counter() - started)
    if session.config.validation.publish and trainer.step:
        name = step_name(session.config.name or session.clips.folder.name, trainer.step)
        session.store.publish(_build_delta(session, trainer, examples, name), name)
    yield _save(session, trainer)


def _observe(
    session: _Session, trainer: Trainer, step: int, score: float, seconds: float
) -> Iterator[TrainEvent]:
    rule = session.config.validation.floor
    assert rule is not None
    passed = trainer.stopping.observe(step, score, rule)
    event = Validated(step, score, trainer.stopping.floor(rule), passed, seconds)
    session.run.log(event)
    yield event


def _take_verdict(session: _Session, trainer: Trainer, *, wait: bool) -> Iterator[TrainEvent]:
    """Take in the score that is awaited, if there is one and it is known."""
    step = trainer.stopping.pending
    if step is None or session.scorer is None:
        return
    started = time.perf_counter()
    score = session.scorer.score(wait=wait)
    if score is None:
        return
    trainer.stopping.pending = None
    yield from _observe(session, trainer, step, score, time.perf_counter() - started)
    discard_weights(session.run.validation(step))


def _await_again(session: _Session, trainer: Trainer) -> Iterator[TrainEvent]:
    """A resumed run whose checkpoint awaits a score: it is on record, or is asked for again."""
    step, rule, run = trainer.stopping.pending, session.config.validation.floor, session.run
    if step is None or rule is None:
        return
    score = recorded_score(run.read_metrics(), step)
    if score is not None:
        trainer.stopping.pending = None
        trainer.stopping.observe(step, score, rule)
        discard_weights(run.validation(step))
    elif session.scorer is not None:
        session.scorer.submit(session.asked, run.validation(step))
    else:  # the run goes on without one
        here = DeltaScorer(KeptModels(), str(session.backbone.device))
        trainer.stopping.pending = None
        score = here.score(session.config, run.validation(step))
        yield from _observe(session, trainer, step, score, 0.0)


def base_record(backbone: UNet3DBackbone) -> dict[str, list[str]]:
    """What a run notes about its base: a checkpoint holds only what trains."""
    schedule = hashlib.sha256(json.dumps(backbone.scheduler_config, sort_keys=True).encode())
    return {
        "base model": [f"weights {backbone.fingerprint}", f"scheduler {schedule.hexdigest()}"],
    }


def step_name(name: str, step: int) -> str:
    """What the delta of a step on the way is called in the store (``validation.publish``)."""
    return f"{name}-step-{step}"


def check_names(config: CustomizationConfig, motion: str) -> None:
    """Check every name that a run will publish under.

    Args:
        config: of the run.
        motion: the motion folder's name, which a delta gets unless the config names it.

    Raises:
        StoreError: one cannot be a name in a store.
    """
    name = config.name or motion
    check_name(name)
    if config.validation.publish:
        check_name(step_name(name, config.max_steps))


def _save(session: _Session, trainer: Trainer) -> Checkpointed:
    stopping = trainer.stopping
    protect = [step for step in (stopping.last_good, stopping.pending) if step is not None]
    saved = session.checkpoints.save(trainer.step, trainer.save, protect=protect)
    return Checkpointed(saved.step, str(saved.directory))


def _finish(session: _Session, trainer: Trainer, examples: Examples) -> Iterator[TrainEvent]:
    stopping = trainer.stopping
    last = delta_step = trainer.step
    if stopping.stopped:
        assert stopping.last_good is not None
        delta_step = stopping.last_good
        last = last if stopping.failed is None else stopping.failed
        session.run.rewind(last)  # what was trained while its verdict was awaited does not count
        trainer.load(session.checkpoints.at(delta_step).directory)
        trainer.stopping = stopping
    yield Preparing("publishing the delta", 0, 1)
    name = session.config.name or session.clips.folder.name
    delta = _build_delta(session, trainer, examples, name)
    reference = session.store.publish(delta, name)
    yield Preparing("publishing the delta", 1, 1)
    result = RunFinished(
        step=last,
        delta_step=delta_step,
        reason="appearance_floor" if stopping.stopped else "max_steps",
        delta=reference,
        store=str(session.store.uri),
        report=str(session.run.report),
        sha256=delta.sha256,
        extra={"appearance": stopping.last_score, "base_appearance": stopping.base_score},
    )
    # The report loads the published delta into a fresh base: what it shows is what a user will get.
    trainer.release()  # there may be no room for both
    yield from relayed(
        lambda tell: make_report(
            session.config,
            session.run,
            session.clips,
            session.store,
            result,
            tell,
            device=str(session.backbone.device),
            models=session.models,
        )
    )
    session.run.finish(result)
    yield result


def _build_delta(session: _Session, trainer: Trainer, examples: Examples, name: str) -> MotionDelta:
    config, folder, stopping = session.config, session.clips.folder, trainer.stopping
    scored = stopping.last_good == trainer.step  # not so below the floor, or where scores come late
    metrics = {
        "base_appearance": stopping.base_score,
        "appearance": stopping.last_score if scored else None,
    }
    header = DeltaHeader(
        base_fingerprint=session.backbone.fingerprint,
        base=config.model.replace(config.base, Path(config.base).name),
        recipe=config.recipe,
        name=name,
        token=folder.token,
        template=folder.template,
        step=trainer.step,
        parametrization="full" if config.low_rank is None else "lora",
        config=json.loads(config.model_dump_json()),
        metrics={key: value for key, value in metrics.items() if value is not None},
        sources=examples.sources,
        versions=installed_versions(),
    )
    return MotionDelta(header, trainer.learned())
