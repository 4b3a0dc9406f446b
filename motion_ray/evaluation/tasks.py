"""The questions of an evaluation, in batches that one worker can do by itself.

Every motion is asked of every prompt with every seed (paper section 4.1: 100 prompts, 3 seeds). The
controls of the report are questions too: the untouched base asked in natural words, and real clips
that were not trained on. Reversed and shuffled frames need no videos of their own; every video is
classified in those forms as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from motion_ray.data.clips import content_hash, load_motion_folder
from motion_ray.errors import ConfigError
from motion_ray.evaluation.evaluated_motion import EvaluatedMotion
from motion_ray.evaluation.measurement import Measurement, Part, Question
from motion_ray.evaluation.prompt_list import ListedPrompt, PromptList


@dataclass(frozen=True)
class Task:
    """Questions of one part and one motion.

    Attributes:
        motion: they are about.
        questions: a batch.
        prompts: that each question is of; empty for clips of a folder.
    """

    motion: EvaluatedMotion
    questions: tuple[Question, ...]
    prompts: tuple[ListedPrompt, ...] = ()


@dataclass(frozen=True)
class Asked:
    """A question with where it came from.

    Attributes:
        motion: it is about.
        question: itself.
        prompt: of the list; None for a clip of a folder.
    """

    motion: EvaluatedMotion
    question: Question
    prompt: ListedPrompt | None


def ask_all(
    motions: Sequence[EvaluatedMotion],
    prompts: PromptList,
    seeds: Sequence[int],
    *,
    controls: bool = True,
) -> list[Asked]:
    """Every question of an evaluation, motion by motion.

    Args:
        motions: the deltas. Several of one name share their controls.
        prompts: the list.
        seeds: of the initial noise.
        controls: whether to ask the base in words and to look at real clips.

    Raises:
        ConfigError: no motions, or no seeds, or a seed twice.
        DataError: a folder of held-out clips cannot be read.
    """
    if not motions:
        raise ConfigError("--motions", "names at least one", "for example --motions swiping-down")
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigError("--seeds", "are one or more different ones", "for example --seeds 0 1 2")
    found: dict[tuple[object, ...], Asked] = {}
    for motion in motions:
        asked = list(_customized(motion, prompts, seeds))
        if controls:
            asked += [*_in_words(motion, prompts, seeds), *_real(motion, prompts)]
        for each in asked:
            found.setdefault(each.question.key, each)
    return list(found.values())


def batches(asked: Iterable[Asked], size: int) -> list[Task]:
    """Tasks of at most ``size`` questions of one part and motion each, in order."""
    tasks = []
    for _, group in itertools.groupby(asked, lambda a: (a.motion, a.question.part)):
        members = list(group)
        for at in range(0, len(members), size):
            some = members[at : at + size]
            prompts = tuple(each.prompt for each in some if each.prompt is not None)
            questions = tuple(each.question for each in some)
            tasks.append(Task(some[0].motion, questions, prompts))
    return tasks


def failed(task: Task, reason: str) -> list[Measurement]:
    """Rows that say why there are no scores."""
    return [Measurement(question, None, reason) for question in task.questions]


def _customized(
    motion: EvaluatedMotion, prompts: PromptList, seeds: Sequence[int]
) -> Iterator[Asked]:
    for (number, listed), seed in itertools.product(enumerate(prompts.prompts), seeds):
        text = listed.prompt.with_token(motion.token, motion.target.phrase)
        question = _question(Part.CUSTOMIZED, motion, number, listed, seed, text, learned=True)
        yield Asked(motion, question, listed)


def _in_words(
    motion: EvaluatedMotion, prompts: PromptList, seeds: Sequence[int]
) -> Iterator[Asked]:
    for (number, listed), seed in itertools.product(enumerate(prompts.prompts), seeds):
        text = listed.prompt.natural(motion.target.description)
        question = _question(Part.BASE, motion, number, listed, seed, text, learned=False)
        yield Asked(motion, question, listed)


def _real(motion: EvaluatedMotion, prompts: PromptList) -> Iterator[Asked]:
    """Clips of a held-out folder; without one, drawings of what the prompts describe, if they are
    of the puppet world; else nothing: the report then says that there is no ceiling.
    """
    if motion.target.held_out is not None:
        for number, clip in enumerate(load_motion_folder(motion.target.held_out).clips):
            shown = f"{clip.path.name} {content_hash(clip.path)[:12]}"
            question = Question(
                *(Part.REAL, motion.name, motion.target.label, number, 0, shown),
                training=motion.training,
            )
            yield Asked(motion, question, None)
        return
    for number, listed in enumerate(prompts.prompts):
        if listed.look is not None:
            text = listed.prompt.natural(motion.target.description)
            question = _question(Part.REAL, motion, number, listed, 0, text, learned=False)
            yield Asked(motion, question, listed)


def _question(
    part: Part,
    motion: EvaluatedMotion,
    number: int,
    listed: ListedPrompt,
    seed: int,
    text: str,
    *,
    learned: bool,
) -> Question:
    look = listed.look
    return Question(
        part=part,
        motion=motion.name,
        label=motion.target.label,
        prompt=number,
        seed=seed,
        text=text,
        appearance_text=listed.prompt.appearance(),
        natural_text=listed.prompt.natural(motion.target.description),
        reference=motion.reference if learned else "",
        delta=motion.delta if learned else "",
        recipe=motion.recipe if learned else "",
        step=motion.step if learned else 0,
        training_seed=motion.training_seed if learned else None,
        training=motion.training,
        kind=look.kind if look else "",
        colour=look.colour if look else "",
        place=look.place if look else "",
    )
