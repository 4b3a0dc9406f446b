"""What jobs/reproduce.py prints at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from motion_ray.reproduction.reproduce import Reproduction
from motion_ray.reproduction.section import Section
from motion_ray.reproduction.sections import provisional

COLOURS = {"reproduced": "green", "not reproduced": "red"}


def show(
    console: Console, found: Reproduction, sections: Sequence[Section], written: Sequence[Path]
) -> None:
    """Print the tables and the verdicts.

    Args:
        console: to print on.
        found: what was found.
        sections: of it.
        written: files to name.
    """
    for section in sections:
        if section.rows:
            console.print(_table(section))
    for verdict in (verdict for section in sections for verdict in section.verdicts):
        colour = COLOURS.get(verdict.word, "yellow")
        console.print(f"[{colour}]{verdict.word}[/{colour}]: {verdict.claim.text}")
        console.print(f"  {verdict.because}", style="dim", soft_wrap=True)
    for each in found.findings.failed:
        console.print(f"failed: {each.cell.name}: {each.reason}", style="red", soft_wrap=True)
    if found.findings.to_come:
        console.print(provisional(len(found.findings.to_come)), style="yellow", soft_wrap=True)
    for path in written:
        console.print(f"written to {path}", soft_wrap=True)


def _table(section: Section) -> Table:
    table = Table(title=section.title, title_justify="left", caption=section.note or None)
    table.add_column(section.first)
    for column in section.columns:
        table.add_column(column, justify="right")
    for row in section.rows:
        table.add_row(row.title, *(cell for cell, _ in row.cells))
    return table
