"""The SQLite file behind the job store: connections, transactions, versions of the schema.

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
from collections.abc import Iterator, Sequence
from pathlib import Path

from motion_ray.errors import JobStoreError

APPLICATION = 0x6D72_6A73  # "mrjs": tells our file from somebody else's
NEEDED = (3, 37, 0)  # STRICT tables; RETURNING came before
IDLE_KEPT = 8  # connections

SCHEMA_1 = """
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    client TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    request TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    idempotency_key TEXT,
    created_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    expires_at REAL,
    deadline REAL,
    attempt INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    lease_until REAL,
    done INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL DEFAULT 0,
    cancelling INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0,
    failure_code TEXT,
    failure_message TEXT,
    result_file TEXT,
    result_bytes INTEGER,
    result_sha256 TEXT,
    timings TEXT NOT NULL DEFAULT '{}',
    CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CHECK ((state = 'succeeded') = (result_file IS NOT NULL)),
    CHECK ((state = 'failed') = (failure_code IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX jobs_by_key ON jobs (client, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX jobs_by_state ON jobs (state, seq);
CREATE INDEX jobs_by_client ON jobs (client, seq);
CREATE INDEX jobs_by_expiry ON jobs (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_job ON events (job, id);

CREATE TABLE usage (
    client TEXT NOT NULL,
    day INTEGER NOT NULL,
    jobs INTEGER NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (client, day)
) STRICT, WITHOUT ROWID;

CREATE TABLE removed (
    id TEXT PRIMARY KEY,
    client TEXT NOT NULL,
    at REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX removed_by_time ON removed (at);
"""

SCHEMA_2 = "ALTER TABLE jobs ADD COLUMN not_before REAL"

#: Scripts that lead from one version of the schema to the next; never changed, only appended to.
MIGRATIONS: tuple[str, ...] = (SCHEMA_1, SCHEMA_2)


class JobDatabase:
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
            if version > len(migrations):
                rule = f"has schema {version}, this version of motion_ray knows {len(migrations)}"
                raise JobStoreError(self.path, rule, "update motion_ray, or choose another file")
            for script in migrations[version:]:
                for statement in filter(str.strip, script.split(";")):
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
