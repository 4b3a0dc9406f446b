"""What looks say about the claims of experiments, or why they say nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from motion_ray.evaluation.bootstrap import Estimate
from motion_ray.evaluation.measurement import Measurement
from motion_ray.reproduction.beyond import MOSTLY
from motion_ray.reproduction.claims import Bound, Claim, Contrast, Key, Observed, Verdict, judge
from motion_ray.reproduction.experiment import (
    ACCURACY,
    COPYING,
    COUNT,
    FIRST,
    JUMPING,
    KICKING,
    LAST,
    NEAREST,
    Experiment,
    unstaged,
)
from motion_ray.reproduction.findings import Findings, absent, pairs
from motion_ray.reproduction.looking import Look
from motion_ray.reproduction.matching import appearance

SEEN = 0.02  # by which a motion's probability has to rise in drawn clips that show it


def verdicts_of(
    findings: Findings, experiments: Sequence[Experiment], observed: Mapping[Key, Observed | str]
) -> dict[str, list[Verdict]]:
    """What was found about every claim, by experiment; p values are corrected over all.

    Args:
        findings: everything that was seen.
        experiments: all of a report, since their claims are corrected together.
        observed: what :func:`observe` has of them.
    """
    claims = [(e.name, claim) for e in experiments for claim in e.claims]
    judged = judge([claim for _, claim in claims], observed)
    found: dict[str, list[Verdict]] = {e.name: [] for e in experiments}
    for (name, claim), verdict in zip(claims, judged, strict=True):
        basis = _basis(findings, claim, verdict.estimate) if verdict.estimate else ""
        if basis:
            verdict = replace(verdict, because=f"{verdict.because} ({basis})")
        found[name].append(verdict)
    return found


def observe(findings: Findings, experiments: Sequence[Experiment]) -> dict[Key, Observed | str]:
    """What claims of experiments are about: values by what makes two videos a pair
    (:data:`~motion_ray.reproduction.findings.Pair`), or the reason why there are none.
    """
    observed: dict[Key, Observed | str] = {}
    for claim in (claim for each in experiments for claim in each.claims):
        for method in claim.methods:
            key = (method, claim.metric, claim.among)
            if key not in observed:
                observed[key] = _observed(findings, method, claim)
    return observed


def _basis(findings: Findings, claim: Claim, estimate: Estimate) -> str:
    """What a difference was measured on, and where looks were matched; of a limit, which motions it
    does not know.
    """
    keys = set.intersection(
        *(set(pairs(findings.rows(method, claim.among))) for method in claim.methods)
    )
    seeds = sorted({seed for _, _, _, seed in keys if seed is not None})
    said = [f"{estimate.videos} pairs"] if isinstance(claim, Contrast) else []
    cells = [look.cell for look in findings.looks]
    cells += [*findings.to_come, *(each.cell for each in findings.failed)]
    if missing := sorted(absent((c.motion for c in cells), (motion for motion, *_ in keys))):
        said.append(f"without {', '.join(missing)}, of which there is nothing to compare")
    if isinstance(claim, Bound):
        return ", ".join(said)
    if seeds:
        said.append(f"training seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}")
    if claim.among:
        looks = [findings.matched(claim.among)[method] for method in claim.among]
        kept = " and ".join(f"{_mean_appearance(each):.3f}" for each in looks)
        said.append(f"of {len(looks[0])} trainings each at appearance {kept}")
    return ", ".join(said)


def _mean_appearance(looks: Sequence[Look]) -> float:
    return fmean(each for each in map(appearance, looks) if each is not None)


def _observed(findings: Findings, method: str, claim: Claim) -> Observed | str:
    """Values of the claim's score, or the reason why there are none."""
    rows = findings.rows(method, claim.among)
    own, scene = unstaged(method)
    if scene:
        reason = _untellable(findings, own, scene, rows, claim)
        if reason:
            return reason
    if claim.among and not rows and _in_common(findings, claim.among):
        return "no looks of all keep the same appearance"
    if claim.among and not rows:
        rows = findings.rows(method)  # there is one whose absence is the reason
    if not rows:
        trained = "ours" if method in (FIRST, LAST) else own
        if any(cell.method == trained for cell in findings.to_come):
            return "it is not trained yet"
        reasons = [each.reason for each in findings.failed if each.cell.method == trained]
        return reasons[0] if reasons else "it was not trained"
    group = findings.score(rows) if claim.metric in (COPYING, NEAREST) else None
    if group is not None and COPYING in group.refused:
        return group.refused[COPYING]
    values = findings.observations(rows, claim.metric)
    return f"{claim.metric} was not run" if values is None else values


def _in_common(findings: Findings, methods: Sequence[str]) -> bool:
    """Whether there is a motion and a seed that all were trained for."""
    cells = [{look.cell for look in findings.looks if look.cell.method == m} for m in methods]
    return bool(set.intersection(*({(c.motion, c.seed) for c in own} for own in cells)))


def _untellable(
    findings: Findings, method: str, scene: str, rows: Sequence[Measurement], claim: Claim
) -> str:
    """Why nothing can be said about a method in a scene; empty if it can."""
    if not rows and findings.rows(method):
        return "what it learned elsewhere was not asked there, and is not here to be asked"
    ceiling = findings.estimate(findings.drawn_of(scene), claim.metric)
    least = _least_seen(claim)
    if ceiling is None:
        return ""
    if least is not None and ceiling.value <= least:
        return f"the evaluators see it in only {ceiling.value:.0%} of drawn clips of the scene"
    if isinstance(claim, Bound) or claim.metric not in (JUMPING, KICKING):
        return ""
    usual = findings.estimate(findings.drawn_of(""), claim.metric)
    if usual is None or ceiling.value - usual.value >= SEEN:
        return ""
    return (
        f"the classifier hardly sees it in drawn clips either ({ceiling.value:.3f}, without it "
        f"{usual.value:.3f})"
    )


def _least_seen(claim: Claim) -> float | None:
    """Evaluators have to see it in a larger share of drawn clips than this; null: any will do."""
    if isinstance(claim, Bound):
        return claim.limit if claim.above else None
    return MOSTLY if claim.metric in (ACCURACY, COUNT) else None
