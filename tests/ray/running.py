"""The job as a process of its own, watched through what it prints and writes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
PATIENCE = 280.0  # seconds; a busy machine takes minutes for what is otherwise done in 20 s
START = re.compile(r"worker started (?:again )?on \S+ \(process (\d+)")


class Job:
    """``python -m jobs.customize --plain``, or another job, with its output in a file.

    Args:
        arguments: of the command line.
        out: its ``--out``; of a sweep also an address.
        log: where its output goes.
        environment: additions; a null value removes a variable.
        module: the job.
    """

    def __init__(
        self,
        arguments: list[str],
        out: Path,
        log: Path,
        environment: Mapping[str, str | None],
        module: str = "jobs.customize",
    ) -> None:
        self.out, self._log = out, log
        environ = {**os.environ, **environment}
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments, "--out", str(out), "--plain"],
                cwd=REPO,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in environ.items() if value is not None},
                start_new_session=True,  # as a shell does: Ctrl-C reaches the whole group
            )

    @property
    def printed(self) -> str:
        """Everything it has said so far."""
        return self._log.read_text()

    def worker(self) -> int:
        """Process id of the worker that was started last."""
        return int(START.findall(self.printed)[-1])

    def steps(self) -> list[int]:
        """Steps in ``metrics.jsonl``, in file order; a line that is being written is left out."""
        return [line["step"] for line in metrics(Path(self.out)) if line["event"] == "step"]

    def until(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait for something to become true while the job runs."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"the job ended early:\n{self.printed}"
            assert time.monotonic() < deadline, f"waited {seconds} s:\n{self.printed}"
            time.sleep(0.05)

    def finish(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; returns its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not over after {seconds} s:\n{self.printed}") from None

    def end(self) -> None:
        """Kill it if it still runs; a private cluster goes with it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def metrics(out: Path) -> list[dict[str, Any]]:
    """Complete lines of ``metrics.jsonl``."""
    path = out / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def result(out: Path) -> dict[str, Any]:
    """``result.json`` of a finished run."""
    return json.loads((out / "result.json").read_text())
