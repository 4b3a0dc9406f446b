"""Processes that share out the trials of a sweep and are killed again and again.

A script, ``python -m tests.sweeps.ledger_crash FOLDER TRIALS KILLS SEED``, apart from the test
process because it forks, which must happen before there are threads. Prints one JSON line.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.status import TrialState
from tests.sweeps.samples import result, trial

WORKERS = 4


@dataclass
class Outcome:
    """What the loop saw.

    Attributes:
        kills: processes killed.
        interrupted: attempts that were running in them.
        finished: results that a worker was told are recorded.
        wrong: everything that must not be, in words.
    """

    kills: int = 0
    interrupted: int = 0
    finished: int = 0
    wrong: list[str] = field(default_factory=list)


def work(root: Path, told: int, seed: int) -> None:
    """Run trials until none waits. A file says that a trial is being run, so two would meet."""
    chance = random.Random(seed)
    ledger = Ledger(root / "ledger")
    while True:
        waiting = [k for k, s in ledger.statuses().items() if s.state is TrialState.WAITING]
        if not waiting:
            return
        identity = chance.choice(waiting)
        attempt = ledger.start(identity, where=str(os.getpid()))
        if attempt is None:
            continue
        busy = root / "busy" / identity
        try:
            os.close(os.open(busy, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            os.write(told, f"twice {identity}\n".encode())
        time.sleep(chance.uniform(0, 0.02))
        busy.unlink(missing_ok=True)
        if ledger.finish(identity, attempt, result(), seconds=0.01):
            os.write(told, f"finished {identity}\n".encode())


class Swarm:
    """The workers, and what they told."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.chance = root, random.Random(seed)
        self.ledger = Ledger(root / "ledger")
        self.reader, self.writer = os.pipe()
        self.children = [self.spawn() for _ in range(WORKERS)]

    def spawn(self) -> int:
        """Start a worker."""
        seed = self.chance.randrange(2**31)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work(self.root, self.writer, seed)
                code = 0
            finally:
                os._exit(code)
        return child

    def kill_one(self, outcome: Outcome) -> None:
        """Kill a worker, let its trial wait again, and start another worker."""
        victim = self.children.pop(self.chance.randrange(len(self.children)))
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        outcome.kills += 1
        for identity, status in self.ledger.statuses().items():
            if status.state is TrialState.RUNNING and status.where == str(victim):
                (self.root / "busy" / identity).unlink(missing_ok=True)
                self.ledger.interrupt(identity, status.attempts, "killed", retries=None)
                outcome.interrupted += 1
        self.children.append(self.spawn())

    def join(self, outcome: Outcome) -> list[str]:
        """Wait for the workers; returns what all of them told."""
        for child in self.children:
            if os.waitpid(child, 0)[1] != 0:
                outcome.wrong.append("a worker failed")
        os.close(self.writer)
        told = b""
        while more := os.read(self.reader, 65536):
            told += more
        return told.decode().splitlines()


def run(root: Path, trials: int, kills: int, seed: int) -> Outcome:
    outcome = Outcome()
    (root / "busy").mkdir(parents=True)
    Ledger(root / "ledger").add(trial(number) for number in range(trials))
    swarm = Swarm(root, seed)
    for _ in range(kills):
        time.sleep(swarm.chance.uniform(0.01, 0.08))
        swarm.kill_one(outcome)
    told = swarm.join(outcome)
    outcome.wrong += [line for line in told if line.startswith("twice")]
    finished = [line.split()[1] for line in told if line.startswith("finished")]
    outcome.finished = len(finished)
    ledger = Ledger(root / "ledger")  # another reader, which has to read everything
    for identity, status in ledger.statuses().items():
        ends = [event for event in ledger.history(identity) if event.kind == "finished"]
        if status.state is not TrialState.FINISHED or len(ends) != 1:
            outcome.wrong.append(f"{identity[:12]} is {status.state} with {len(ends)} results")
        if finished.count(identity) > 1:
            outcome.wrong.append(f"{identity[:12]} was finished twice")
    left = [p.name for p in (root / "ledger" / "events").iterdir() if p.name.startswith(".")]
    outcome.wrong += [f"left behind: {name}" for name in left]
    return outcome


if __name__ == "__main__":
    folder, count, killed, start = sys.argv[1:]
    print(json.dumps(asdict(run(Path(folder), int(count), int(killed), int(start)))))
