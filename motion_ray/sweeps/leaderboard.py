"""``leaderboard.html``: every trial of a sweep on one page, the best of each motion on top.

The first chart of a motion is the paper's trade-off (Fig. 7) without its detour over the steps:
what was learned of the motion against the appearance that was given up for it, a line a trial. The
page has no outside parts but the links to the pages of the runs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from motion_ray.customization.run import RunFolder
from motion_ray.errors import DataError
from motion_ray.evaluation.charts import Line, line_chart, smoothed
from motion_ray.evaluation.report import EmbeddedVideo, embed_video
from motion_ray.files import write_text_atomic
from motion_ray.sweeps.curves import estimate
from motion_ray.sweeps.ranking import Standing, best
from motion_ray.sweeps.registration import Registered
from motion_ray.sweeps.status import TrialState
from motion_ray.sweeps.trial import Trial

log = logging.getLogger(__name__)

FILE_NAME = "leaderboard.html"
DRAWN = 30  # curves in one chart; more cannot be told apart
VIDEOS = 4  # of the best trial of a motion


@dataclass(frozen=True)
class _Motion:
    name: str
    reference: str | None
    best: Standing | None
    rows: Sequence[Standing]
    videos: Sequence[EmbeddedVideo]
    tradeoff: Markup
    losses: Markup
    appearance: Markup


def write_leaderboard(
    out: Path,
    title: str,
    standings: Mapping[str, Sequence[Standing]],
    registered: Sequence[Registered],
    run_folder: Callable[[Trial], Path | None],
) -> Path:
    """Write ``leaderboard.html`` into ``out``, whole or not at all; returns its path.

    Args:
        out: folder of the page; links to runs are relative to it.
        title: of the sweep.
        standings: of each motion, as :func:`motion_ray.sweeps.ranking.rank` gives them.
        registered: what is in the store.
        run_folder: where a trial ran; null: that cannot be looked at.

    Raises:
        MotionRayError: the page cannot be written.
    """
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("motion_ray.sweeps", "."), PackageLoader("motion_ray.evaluation", ".")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    references = {each.motion: each.reference for each in registered}
    page = environment.get_template("leaderboard.html.j2").render(
        title=title,
        motions=[
            _motion(name, rows, references.get(name), run_folder)
            for name, rows in sorted(standings.items())
        ],
        counts=_counts(standings),
        hours=sum(row.entry.status.seconds for rows in standings.values() for row in rows) / 3600,
        page_of=lambda trial: _link(run_folder(trial), out),
    )
    path = out / FILE_NAME
    write_text_atomic(path, page)
    return path


def tradeoff_chart(rows: Sequence[Standing]) -> str:
    """Share of the loss that was learned away against CLIP appearance, one line a trial, as SVG.

    A line begins at the first validation after step 0; its loss is the mean since the one before.
    What fell below the floor or unlearned more than a tenth is left out, or nothing else would be
    seen; the other charts have it.
    """
    lines = []
    for row, style in _styled(rows):
        points = []
        for index, each in enumerate(row.entry.curve.scored):
            loss = estimate(list(row.entry.curve.window(index).values())).mean
            learned = 100 * (1 - loss / row.untrained)
            if each.appearance >= each.floor and learned >= -10:
                points.append((learned, each.appearance))
        lines.append(Line(row.entry.trial.label, style, points, dots=True))
    return line_chart(
        lines,
        x_label="loss on the motion learned away, per cent",
        description="CLIP appearance against what was learned of the motion, a line a trial",
    )


def loss_chart(rows: Sequence[Standing]) -> str:
    """Smoothed loss on D^m over the steps, one line a trial, as SVG."""
    lines = [
        Line(row.entry.trial.label, style, smoothed(sorted(row.entry.curve.losses.items())))
        for row, style in _styled(rows)
    ]
    return line_chart(lines, x_label="step", description="Loss on the motion over the steps")


def appearance_chart(rows: Sequence[Standing]) -> str:
    """CLIP appearance over the steps with its floor, one line a trial, as SVG."""
    lines = []
    for row, style in _styled(rows):
        points = [(float(each.step), each.appearance) for each in row.entry.curve.scored]
        lines.append(Line(row.entry.trial.label, style, points, dots=True))
    longest = max((row.entry.curve.scored for row in rows), key=len, default=())
    floor = [(float(each.step), each.floor) for each in longest]
    return line_chart(
        [Line("floor", "floor", floor), *lines],
        x_label="step",
        description="CLIP appearance over the steps, with the floor",
    )


def _styled(rows: Sequence[Standing]) -> list[tuple[Standing, str]]:
    """The trials that are drawn, the best last so that it lies on top."""
    styles = [(row, "series-a" if row.rank == 1 else "series-b raw") for row in rows[:DRAWN]]
    return styles[::-1]


def _motion(
    name: str,
    rows: Sequence[Standing],
    reference: str | None,
    run_folder: Callable[[Trial], Path | None],
) -> _Motion:
    first = best(rows)
    return _Motion(
        name=name,
        reference=reference,
        best=first,
        rows=rows,
        videos=[] if first is None else _videos(first, run_folder(first.entry.trial)),
        tradeoff=Markup(tradeoff_chart(rows)),
        losses=Markup(loss_chart(rows)),
        appearance=Markup(appearance_chart(rows)),
    )


def _videos(first: Standing, folder: Path | None) -> list[EmbeddedVideo]:
    """What the weights in the delta drew when they were validated, or the samples of the run.

    None if one cannot be read: the page has more to tell.
    """
    if folder is None:
        return []
    run, step = RunFolder(folder), first.entry.delta_step
    files = sorted(run.validation(step).glob("*.mp4")) if step is not None else []
    files = files or sorted(run.samples.rglob("*.mp4"))
    try:
        return [embed_video(file) for file in files[:VIDEOS]]
    except DataError as error:
        log.warning("trial %s is shown without videos: %s", first.entry.trial.short, error)
        return []


def _counts(standings: Mapping[str, Sequence[Standing]]) -> dict[str, int]:
    states = [row.entry.status.state for rows in standings.values() for row in rows]
    return {
        str(state).replace("_", " "): states.count(state) for state in TrialState if state in states
    }


def _link(folder: Path | None, out: Path) -> str | None:
    if folder is None or not (page := RunFolder(folder).report).exists():
        return None
    return Path(os.path.relpath(page, out)).as_posix()
