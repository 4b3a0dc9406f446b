"""The job store in one SQLite file: connections, transactions, versions of the schema.

Write-ahead logging lets readers and one writer work at once, from any number of processes of one
machine; the file must be on a local disk. ``synchronous=FULL`` makes a commit durable before it
returns. A schema has a number; opening an older file brings it up to date in one transaction, and a
newer one is refused.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Unpack

from motion_ray.errors import JobStoreError
from motion_ray.serving.job_rows import Connection
from motion_ray.serving.job_schema import MIGRATIONS, statements_after
from motion_ray.serving.sql_jobs import Keeping, SqlJobStore

APPLICATION = 0x6D72_6A73  # "mrjs": tells our file from somebody else's
NEEDED = (3, 37, 0)  # STRICT tables; RETURNING came before
IDLE_KEPT = 8  # connections


class SqliteDatabase:
    """A file of jobs; safe for threads, for processes and across forks.

    Args:
        path: the file; made, for its owner only, if it does not exist.
        migrations: the schema.
        busy_s: seconds to wait for another writer.

    Raises:
        JobStoreError: it is no such file, of a newer version, or cannot be opened.
    """

    def __init__(
        self, path: Path, migrations: Sequence[str] = MIGRATIONS, *, busy_s: float = 20.0
    ) -> None:
        self.path = Path(path)
        self._busy_s = busy_s
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._inherited: list[sqlite3.Connection] = []
        self._process = os.getpid()
        if sqlite3.sqlite_version_info < NEEDED:
            rule = f"needs SQLite {'.'.join(map(str, NEEDED))}, this is {sqlite3.sqlite_version}"
            raise JobStoreError(self.path, rule, "use a newer Python")
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        with self._connection() as connection:
            self._migrate(connection, migrations)

    def close(self) -> None:
        """Close what is open; the object can be used again afterwards."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def now(self, connection: Connection) -> float:
        """Unix seconds, of this machine: nobody else can share its files."""
        return time.time()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A consistent view of the file.

        Raises:
            JobStoreError: the file cannot be used.
        """
        with self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes during; durable on leaving, undone on an error.

        Raises:
            JobStoreError: the file cannot be used, the disk is full, or another writer does not
                come to an end.
        """
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._explained():
            connection = self._take() or self._open()
            try:
                yield connection
            except sqlite3.Error:
                connection.close()  # whatever state it is in, nobody gets it again
                raise
            except BaseException:
                self._give_back(connection)
                raise
            self._give_back(connection)

    def _take(self) -> sqlite3.Connection | None:
        with self._lock:
            if self._process != os.getpid():
                # A forked child must neither use its parent's connections nor close them.
                self._inherited += self._idle
                self._idle, self._process = [], os.getpid()
            return self._idle.pop() if self._idle else None

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if len(self._idle) < IDLE_KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=self._busy_s, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            rule = f"its filesystem allows no write-ahead log (journal mode {mode})"
            raise JobStoreError(self.path, rule, "put it on a local disk")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    def _migrate(self, connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
        connection.execute("BEGIN IMMEDIATE")  # others who open it now wait and find it done
        try:
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if owner != APPLICATION and (owner or version or tables):
                raise JobStoreError(self.path, "is no job store", "choose another file")
            for statement in statements_after(version, migrations, self.path):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION}")
            connection.execute(f"PRAGMA user_version={len(migrations)}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of SQLite and of the system as ours."""
        try:
            yield
        except sqlite3.Error as fault:
            fix = "check the disk and the file's permissions"
            raise JobStoreError(self.path, f"cannot be used: {fault}", fix) from fault
        except OSError as fault:
            rule = f"cannot be opened: {(fault.strerror or str(fault)).lower()}"
            raise JobStoreError(self.path, rule, "choose another file") from fault


class SqliteJobStore(SqlJobStore):
    """A store for one server on one machine.

    Args:
        path: the file, on a local disk.
        keeping: see :class:`motion_ray.serving.sql_jobs.Keeping`.

    Raises:
        JobStoreError: it cannot be used.
    """

    def __init__(self, path: Path, **keeping: Unpack[Keeping]) -> None:
        super().__init__(SqliteDatabase(path), **keeping)
