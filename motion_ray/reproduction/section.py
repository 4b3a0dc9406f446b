"""What a report is made of, whatever shows it: page, terminal or Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from motion_ray.reproduction.claims import Verdict


@dataclass(frozen=True)
class TableRow:
    """A row as it is shown.

    Attributes:
        title: of what it is about.
        cells: (ours, what stands beside it or an empty text) for each column.
        note: what else is to be known.
    """

    title: str
    cells: tuple[tuple[str, str], ...]
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A drawing.

    Attributes:
        title: what it shows.
        svg: inline; its colours are classes.
    """

    title: str
    svg: str


@dataclass(frozen=True)
class Section:
    """One experiment as it is shown.

    Attributes:
        title: of the table or figure.
        first: head of the first column.
        columns: heads of the others.
        rows: of the table.
        verdicts: about its claims.
        charts: drawings.
        legend: (title, style) of the lines in them.
        papers: whether it is the paper's own, not one of what is asked beyond it.
        note: what is to be kept in mind with the numbers.
    """

    title: str
    first: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    verdicts: tuple[Verdict, ...] = ()
    charts: tuple[Chart, ...] = ()
    legend: tuple[tuple[str, str], ...] = ()
    papers: bool = True
    note: str = ""
