"""Checkpoints of a run that survive kill -9, a full disk and a flipped bit: one directory a step.

A step exists once its directory has a manifest that fits; whatever else lies there is never loaded.
What is in a checkpoint is the trainer's business.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from motion_ray.errors import CheckpointError
from motion_ray.files import (
    atomic_directory,
    bytes_below,
    fsync_directory,
    remove_directory,
    remove_stale,
)
from motion_ray.manifest import may_pass, reading, verify_manifest

log = logging.getLogger(__name__)

_NAME = re.compile(r"step-(\d{8})")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was verified when this value was made.

    Attributes:
        step: optimizer steps behind it.
        directory: what the trainer wrote, and the manifest.
    """

    step: int
    directory: Path


class CheckpointFolder:
    """The checkpoints of one run. One process writes to it at a time; any number may read.

    Args:
        root: the folder; made by the first :meth:`save`. Leftovers of killed writers in it are
        removed.
        keep: how many of the newest checkpoints stay.

    Raises:
        ValueError: ``keep`` is below 1.
    """

    def __init__(self, root: Path, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep is at least 1, got {keep}")
        self.root, self.keep = Path(root), keep
        remove_stale(self.root)

    def save(
        self, step: int, write: Callable[[Path], None], protect: Collection[int] = ()
    ) -> Checkpoint:
        """Write a checkpoint durably, then remove old ones. A step that is there and whole stays.

        Args:
            step: optimizer steps so far.
            write: fills the empty directory that it is given with plain files.
            protect: steps that stay although they are old.

        Raises:
            CheckpointError: the disk is full, broken or read-only. Older checkpoints are as they
                were and nothing is left of the new one.
        """
        final = self._directory(step)
        remove_stale(self.root)
        if final.exists():
            damage = self._damage(final)
            if damage is None:
                with _changing(self.root):
                    # An earlier save may have ended just before this, and returning means durable.
                    fsync_directory(self.root)
                return Checkpoint(step, final)
            if may_pass(damage):
                raise damage
            log.warning("replacing a damaged checkpoint: %s", damage)
            with _changing(final):
                remove_directory(final)
        size, consequence = 0, ""
        if (previous := self._newest_complete()) is not None:
            size = bytes_below(self._directory(previous))
            consequence = f"the previous checkpoint (step {previous}) is still loadable"
        with atomic_directory(
            final, CheckpointError, expected_bytes=size, consequence=consequence
        ) as temporary:
            write(temporary)
        self._prune(step, protect)
        return Checkpoint(step, final)

    def steps(self) -> list[int]:
        """Steps that have a directory, in ascending order; not verified."""
        if not self.root.is_dir():
            return []
        names = [_NAME.fullmatch(entry.name) for entry in self.root.iterdir()]
        return sorted(int(name[1]) for name in names if name)

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that verifies; None if there has been none yet.

        Raises:
            CheckpointError: there are checkpoints, but none verifies, or one cannot be read now.
        """
        damages: list[CheckpointError] = []
        with reading(self.root, CheckpointError):
            steps = self.steps()
        for step in reversed(steps):
            directory = self._directory(step)
            damage = self._damage(directory)
            if damage is None:
                return Checkpoint(step, directory)
            if may_pass(damage):
                # An older one would do, at the price of what was trained since.
                fix = "try again; if it stays so, remove it, and an older one is taken"
                raise CheckpointError(directory, f"cannot be read now ({damage})", fix) from damage
            damages.append(damage)
            log.warning("the checkpoint of step %d cannot be used: %s", step, damage)
        if damages:
            rule = f"none of its {len(damages)} checkpoints can be used ({damages[0]})"
            raise CheckpointError(f"{self.root}", rule, "start again with a new --out folder")
        return None

    def at(self, step: int) -> Checkpoint:
        """The checkpoint of one step.

        Raises:
            CheckpointError: it is not there, or does not verify.
        """
        directory = self._directory(step)
        if not directory.exists():
            there = ", ".join(map(str, self.steps())) or "none"
            raise CheckpointError(f"{directory}", "there is no such checkpoint", f"steps: {there}")
        verify_manifest(directory, CheckpointError)
        return Checkpoint(step, directory)

    def _prune(self, saved: int, protect: Collection[int]) -> None:
        """Remove all but the newest ``keep`` whole ones, the one just saved and protected ones."""
        whole = 0
        for step in reversed(self.steps()):
            directory = self._directory(step)
            # Hashing gigabytes again at every save would cost more than it finds; but a newer step,
            # from which this run did not resume, is looked at closely before it may count.
            damage = None if step == saved else self._damage(directory, contents=step > saved)
            whole += damage is None
            if step == saved or step in protect or (damage is None and whole <= self.keep):
                continue
            if damage is not None:
                if may_pass(damage):
                    # Not seen to be damaged, only not readable now: that may pass.
                    log.warning("left in place: %s", damage)
                    continue
                log.warning("removing a damaged checkpoint: %s", damage)
            try:
                remove_directory(directory)
            except OSError as fault:
                # The new checkpoint is safe, so this save succeeded; the next one tries again.
                log.warning("%s: could not be removed: %s", directory, fault)

    def _newest_complete(self) -> int | None:
        """The newest step with all its files at their full size."""
        for step in reversed(self.steps()):
            if self._damage(self._directory(step), contents=False) is None:
                return step
        return None

    def _directory(self, step: int) -> Path:
        return self.root / f"step-{step:08d}"

    def _damage(self, directory: Path, *, contents: bool = True) -> CheckpointError | None:
        try:
            verify_manifest(directory, CheckpointError, contents=contents)
        except CheckpointError as damage:
            return damage
        return None


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        rule = f"cannot be changed: {(fault.strerror or str(fault)).lower()}"
        raise CheckpointError(f"{path}", rule, "check the disk and the permissions") from fault
