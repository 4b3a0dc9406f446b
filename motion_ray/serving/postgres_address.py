"""What settings may say about a database of jobs: its address, and a schema.

Settings are shown on dashboards and workers run in other folders than whoever starts them, so an
address has neither a password nor a relative path. It is read here, and not by libpq, because it is
checked also where no packages for PostgreSQL are installed; and strictly, because what libpq reads
otherwise than we do may be a password.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

SCHEMES = ("postgresql://", "postgres://")
GOOD = "postgresql://motion_ray@db.internal/motion_ray"

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_WORD = r"(?:[\w.~+-]|%(?!00)[0-9a-fA-F]{2})*"
_HOST = rf"(?:{_WORD}|\[[0-9a-fA-F:.]+\])(?::\d{{0,5}})?"
_ADDRESS = re.compile(
    rf"postgres(?:ql)?://(?:(?P<user>{_WORD})@)?{_HOST}(?:,{_HOST})*(?:/(?P<name>{_WORD}))?"
    r"(?:\?(?P<settings>(?:[^?#%\s]|%(?!00)[0-9a-fA-F]{2})*))?",
    re.ASCII,
)
#: Of files, all but the one that a debugger would want; "system" are the authorities it trusts.
_FILES = frozenset(
    ("passfile", "servicefile", "sslcert", "sslcrl", "sslcrldir", "sslkey", "sslrootcert")
)
_SYSTEM = ("sslrootcert", "system")
_CONNECTION = "connect_timeout host hostaddr load_balance_hosts options port target_session_attrs"
_LIFE = "keepalives keepalives_count keepalives_idle keepalives_interval tcp_user_timeout"
_NAMING = "application_name client_encoding fallback_application_name service user"
_PROTOCOL = "channel_binding max_protocol_version min_protocol_version require_auth requirepeer"
_GSS = "gssdelegation gssencmode gsslib krbsrvname"
_SSL = (
    "ssl_max_protocol_version ssl_min_protocol_version sslcertmode sslcompression sslmode"
    " sslnegotiation sslsni"
)
#: libpq's names that hold no secret, and without ``dbname``, which may be a whole address.
_NAMES = _FILES.union(
    *(part.split() for part in (_CONNECTION, _LIFE, _NAMING, _PROTOCOL, _GSS, _SSL))
)


def check_url(url: str) -> str:
    """An address of a database.

    Raises:
        ValueError: it is none, has a password, or a path that is relative. What was given is not
            repeated, for it may hold a password.
    """
    if not url.startswith(SCHEMES):
        raise ValueError(f"an address of a PostgreSQL database begins so: {GOOD}")
    match = _ADDRESS.fullmatch(url)
    if match is None:
        raise _not_taken(url)
    user, name = unquote(match["user"] or ""), unquote(match["name"] or "")
    # Written as %3A a ":" in an account is one of its letters for libpq, and for people a password.
    if ":" in user or re.search(r"[:=@]", name):
        raise _not_taken(url)
    for part in match["settings"].split("&") if match["settings"] else ():
        name, is_set, value = part.partition("=")
        if name not in _NAMES or not is_set or "=" in value:
            raise _not_taken(url)
        value = unquote(value)
        if name not in _FILES and name != "hostaddr" and _odd(name, value):
            raise _not_taken(url)
        if name in _FILES and not value.startswith("/") and (name, value) != _SYSTEM:
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
        raise ValueError("is small letters, digits and _, for example motion_ray")
    return name


def names_in(url: str) -> set[str]:
    """Names of the settings in an address that was checked."""
    return {part.partition("=")[0] for part in url.partition("?")[2].split("&")}


def shown(url: str, schema: str) -> str:
    """An address that was checked, for errors."""
    return f"{url.partition('?')[0]} (schema {schema})"


def _odd(name: str, value: str) -> bool:
    """Whether it may be an account, or an address of its own: errors of libpq repeat values."""
    return ":" in value or "password" in value.casefold() or (name == "host" and "@" in value)


def _not_taken(url: str) -> ValueError:
    account, at, _ = url.partition("://")[2].rpartition("@")
    if (at and ":" in unquote(account)) or "password" in unquote(url).casefold():
        return ValueError(
            "settings are shown on dashboards, so no password stands in them: put it into a file"
            f" and name that, e.g. {GOOD}?passfile=/srv/secrets/pgpass"
        )
    return ValueError(
        "is not of the form postgresql://USER@HOST:PORT,HOST:PORT/DATABASE?NAME=VALUE&NAME=VALUE,"
        f" other characters written as %XX, e.g. {GOOD}; NAME is one of"
        f" {', '.join(sorted(_NAMES))}"
    )
