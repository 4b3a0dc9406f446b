"""Tables of a job store, in the words of SQLite. Another database translates them."""

from __future__ import annotations

from collections.abc import Sequence

from motion_ray.errors import JobStoreError

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


def statements_after(version: int, migrations: Sequence[str], where: object) -> list[str]:
    """What brings tables of a version up to date.

    Args:
        version: of the tables that are there; 0 for none.
        migrations: the scripts.
        where: the tables, for an error.

    Raises:
        JobStoreError: they are of a newer version.
    """
    if version > len(migrations):
        rule = f"has schema {version}, this version of motion_ray knows {len(migrations)}"
        raise JobStoreError(where, rule, "update motion_ray, or choose another place for jobs")
    scripts = ";".join(migrations[version:])
    return [statement for statement in scripts.split(";") if statement.strip()]
