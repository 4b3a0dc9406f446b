"""Where a sweep keeps what: in a folder that all machines see, or behind an address."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from motion_ray.cluster.paths import lasting_path
from motion_ray.cluster.runs import Runs
from motion_ray.customization.run import check_place
from motion_ray.errors import ConfigError
from motion_ray.locks import only_process
from motion_ray.sweeps.lease import only_submission
from motion_ray.sweeps.place import open_place


@dataclass(frozen=True)
class SweepFolders:
    """The places of a sweep.

    Attributes:
        root: ``--out``, which every machine sees; or ``--work``, which each machine has for itself.
        store: of the best deltas; path or URI.
        uri: ``--out`` if it is an address: what lasts is there.
    """

    root: Path
    store: str
    uri: str | None = None

    @property
    def ledger(self) -> str:
        """The record: trials and what happened to them."""
        return f"{self.uri or self.root}/ledger"

    @property
    def runs(self) -> Runs:
        """A run folder for each trial."""
        return Runs(self.root / "runs", None if self.uri is None else f"{self.uri}/runs")

    @property
    def cache(self) -> Path:
        """Encoded clips and texts, shared by all trials."""
        return self.root / "cache"

    @property
    def log(self) -> Path:
        """JSON lines of everything that happens, for machines."""
        return self.root / "sweep.jsonl"

    @property
    def scratch(self) -> str:
        """What Ray insists on writing."""
        return f"{self.uri or self.root}/.ray"

    @property
    def page(self) -> Path:
        """Folder of the leaderboard on this machine."""
        return self.root if self.uri is None else self.runs.copies

    @property
    def shown(self) -> str:
        """Where the user finds it all."""
        return self.uri or str(self.root)

    @property
    def name(self) -> str:
        """Of the sweep."""
        return self.shown.rstrip("/").rpartition("/")[2]

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other submissions out while the context lives.

        Raises:
            FolderBusyError: another one works here.
            RunFolderError: there can be no such folder.
        """
        option = "--out" if self.uri is None else "--work"
        check_place(self.root, option)
        self.root.mkdir(parents=True, exist_ok=True)
        with only_process(self.root, option):
            if self.uri is None:
                yield
            else:
                with only_submission(self.uri):
                    yield

    def publish(self, page: Path) -> str:
        """Put what people and machines read where it lasts; returns where the page is then.

        Raises:
            LedgerError: it cannot be written.
        """
        if self.uri is None:
            return str(page)
        place = open_place(self.uri)
        for file in (page, self.log, self.log.with_suffix(".prom")):
            if file.exists():
                place.upload(file.name, file)
        return f"{self.uri}/{page.name}"


def sweep_folders(out: str, store: str | None, here: Path, work: str | None) -> SweepFolders:
    """The places that a command line names.

    Args:
        out: ``--out``: a path or an address.
        store: ``--store``; null: in ``out``.
        here: the current directory.
        work: ``--work``: of an address, the folder on each machine; null: one in ``~/.cache``.

    Raises:
        ConfigError: Ray would delete it, or ``--work`` without an address.
        LedgerError: nothing is installed for such an address.
    """
    if store is not None and "://" not in store:
        store = str(lasting_path(store, "--store", here))
    if "://" not in out:
        if work is not None:
            rule = "is for an --out that is an address; trials run in --out otherwise"
            raise ConfigError(f"--work {work}", rule, "leave it out")
        root = lasting_path(out, "--out", here)
        return SweepFolders(root, store or str(root / "store"))
    uri = out.rstrip("/")
    open_place(uri)  # refuse a bad address now
    # The same name for the same address: what a machine still has is not sent to it again.
    name = hashlib.sha256(uri.encode()).hexdigest()[:12]
    private = Path.home() / ".cache" / "motion_ray" / name
    root = private if work is None else lasting_path(work, "--work", here)
    return SweepFolders(root, store or f"{uri}/store", uri)
