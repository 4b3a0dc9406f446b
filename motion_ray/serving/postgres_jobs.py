"""The job store in a PostgreSQL database, for generators on several machines.

Tables lie in a schema of their own. Writers take turns by an advisory lock of that schema, as those
of a file do: limits are exact, and ids of events are in the order in which they can be seen. The
clock is the database's, so a claim ends at the same moment for everybody. Timeouts in the session
make a machine that is suddenly gone let go of the lock, and one of ours ends what waits for a
database that says nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Unpack

from motion_ray.errors import JobDatabaseError, JobStoreError
from motion_ray.serving.job_rows import Connection, Cursor
from motion_ray.serving.job_schema import MIGRATIONS, statements_after
from motion_ray.serving.postgres_address import check_schema, check_url, names_in, shown
from motion_ray.serving.socket_guard import SocketGuard
from motion_ray.serving.sql_jobs import Keeping, SqlJobStore

if TYPE_CHECKING:
    from psycopg import Connection as PsycopgConnection
    from psycopg import Error
    from psycopg_pool import ConnectionPool

MOST_CONNECTIONS = 8  # of one process
CONNECT_S = 5
RETRY_S = 3  # of attempts to connect, with growing pauses, before they begin anew
SILENT_S = 10  # before the network's sign of life is asked of a machine that says nothing
LOCK = 0x6D72_6A73  # "mrjs": our advisory locks among those of others

#: From SQLite's words, which are those of the migrations, to PostgreSQL's; in this order.
_WORDS = (
    ("INTEGER PRIMARY KEY AUTOINCREMENT", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
    (" INTEGER", " BIGINT"),
    (" REAL", " DOUBLE PRECISION"),
    (") STRICT, WITHOUT ROWID", ")"),
    (") STRICT", ")"),
)


class PostgresDatabase:
    """Jobs in a schema of a database; safe for threads and for processes, not across forks.

    Args:
        url: see :func:`motion_ray.serving.postgres_address.check_url`. libpq finds the password in
            ``PGPASSWORD``, or in the file that ``?passfile=`` names, else in ``~/.pgpass``. Without
            ``target_session_attrs`` it has to be a server that can be written to.
        schema: name of the schema.
        owner: id of the folder that has the videos: jobs of a database go with one.
        migrations: the tables.
        make: the schema, if it is not there; else that is an error.
        busy_s: seconds to wait for other writers, and for a connection; what is done with one takes
            twice that at most.

    Raises:
        ValueError: the address or the name of the schema is none.
        JobDatabaseError: it cannot be reached.
        JobStoreError: nor used: it belongs to another folder, or has tables of a newer version.
    """

    def __init__(
        self,
        url: str,
        schema: str,
        owner: str,
        migrations: Sequence[str] = MIGRATIONS,
        *,
        make: bool = True,
        busy_s: float = 10.0,
    ) -> None:
        self._schema, self._busy_s = check_schema(schema), busy_s
        self._quoted = f'"{schema}"'  # it may be a word of SQL
        self.where = shown(check_url(url), schema)
        if not (find_spec("psycopg") and find_spec("psycopg_pool")):
            rule = "the packages for PostgreSQL are not installed"
            raise JobStoreError(self.where, rule, "pip install 'motion_ray[postgres]'")
        self._guard = SocketGuard()
        with self._explained():
            self._pool = self._open(url)
            try:
                self._migrate(migrations, owner, make)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the connections, for good."""
        self._pool.close()
        self._guard.close()

    def now(self, connection: Connection) -> float:
        """Unix seconds, on the clock of the database."""
        sql = "SELECT extract(epoch FROM clock_timestamp())::float8 AS now"
        return connection.execute(sql).fetchone()["now"]

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent view of the tables.

        Raises:
            JobStoreError: the database cannot be used.
        """
        from psycopg import IsolationLevel

        with self._connection() as connection:
            connection.read_only = True
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
            with connection.transaction():
                yield _Words(connection)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that nobody else writes during; durable on leaving, undone on an error.

        Raises:
            JobStoreError: the database cannot be used, or another writer does not come to an end.
        """
        from psycopg import IsolationLevel

        with self._connection() as connection:
            connection.read_only = False
            # Each statement sees what those before us wrote, who held the lock.
            connection.isolation_level = IsolationLevel.READ_COMMITTED
            with connection.transaction():
                words = _Words(connection)
                words.execute("SELECT pg_advisory_xact_lock(?, hashtext(?))", (LOCK, self._schema))
                yield words

    @contextlib.contextmanager
    def _connection(self) -> Iterator[PsycopgConnection[Any]]:
        from psycopg.errors import ReadOnlySqlTransaction

        with self._explained():
            connection = self._pool.getconn()
            try:
                with self._guard.limited(connection.fileno(), 2 * self._busy_s):
                    yield connection
            except ReadOnlySqlTransaction:
                self._pool.drain()  # their server is a standby by now: the next one may be none
                raise
            finally:
                self._pool.putconn(connection)

    def _try_on(self, pool: ConnectionPool[Any]) -> None:
        """Have a pool that gave up connecting begin anew while somebody waits, and not only when
        the next one asks.
        """
        from psycopg_pool import PoolClosed, PoolTimeout

        if not pool.get_stats().get("requests_waiting"):
            return
        with contextlib.suppress(PoolTimeout, PoolClosed):
            pool.putconn(pool.getconn(timeout=0.01))

    def _open(self, url: str) -> Any:
        from psycopg import ProgrammingError, connect
        from psycopg.rows import dict_row
        from psycopg_pool import ConnectionPool

        words: dict[str, Any] = {
            "connect_timeout": CONNECT_S,
            "keepalives_idle": SILENT_S,
            "keepalives_interval": CONNECT_S,
            "keepalives_count": 3,
            "tcp_user_timeout": SILENT_S * 1000,
            "application_name": "motion_ray",
            "target_session_attrs": "read-write",
        }
        for name in names_in(url) & words.keys():
            del words[name]  # what the address says counts
        try:
            connect(url, **words).close()  # a pool would not say why it cannot
        except ProgrammingError:  # which would repeat a part of the address
            fix = "check its spelling"
            raise JobStoreError(self.where, "is no address that libpq reads", fix) from None
        return ConnectionPool(
            url,
            min_size=1,
            max_size=MOST_CONNECTIONS,
            timeout=self._busy_s,
            reconnect_timeout=RETRY_S,  # then the pauses, which grow, are short again
            reconnect_failed=self._try_on,
            configure=self._configure,
            check=self._check,
            open=True,
            kwargs={
                "autocommit": True,  # transactions begin and end where they are written
                "row_factory": dict_row,
                "prepare_threshold": None,  # poolers between us and the server may not know them
                **words,
            },
        )

    def _check(self, connection: PsycopgConnection[Any]) -> None:
        """Before it is used: a restart of the server, or the network, may have ended it."""
        with self._guard.limited(connection.fileno(), CONNECT_S):
            connection.execute("")

    def _configure(self, connection: PsycopgConnection[Any]) -> None:
        """Before a connection is used for the first time."""
        words = _Words(connection)
        busy = f"{round(self._busy_s * 1000)}"
        with self._guard.limited(connection.fileno(), 2 * CONNECT_S):
            for name, value in {
                "search_path": self._quoted,
                "lock_timeout": busy,
                "statement_timeout": busy,
                # Who holds the lock and is gone holds it no longer: a process that hangs, and a
                # machine without power, which the server would else wait for by the hour.
                "idle_in_transaction_session_timeout": busy,
                "tcp_keepalives_idle": f"{SILENT_S}",
                "tcp_keepalives_interval": f"{CONNECT_S}",
                "tcp_keepalives_count": "3",
            }.items():
                words.execute("SELECT set_config(?, ?, false)", (name, value))
            # What was accepted is on a disk before anybody is told.
            words.execute(
                "SELECT set_config('synchronous_commit', 'on', false)"
                " WHERE current_setting('synchronous_commit') = 'off'"
            )

    def _migrate(self, migrations: Sequence[str], owner: str, make: bool) -> None:
        with self.writing() as connection:
            there = connection.execute(
                "SELECT to_regnamespace(?) IS NOT NULL AS schema,"
                " to_regclass(?) IS NOT NULL AS about",
                (self._quoted, f"{self._quoted}.about"),
            ).fetchone()
            if not (there["about"] or make):
                rule = "has no jobs, and those of the videos here were in a database"
                fix = "name the database as before, or another folder as state"
                raise JobStoreError(self.where, rule, fix)
            if not there["schema"]:
                connection.execute(f"CREATE SCHEMA {self._quoted}")
            if not there["about"]:
                tables = connection.execute(
                    "SELECT count(*) AS n FROM pg_tables WHERE schemaname = ?", (self._schema,)
                ).fetchone()["n"]
                if tables:
                    fix = "choose another one with site.jobs_schema"
                    raise JobStoreError(self.where, "the schema has tables of others", fix)
                connection.execute("CREATE TABLE about (version BIGINT, owner TEXT)")
                connection.execute("INSERT INTO about VALUES (0, ?)", (owner,))
            about = connection.execute("SELECT * FROM about").fetchone()
            if about["owner"] != owner:
                rule = "its jobs go with the videos of another folder"
                fix = (
                    "name that folder as state, on storage that all machines see, or another"
                    " schema with site.jobs_schema"
                )
                raise JobStoreError(self.where, rule, fix)
            for statement in statements_after(about["version"], migrations, self.where):
                connection.execute(translated(statement))
            connection.execute("UPDATE about SET version = ?", (len(migrations),))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of the database and of the connection as ours."""
        from psycopg import Error

        try:
            yield
        except (Error, OSError) as fault:  # also TimeoutError, and no descriptor left
            lines = str(fault).strip().splitlines() or [type(fault).__name__]
            rule = f"cannot be used: {lines[0]}"
            if isinstance(fault, Error) and not _is_away(fault):
                raise JobStoreError(self.where, rule, "see the log of the server") from fault
            fix = "check that the server runs, its address and the password (docs/serving.md)"
            raise JobDatabaseError(self.where, rule, fix) from fault


class PostgresJobStore(SqlJobStore):
    """A store for one server on any number of machines.

    Args:
        url: as of :class:`PostgresDatabase`.
        schema: the same.
        owner: the same.
        make: the same.
        keeping: see :class:`motion_ray.serving.sql_jobs.Keeping`.

    Raises:
        JobStoreError: it cannot be used.
    """

    def __init__(
        self, url: str, schema: str, owner: str, *, make: bool = True, **keeping: Unpack[Keeping]
    ) -> None:
        super().__init__(PostgresDatabase(url, schema, owner, make=make), **keeping)


class _Words:
    """A connection that takes statements as they are written for SQLite."""

    def __init__(self, connection: PsycopgConnection[Any]) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Cursor:
        return self._connection.execute(sql.replace("?", "%s").encode(), values)


def translated(statement: str) -> str:
    """A statement of the migrations in PostgreSQL's words."""
    for theirs, ours in _WORDS:
        statement = statement.replace(theirs, ours)
    return statement


def _is_away(fault: Error) -> bool:
    """Whether the server, or the way to it, is to blame: another process would fare no better."""
    from psycopg import OperationalError

    # It became a standby, or ended a transaction of ours that hung.
    return isinstance(fault, OperationalError) or fault.sqlstate in ("25006", "25P03", "25P04")
