"""What settings may say about a database of jobs: its address, and a schema.

Settings are shown on dashboards and workers run in other folders than whoever starts them, so an
address has neither a password nor a relative path. It is read here, and not by libpq, because it is
checked also where no packages for PostgreSQL are installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

SCHEMES = ("postgresql://", "postgres://")
GOOD = "postgresql://motion_ray@db.internal/motion_ray"

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_PASSWORDS = ("password", "sslpassword")
_FILES = ("passfile", "servicefile", "sslcert", "sslcrl", "sslcrldir", "sslkey", "sslrootcert")


def check_url(url: str) -> str:
    """An address of a database.

    Raises:
        ValueError: it is none, has a password, or a path that is relative. What was given is not
            repeated, for it may hold a password.
    """
    if not url.startswith(SCHEMES):
        raise ValueError(f"an address of a PostgreSQL database begins so: {GOOD}")
    # Any "@" after a ":", as a password may hold what would else end an account.
    if re.search(r":.*@", _rest(url), re.DOTALL) or any(n in _PASSWORDS for n, _ in settings(url)):
        raise ValueError(
            "settings are shown on dashboards, so no password stands in them: put it into a file"
            f" and name that, e.g. {GOOD}?passfile=/srv/secrets/pgpass"
        )
    for name, value in settings(url):
        # "system" are the authorities that the system trusts.
        if name in _FILES and not value.startswith("/") and value != "system":
            raise ValueError(
                f"{name} is not absolute, and the folders of all processes differ,"
                f" e.g. {name}=/srv/secrets/{name}"
            )
    return url


def check_schema(name: str) -> str:
    """A name that nobody has to quote, at least not for its letters.

    Raises:
        ValueError: it is none.
    """
    if _SCHEMA.fullmatch(name) is None or name.startswith("pg_"):
        raise ValueError(f"got {name!r}: small letters, digits and _, for example motion_ray")
    return name


def settings(url: str) -> Iterator[tuple[str, str]]:
    """Names and values after the first ``?``, decoded."""
    for part in re.split(r"[?&]", _rest(url))[1:]:
        name, _, value = part.partition("=")
        yield unquote(name), unquote(value)


def shown(url: str, schema: str) -> str:
    """An address that was checked, for errors."""
    return f"{url.partition('?')[0]} (schema {schema})"


def _rest(url: str) -> str:
    return url.partition("://")[2]
