"""Writers that are killed again and again while they write, and what is left of their work.

A script, ``python -m tests.crash (checkpoints | store) FOLDER ROUNDS SEED`` or ``publish FOLDER
NUMBERS``, apart from the test process because it forks, which must happen before there are threads.
Prints one JSON line.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from motion_ray.customization.checkpoint import CheckpointFolder
from motion_ray.customization.delta import DeltaHeader, MotionDelta
from motion_ray.errors import MotionRayError
from motion_ray.store import DeltaStore
from motion_ray.temporaries import is_temporary

FILE_BYTES = 200_000
NAMES = ("wave", *(f"motion-{number}" for number in range(19)))
NUMBERS = 1000  # different deltas: few enough that some are published again


@dataclass
class Outcome:
    """What a kill loop saw.

    Attributes:
        kills: writers killed.
        in_the_middle: kills that left a temporary behind, so hit a writer at work.
        acknowledged: writes that a writer called done.
        verified: things loaded and checked by the survivor.
        lost: acknowledged, but not there afterwards.
        broken: there, but not loadable or with wrong content.
    """

    kills: int = 0
    in_the_middle: int = 0
    acknowledged: int = 0
    verified: int = 0
    lost: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def killed_writer(
    work: Callable[[int], None], chance: random.Random, outcome: Outcome
) -> list[str]:
    """Run ``work(descriptor)`` in a fork, kill it at a random moment; what it acknowledged."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(writer)
        finally:
            os._exit(1)
    os.close(writer)
    acknowledged = os.read(reader, 4096)  # the first one: from here on it is at work
    time.sleep(chance.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(reader, 65536):
        acknowledged += more
    os.close(reader)
    lines = acknowledged.decode().splitlines()
    outcome.kills += 1
    outcome.acknowledged += len(lines)
    return lines


# --- checkpoints ----------------------------------------------------------------------------------


def content(step: int, part: int) -> bytes:
    return random.Random(1000 * step + part).randbytes(FILE_BYTES)


def write(step: int) -> Callable[[Path], None]:
    def into(directory: Path) -> None:
        (directory / "weights").write_bytes(content(step, 0))
        (directory / "optimizer").mkdir()
        (directory / "optimizer" / "state").write_bytes(content(step, 1))

    return into


def has_content(directory: Path, step: int) -> bool:
    weights, state = directory / "weights", directory / "optimizer" / "state"
    return weights.read_bytes() == content(step, 0) and state.read_bytes() == content(step, 1)


def checkpoints(root: Path, rounds: int, chance: random.Random) -> Outcome:
    """After every kill the newest checkpoint that was acknowledged, or a newer one, must load."""
    outcome = Outcome()
    before = 0

    def work(acknowledge: int) -> None:
        folder = CheckpointFolder(root)
        for step in range(before + 1, before + 10_000):
            folder.save(step, write(step))
            os.write(acknowledge, f"{step}\n".encode())

    for _ in range(rounds):
        done = killed_writer(work, chance, outcome)
        outcome.in_the_middle += any(is_temporary(entry.name) for entry in root.iterdir())
        try:
            latest = CheckpointFolder(root).latest()
        except MotionRayError as error:
            outcome.broken.append(str(error))
            continue
        if latest is None or latest.step < max(int(done[-1]), before):
            outcome.lost.append(done[-1])
        elif not has_content(latest.directory, latest.step):
            outcome.broken.append(f"{latest.step}: wrong content")
        else:
            outcome.verified += 1
            before = latest.step
    return outcome


# --- the store ------------------------------------------------------------------------------------


def numbered_delta(number: int) -> MotionDelta:
    """A delta that says which one it is, in its header and in its values."""
    header = DeltaHeader(
        base_fingerprint="f" * 64,
        base="none",
        recipe="crash",
        name="numbered",
        token="pll",
        template="a person doing the <token>",
        step=number,
    )
    return MotionDelta(
        header, {"a": torch.full((8, 8), float(number)), "b": torch.tensor([float(number)])}
    )


def store(root: Path, rounds: int, chance: random.Random) -> Outcome:
    """After every kill each version must load, and what was acknowledged must be there."""
    outcome = Outcome()
    checked: set[str] = set()

    def work(acknowledge: int) -> None:
        own = random.Random(chance.random())
        place = DeltaStore(root)
        while True:
            number = own.randrange(NUMBERS)
            reference = place.publish(numbered_delta(number), own.choice(NAMES))
            os.write(acknowledge, f"{reference} {number}\n".encode())

    for _ in range(rounds):
        chance.random()  # another seed for the next writer
        done = killed_writer(work, chance, outcome)
        outcome.in_the_middle += any(is_temporary(entry.name) for entry in root.rglob(".*"))
        place = DeltaStore(root)
        there = {record.reference: record.step for record in place.list()}
        outcome.lost += [
            line for line in done if there.get(line.split()[0]) != int(line.split()[1])
        ]
        for reference in there.keys() - checked:
            try:
                delta = place.load(reference)
            except MotionRayError as error:
                outcome.broken.append(str(error))
                continue
            if not torch.equal(delta.tensors["a"], numbered_delta(there[reference]).tensors["a"]):
                outcome.broken.append(f"{reference}: wrong content")
            checked.add(reference)
            outcome.verified += 1
    return outcome


def publish_at_once(root: Path, numbers: list[list[int]]) -> list[list[str]]:
    """One process for each list; all start together and publish theirs as ``wave``, in order."""
    gate, hold = os.pipe()
    answers, children = [], []
    for mine in numbers:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(hold)
            os.read(gate, 1)  # returns when the last holder closes it
            place = DeltaStore(root)
            references = [place.publish(numbered_delta(number), "wave") for number in mine]
            os.write(writer, " ".join(references).encode())
            os._exit(0)
        os.close(writer)
        children.append(child)
        answers.append(reader)
    os.close(hold)
    for child in children:
        os.waitpid(child, 0)
    return [os.read(reader, 65536).decode().split() for reader in answers]


def main() -> None:
    """Run one of the loops."""
    torch.set_num_threads(1)
    what, root, *rest = sys.argv[1:]
    if what == "publish":
        print(json.dumps(publish_at_once(Path(root), json.loads(rest[0]))))
        return
    rounds, seed = map(int, rest)
    loop = {"checkpoints": checkpoints, "store": store}[what]
    print(json.dumps(asdict(loop(Path(root), rounds, random.Random(seed)))))


if __name__ == "__main__":
    main()
