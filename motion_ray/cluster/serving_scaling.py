"""How many generators a deployment should have, by the jobs that wait and run.

Serve's own measure, requests under way, says nothing here: a job is not a request.
"""

from __future__ import annotations

import math
from typing import Any

from ray.serve.config import AutoscalingContext

JOBS, WAITING = "jobs", "waiting"  # names of what generators record


class ByJobs:
    """Serve's autoscaling policy; delays and bounds are Serve's.

    Args:
        jobs_per_replica: that wait or run, for each generator to be had.
    """

    def __init__(self, jobs_per_replica: float) -> None:
        self._jobs_per_replica = jobs_per_replica

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """The number of generators to have."""
        recorded = context.aggregated_metrics or {}
        inside = sum(recorded.get(JOBS, {}).values())
        # Every generator records what the router told it: the jobs that none has room for.
        outside = max(recorded.get(WAITING, {}).values(), default=0.0)
        return math.ceil((inside + outside) / self._jobs_per_replica), {}
