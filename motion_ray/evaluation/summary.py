"""The result of an evaluation: what was measured with what, all scores, all comparisons.

Computed from rows, so it can be computed again from ``rows.parquet`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from motion_ray.evaluation.measurement import Measurement
from motion_ray.evaluation.prompt_list import PromptList
from motion_ray.evaluation.scoreboard import Comparison, Group, compare_with_base, group_rows


@dataclass(frozen=True)
class EvaluationSummary:
    """What an evaluation found.

    Attributes:
        groups: scores by part and delta.
        comparisons: of every delta with the base asked in words.
        measured_with: hashes of models, and settings.
        prompts: name, sha256 and number of the prompts.
        seeds: of the initial noise.
        videos: how many were asked for.
        failed: how many of them could not be made.
    """

    groups: tuple[Group, ...]
    comparisons: tuple[Comparison, ...]
    measured_with: dict[str, Any]
    prompts: dict[str, Any]
    seeds: tuple[int, ...]
    videos: int
    failed: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "groups": [each.to_dict() for each in self.groups],
            "comparisons": [each.to_dict() for each in self.comparisons],
            "measured_with": self.measured_with,
            "prompts": self.prompts,
            "seeds": list(self.seeds),
            "videos": self.videos,
            "failed": self.failed,
        }


def summarize_evaluation(
    rows: Sequence[Measurement],
    measured_with: Mapping[str, Any],
    prompts: PromptList,
    seeds: Sequence[int],
) -> EvaluationSummary:
    """All tables of an evaluation.

    Args:
        rows: every row of it.
        measured_with: models and settings; says at which cosine a frame counts as a copy.
        prompts: that were asked.
        seeds: of the initial noise.
    """
    return EvaluationSummary(
        groups=tuple(group_rows(rows, measured_with["copy threshold"])),
        comparisons=tuple(compare_with_base(rows)),
        measured_with=dict(measured_with),
        prompts={"name": prompts.name, "sha256": prompts.sha256, "count": len(prompts)},
        seeds=tuple(seeds),
        videos=len(rows),
        failed=sum(bool(row.failure) for row in rows),
    )
