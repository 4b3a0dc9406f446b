"""The driver of a trial, as Ray Tune uses it: as one of several, or for nothing."""

from __future__ import annotations

from pathlib import Path

import ray

from motion_ray.cluster.desk import Order, SweepDesk
from motion_ray.cluster.trial_driver import IDENTITY, TrialDriver
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.status import TrialState
from tests.sweeps.samples import result, trial


def test_a_driver_that_is_of_no_use_any_more_leaves_its_trial_to_the_others(
    cluster: str, tmp_path: Path
) -> None:
    one, other, ledger = trial(1), trial(2), Ledger(tmp_path / "ledger")
    ledger.add([one, other])
    desk = ray.remote(SweepDesk).options(num_cpus=0)
    desk = desk.remote(ledger.uri, str(tmp_path / "runs"), 1, 2)
    ray.get(desk.enter.remote("slot", "host", 1))
    first, surplus = (TrialDriver.__new__(TrialDriver) for _ in range(2))
    for driver in (first, surplus):
        driver.setup({IDENTITY: one.identity}, desk=desk)
    order = ray.get(desk.take.remote("slot"))
    assert isinstance(order, Order) and order.identity == one.identity
    surplus.cleanup()
    assert surplus.reset_config({IDENTITY: other.identity})
    assert ray.get(desk.push.remote("slot", one.identity, [])) is False  # nobody asked for a stop
    ledger.finish(one.identity, 1, result(), 1.0)
    found = first.step()
    assert found["done"] and found["state"] == TrialState.FINISHED
    assert ledger.status(other.identity).state is TrialState.WAITING
    ray.kill(desk)
