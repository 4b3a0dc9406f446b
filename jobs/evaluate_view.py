"""The tables that jobs/evaluate.py prints, and its progress bar."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeRemainingColumn
from rich.table import Table

from motion_ray.evaluation.base_scores import BaseScores
from motion_ray.evaluation.custom_scores import CustomScores
from motion_ray.evaluation.recognition import ATTRIBUTES
from motion_ray.evaluation.scored_videos import OnProgress
from motion_ray.evaluation.statistics import Share

#: What a base must reach, out of a hundred videos.
GOALS = {"motion": 80, "kind": 90, "colour": 90, "place": 90}
CUSTOM_GOALS = {"motion": 50, "kind": 80, "colour": 80, "place": 80}
SHOWN_CONFUSIONS = 8


@contextlib.contextmanager
def progress_of(console: Console) -> Iterator[OnProgress]:
    """A bar for every stage; yields what is to be told."""
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        tasks: dict[str, TaskID] = {}

        def told(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done)

        yield told


def show_base(console: Console, scores: BaseScores, out: Path) -> None:
    """Print the tables of a base model."""
    table = _table("Does a video show what its prompt says?", "attribute")
    table.add_column("goal", justify="right")
    for name in ("generated", "real clips through the VAE", "other prompts (floor)"):
        table.add_column(name, justify="right")
    for attribute in ATTRIBUTES:
        cells = (scores.generated, scores.ceiling, scores.floor)
        table.add_row(attribute, f"{GOALS[attribute]} %", *(_cell(c, attribute) for c in cells))
    console.print(table)
    motions = _table("By motion", "motion")
    motions.add_column("generated", justify="right")
    motions.add_column("real clips", justify="right")
    for motion, share in scores.motions.items():
        motions.add_row(motion, str(share), _cell(scores.real_motions, motion))
    console.print(motions)
    _show_confusions(console, scores)
    if scores.named:
        console.print(f"held-out motions named in words: {scores.named_in_all}")
    console.print(f"CLIP appearance: {scores.appearance:.3f}")
    console.print(f"written to {out}: scores.json, rows.jsonl, sheet.png", soft_wrap=True)


def show_custom(console: Console, scores: CustomScores, out: Path) -> None:
    """Print the tables of a customized motion."""
    table = _table(f"{scores.motion}: on kinds that its clips did not show", "attribute")
    table.add_column("goal", justify="right")
    for name in ("with the motion", "without it"):
        table.add_column(name, justify="right")
    for attribute in ATTRIBUTES:
        cells = (scores.after, scores.before)
        goal = f"{CUSTOM_GOALS[attribute]} %"
        table.add_row(attribute, goal, *(_cell(c, attribute) for c in cells))
    console.print(table)
    for kind, share in scores.kinds.items():
        console.print(f"  {kind}: {share}")
    if scores.taken_for:
        console.print("taken for: " + ", ".join(f"{n} {c}x" for n, c in scores.taken_for.items()))
    console.print(f"CLIP appearance: {scores.appearance:.3f}")
    console.print(f"written to {out}: scores.json, rows.jsonl, sheet.png", soft_wrap=True)


def _show_confusions(console: Console, scores: BaseScores) -> None:
    shown = scores.confusions[:SHOWN_CONFUSIONS]
    if shown:
        told = ", ".join(f"{each.asked} for {each.seen} {each.count}x" for each in shown)
        console.print(f"most often mistaken: {told}")


def _table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    return table


def _cell(shares: Mapping[str, Share], name: str) -> str:
    return str(shares[name]) if name in shares else "-"
