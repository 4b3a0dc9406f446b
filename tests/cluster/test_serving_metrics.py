"""Counters of serving: they follow the pool's own, and the dashboard asks for what is counted."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from motion_ray.cluster import serving_metrics
from motion_ray.cluster.serving_metrics import ReplicaMetrics, RouterMetrics
from motion_ray.errors import DeltaError
from motion_ray.serving.http.ports import RequestWatch
from motion_ray.serving.mix import Mix
from motion_ray.serving.pool import MotionPool
from tests.serving.toy import Library, ToyBase, record_of, toy_delta

DASHBOARD = Path(__file__).parents[2] / "deployments" / "grafana.json"
SUFFIXES = re.compile(r"_(bucket|sum|count)$")


class Recorder:
    """Takes the place of Ray's metrics, which need a node to go to."""

    totals: Counter[str]
    names: set[str]

    def __init__(self, name: str, description: str, **options: object) -> None:
        self.name = name
        self.names.add(name)

    def set_default_tags(self, tags: Mapping[str, str]) -> None:
        pass

    def inc(self, value: float = 1.0, tags: Mapping[str, str] | None = None) -> None:
        self.totals[self.name] += value  # type: ignore[assignment]

    def set(self, value: float, tags: Mapping[str, str] | None = None) -> None:
        self.totals[self.name] = value  # type: ignore[assignment]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    Recorder.totals, Recorder.names = Counter(), set()
    for kind in ("Counter", "Gauge", "Histogram"):
        monkeypatch.setattr(serving_metrics, kind, Recorder)
    return Recorder


def test_exchanges_and_mixes_are_counted_once(recorded: type[Recorder]) -> None:
    arms, both = toy_delta(1, "ab"), toy_delta(3, "bc")
    pool = MotionPool(Library(arms, both), ToyBase())
    sum_of_both = Mix.of([(record_of(arms), 0.5), (record_of(both), 2.0)])
    metrics = ReplicaMetrics("r-1")
    for mix in (sum_of_both, sum_of_both, Mix.of([(record_of(arms), 1.0)]), Mix()):
        with pool.lease(mix) as lease, lease.applied():
            pass
        metrics.pool(pool.statistics())
    totals = recorded.totals
    assert totals["motion_ray_pool_exchanges_total"] == 3  # the base alone is none
    assert totals["motion_ray_pool_mix_hits_total"] == 1
    assert totals["motion_ray_pool_mix_misses_total"] == 1
    spent = pool.statistics().exchange_s
    assert totals["motion_ray_pool_exchange_seconds_total"] == pytest.approx(spent)


def test_time_of_an_exchange_is_without_what_runs_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("motion_ray.serving.lease.time.perf_counter", lambda: now)
    base = ToyBase()

    def slow(token: str, row: object) -> object:
        nonlocal now
        now += 0.25  # in, and out again
        return ToyBase.set_token_embedding(base, token, row)  # type: ignore[arg-type]

    monkeypatch.setattr(base, "set_token_embedding", slow)
    arms = toy_delta(1, "ab", row=2)
    pool = MotionPool(Library(arms), base)
    with (
        pytest.raises(DeltaError, match="in the middle"),
        pool.lease(Mix.of([(record_of(arms), 1.0)])) as lease,
        lease.applied(),
    ):
        now += 60.0
        raise DeltaError("generation", "ended in the middle", "try again")
    assert (pool.statistics().exchanges, pool.statistics().exchange_s) == (1, pytest.approx(0.5))


def test_the_router_counts_errors_and_jobs_that_no_replica_had(recorded: type[Recorder]) -> None:
    metrics: RequestWatch = RouterMetrics()
    metrics.refused(429, "queue_full")
    metrics.refused(422, "unknown_token")
    metrics.cancelled()
    assert recorded.totals["motion_ray_request_errors_total"] == 2
    assert recorded.totals["motion_ray_queued_jobs_cancelled_total"] == 1


def test_the_dashboard_asks_for_what_is_counted(recorded: type[Recorder]) -> None:
    ReplicaMetrics("r-1")
    RouterMetrics()
    panels = json.loads(DASHBOARD.read_text())["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len({panel["id"] for panel in panels}) == len(panels)
    asked = {
        SUFFIXES.sub("", name)
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"ray_(motion_ray_\w+)", target["expr"])
    }
    assert asked <= recorded.names and "motion_ray_pool_exchange_seconds_total" in asked
