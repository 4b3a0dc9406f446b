"""Invented looks: what tests of findings and pages share."""

from __future__ import annotations

from motion_ray.data.puppets.folders import slug
from motion_ray.evaluation.copying import NearestFrame
from motion_ray.evaluation.measurement import Measurement, Part, Question, Scores
from motion_ray.reproduction.cells import Cell
from motion_ray.reproduction.claims import Verdict
from motion_ray.reproduction.experiments import EXPERIMENTS
from motion_ray.reproduction.findings import Findings
from motion_ray.reproduction.looking import Look
from motion_ray.reproduction.verdicts import observe, verdicts_of

PROMPTS = 30
THRESHOLD = 0.5


def row(
    motion: str,
    prompt: int,
    *,
    right: bool,
    appearance: float = 0.8,
    copied: bool = False,
    first: bool = False,
    seed: int = 0,
    reference: str = "",
    part: Part = Part.CUSTOMIZED,
) -> Measurement:
    """One video of a motion and prompt; copied from any training frame, or from a first one."""
    question = Question(
        *(part, slug(motion), motion, prompt, 0, f"prompt {prompt}"),
        reference=reference,
        delta=reference,
        training_seed=seed if part is Part.CUSTOMIZED else None,
        training="clips",
    )
    scores = Scores(
        said=motion if right else "waving",
        probabilities=(1.0,),
        said_reversed="waving",
        said_shuffled="waving",
        embedding=(1.0,),
        consistency=0.9,
        appearance=appearance,
        alignment=0.5 if right else 0.4,
        copy_any=NearestFrame(0.9 if copied else 0.1, 0, 0, 1),
        copy_first=NearestFrame(0.8 if first else 0.05, 0, 0, 0),
    )
    return Measurement(question, scores)


def look(
    cell: Cell,
    step: int,
    rights: int,
    *,
    appearance: float = 0.8,
    copies: int = 0,
    firsts: int = 0,
    final: bool = True,
    prompts: int = PROMPTS,
) -> Look:
    """A delta of a cell: its first ``rights`` prompts are right, its first ``copies`` copied, of
    these the first ``firsts`` from a clip's first frame.
    """
    rows = tuple(
        row(
            cell.motion,
            prompt,
            right=prompt < rights,
            appearance=appearance,
            copied=prompt < copies,
            first=prompt < firsts,
            seed=cell.seed,
            reference=f"{cell.name}@{step}",
        )
        for prompt in range(prompts)
    )
    return Look(cell, step, final, rows)


def controls(motion: str, *, known: int = 0, copies: int = 0, firsts: int = 0) -> list[Measurement]:
    """The base in words, right in its first ``known`` prompts, and real clips, of which some count
    as copies.
    """
    base = [row(motion, n, right=n < known, part=Part.BASE) for n in range(PROMPTS)]
    real = [
        row(motion, n, right=True, copied=n < copies, first=n < firsts, part=Part.REAL)
        for n in range(PROMPTS)
    ]
    return base + real


def judged(findings: Findings, experiment: str) -> list[Verdict]:
    """About the claims of one experiment, in their order."""
    experiments = [EXPERIMENTS[experiment]]
    return verdicts_of(findings, experiments, observe(findings, experiments))[experiment]
