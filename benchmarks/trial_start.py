"""From a free place to a trial's first step: a new worker for each trial, and one that stays.

    python -m benchmarks.trial_start --trials 5

Both run in one call, on the same private cluster, with the same trials of the embedded base model
(two steps with DeepSpeed, nothing validated), one at a time. ``new``: a Ray Train trainer for each
trial, from asking for it to the end of the first step. ``kept``: the slots of a sweep, from the end
of one trial to the end of the first step of the next. The base that a worker keeps and the cache of
encoded clips that trials share are part of what is compared.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from motion_ray.cluster.resources import WorkerResources
from motion_ray.cluster.session import open_cluster
from motion_ray.config import CustomizationConfig
from motion_ray.data.puppets.folders import write_motion_folder, write_regularization_folder
from motion_ray.recipes.puppet import puppet
from motion_ray.sweeps.identity import ContentHashes
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.trial import Trial
from motion_ray.types import StepDone

SETTINGS = {
    "engine": {"name": "deepspeed", "threads": 1},
    "validation": {"floor": None, "prompts": []},
    "augmentation": {"variants": 1},
    "sampling": {"steps": 2},
    "batch_size": 1,
    "max_steps": 2,
}


def make_trials(folder: Path, count: int) -> list[Trial]:
    """Trials that differ in their seed alone."""
    write_motion_folder("swinging arms", folder / "motion", clips=3)
    write_regularization_folder(folder / "other", clips=3, avoid="swinging arms")
    changes = {
        "motion": str(folder / "motion"),
        "regularization": {"folder": str(folder / "other")},
    }
    config = puppet().replace(SETTINGS).replace(changes)
    content, trials = ContentHashes(), list[Trial]()
    for seed in range(count):
        one = config.replace({"seed": seed})
        trials.append(Trial(content.trial(one), "swinging-arms", {"seed": seed}, one))
    return trials


def new_worker(config: CustomizationConfig, out: Path, resources: WorkerResources) -> float:
    """Seconds from asking for a trainer to the end of its first step."""
    from motion_ray.cluster.training import TrainingJob

    begun, first = time.monotonic(), None
    job = TrainingJob(config, out, None, resources)
    while not job.over:
        items = job.wait(0.05)
        if first is None and any(isinstance(item, StepDone) for item in items):
            first = time.monotonic() - begun
    if job.outcome().finished is None or first is None:
        raise RuntimeError(f"the trial in {out} did not finish: {job.outcome()}")
    return first


def kept_worker(
    trials: Sequence[Trial], folder: Path, resources: WorkerResources
) -> tuple[float, list[float], float]:
    """Seconds to the first step of the first trial, of each later one, and the idle share."""
    from motion_ray.cluster.sweep import SweepJob, SweepPlan

    ledger = Ledger(folder / "ledger")
    ledger.add(trials)
    places = (folder / "runs", folder / "cache", folder / "ray")
    begun = time.monotonic()
    job = SweepJob(SweepPlan(trials, ledger.uri, *places, 1, 0, resources))
    first = None
    while not job.over:
        news = job.wait(0.05)
        if first is None and any(isinstance(each.item, StepDone) for each in news):
            first = time.monotonic() - begun
    starts = [start.waited + start.prepared for start in job.starts() if not start.first]
    idle = job.idle_share()
    job.leave()
    if first is None or len(starts) != len(trials) - 1:
        raise RuntimeError(f"the sweep did not finish: {ledger.statuses()}")
    return first, starts, idle


def main() -> None:
    """Measure both and print them side by side."""
    parser = argparse.ArgumentParser(description="How long a trial takes to its first step.")
    parser.add_argument("--trials", type=int, default=5, help="of each kind")
    parser.add_argument("--gpu", action="store_true", help="a GPU for each trial")
    args = parser.parse_args()
    resources = WorkerResources("gpu" if args.gpu else "cpu", 1)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, open_cluster(None):
        folder = Path(name)
        trials = make_trials(folder, args.trials)
        new = [
            new_worker(trial.config, folder / "new" / trial.short, resources) for trial in trials
        ]
        first, kept, idle = kept_worker(trials, folder / "kept", resources)
    print(f"new   median {statistics.median(new):5.1f} s   {_range(new)}")
    print(f"kept  median {statistics.median(kept):5.1f} s   {_range(kept)}")
    print(f"      the first trial of the slot {first:.1f} s; the slot was idle {100 * idle:.0f} %")
    print(f"ratio {statistics.median(new) / statistics.median(kept):.1f}")


def _range(seconds: Sequence[float]) -> str:
    return f"{min(seconds):.1f} to {max(seconds):.1f} s, n = {len(seconds)}"


if __name__ == "__main__":
    main()
