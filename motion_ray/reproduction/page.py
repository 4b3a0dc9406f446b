"""The page of a reproduction: the paper's tables beside ours, verdicts, curves, videos."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from motion_ray.evaluation.bootstrap import Estimate
from motion_ray.files import write_text_atomic
from motion_ray.manifest import canonical_json
from motion_ray.reproduction.experiment import BASE
from motion_ray.reproduction.reproduce import Reproduction
from motion_ray.reproduction.section import Section
from motion_ray.reproduction.sections import (
    JUDGED,
    SCENE_SCORES,
    counted,
    provisional,
    scene_titles,
)

PAGE, RESULTS = "report.html", "results.json"


def write_page(
    out: Path, found: Reproduction, sections: Sequence[Section], facts: Mapping[str, str]
) -> Path:
    """Write ``report.html`` and ``results.json``; returns the page's path.

    Args:
        out: an existing folder.
        found: what the page tells.
        sections: of it.
        facts: name to value: command, commit, device, date.

    Raises:
        MotionRayError: a file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("motion_ray.reproduction", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(
        scale=found.scale,
        sections=sections,
        counted=counted(sections),
        judged=JUDGED,
        drawn=Markup,
        videos={
            title_of(found, method): [(prompt, _embedded(file)) for prompt, file in made]
            for method, made in found.videos.items()
        },
        provisional=provisional(len(found.findings.to_come)),
        failed=[(each.cell.name, each.reason) for each in found.findings.failed],
        facts={**facts, **{k: str(v) for k, v in found.measured_with.items()}},
    )
    write_text_atomic(out / RESULTS, canonical_json(results(found, facts)))
    write_text_atomic(out / PAGE, page)
    return out / PAGE


def results(found: Reproduction, facts: Mapping[str, str]) -> dict[str, Any]:
    """The page's numbers, for machines."""
    methods = dict.fromkeys(row.method for e in found.experiments for row in e.rows)
    groups = {name: found.findings.group(name) for name in (*methods, BASE)}
    verdicts, ceiling = found.verdicts, found.findings.ceiling
    curved = dict.fromkeys(row.method for e in found.experiments if e.curves for row in e.rows)
    scenes: dict[str, dict[str, None]] = {}  # name to methods
    titles: dict[str, str] = {}
    for each in found.experiments:
        for name, title in scene_titles(each).items() if each.scenes else ():
            titles[name] = title
            scenes.setdefault(name, {}).update(dict.fromkeys(row.method for row in each.rows))
    return {
        "scale": found.scale.name,
        "motions": list(found.scale.motions),
        "facts": dict(facts),
        "measured_with": found.measured_with,
        "rows": {n: None if g is None else g.to_dict() for n, g in groups.items()},
        "real clips": None if ceiling is None else ceiling.to_dict(),
        "curves": {
            method: [
                {"step": point.step, "scores": _numbers(point.scores)}
                for point in found.findings.curve(method)
            ]
            for method in curved
        },
        "scenes": {titles[name]: _scene(found, name, own) for name, own in scenes.items()},
        "verdicts": {n: [v.to_dict() for v in each] for n, each in verdicts.items()},
        "other trainings": [each.to_dict() for each in found.survivals],
        "failed": {each.cell.name: each.reason for each in found.findings.failed},
        "to come": [cell.name for cell in found.findings.to_come],
    }


def _numbers(scores: Mapping[str, Estimate | None]) -> dict[str, Any]:
    return {name: each.to_dict() for name, each in scores.items() if each is not None}


def _scene(found: Reproduction, name: str, methods: Iterable[str]) -> dict[str, Any]:
    """Scores of methods' results in a scene, and of drawn clips of it."""
    findings = found.findings
    rows = {method: findings.in_scene(method, name) for method in methods}
    rows["drawn clips"] = findings.drawn_of(name)
    return {
        whose: _numbers({metric: findings.estimate(each, metric) for metric in SCENE_SCORES})
        for whose, each in rows.items()
    }


def title_of(found: Reproduction, method: str) -> str:
    """A method's name in tables."""
    rows = [row for e in found.experiments for row in e.rows if row.method == method]
    return rows[0].title


def _embedded(file: Path) -> str:
    return f"data:video/mp4;base64,{base64.b64encode(file.read_bytes()).decode()}"
