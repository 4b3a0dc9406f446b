"""What is known of trials from a machine that does not see their folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from motion_ray.cluster.runs import Runs, settle_finished
from motion_ray.customization.run import RunFolder
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.mirror import RunMirror
from motion_ray.sweeps.status import TrialState
from motion_ray.types import Validated
from tests.sweeps.samples import result, trial


@pytest.mark.parametrize("kind", ["folder", "file", "memory"])
def test_metrics_result_and_page_of_a_trial_are_found(tmp_path: Path, kind: str) -> None:
    one = trial(1)
    mirrors = {"folder": None, "file": f"file://{tmp_path}/m", "memory": f"memory:/{tmp_path}/m"}
    there = Runs(tmp_path / "there" / "runs", mirrors[kind])
    here = there if kind == "folder" else Runs(tmp_path / "here" / "runs", mirrors[kind])
    assert (here.metrics(one), here.result(one)) == ([], None)
    folder = there.folder(one)
    folder.mkdir(parents=True)
    run, uri = RunFolder(folder), there.uri(one)
    run.log(Validated(0, 0.3, 0.2, True, 0.0))
    run.report.write_text("a page")
    run.finish(result(motion="waving"))
    if uri is not None:
        mirror = RunMirror(uri, attempt=1)
        mirror.begin(folder)
        mirror.push(folder)
    assert [line["step"] for line in here.metrics(one)] == [0]
    ended = here.result(one)
    assert ended is not None and ended.step == 400
    assert ended.report == ("runs/report.html" if uri is None else f"{uri}/report.html")
    assert (here.gathered(one, finished=True) / "report.html").read_text() == "a page"
    ledger = Ledger(tmp_path / "ledger")
    ledger.add([one])
    assert settle_finished(ledger, here) == [one.identity]
    assert ledger.status(one.identity).state is TrialState.FINISHED


def test_a_damaged_result_is_left_to_its_trial(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trials, runs = [trial(1), trial(2)], Runs(tmp_path / "runs")
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(trials)
    for each in trials:
        runs.folder(each).mkdir(parents=True)
        RunFolder(runs.folder(each)).finish(result())
    RunFolder(runs.folder(trials[0])).result.write_text('{"step":')
    assert settle_finished(ledger, runs) == [trials[1].identity]
    assert ledger.status(trials[0].identity).state is TrialState.WAITING
    assert "result.json: is damaged" in caplog.text
