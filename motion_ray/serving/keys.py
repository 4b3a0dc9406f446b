"""API keys of a server: recognizing one, and the command that makes and revokes them.

    python -m motion_ray.serving.keys create alice --file keys.json --jobs-a-day 200
    python -m motion_ray.serving.keys create operator --file keys.json --scope admin
    python -m motion_ray.serving.keys list --file keys.json
    python -m motion_ray.serving.keys revoke alice --file keys.json

``create`` prints the key on standard output, once, and nothing else there. What is in the file:
:mod:`motion_ray.serving.key_file`.
"""

from __future__ import annotations

import argparse
import hmac
import logging
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from motion_ray.errors import KeysError
from motion_ray.serving.key_file import (
    ApiKey,
    KeyLimits,
    Scope,
    StoredKey,
    create_key,
    looks_like_key,
    read_keys,
    revoke_key,
    sha256_of_key,
    stamp_of,
)

__all__ = ["ApiKey", "ApiKeys", "KeyLimits", "Scope"]

log = logging.getLogger(__name__)


class ApiKeys:
    """The keys in a file, as the file is now. Safe for threads; made by :meth:`load`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._entries: tuple[StoredKey, ...] = ()
        self._read()

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read the file; from here on it is read again whenever it changes.

        Raises:
            KeysError: it cannot be read, others may write to it, or it is no such file.
        """
        return cls(Path(path))

    def find(self, secret: str) -> ApiKey | None:
        """The key that somebody presents; null for one that is unknown or revoked.

        Every entry is compared, in a time that does not depend on how much of it is equal.

        Raises:
            KeysError: the file changed and cannot be used. Nobody is let in meanwhile: it may be
                just the revocation of this key that cannot be read.
        """
        entries = self._current()
        if not looks_like_key(secret):
            return None
        digest = sha256_of_key(secret)
        found = [each for each in entries if hmac.compare_digest(each.sha256, digest)]
        return found[0].key if found and found[0].revoked_at is None else None

    def _current(self) -> tuple[StoredKey, ...]:
        """The entries; a look at the file costs microseconds."""
        with self._lock:
            if stamp_of(self._path) != self._stamp:
                self._read()
                log.info("%s: read again, %d keys", self._path, len(self._entries))
            return self._entries

    def _read(self) -> None:
        content, self._stamp = read_keys(self._path)
        self._entries = content.keys
        if all(each.revoked_at is not None for each in self._entries):
            log.warning("%s: holds no valid key, so nobody can use the server", self._path)


# --- the command ----------------------------------------------------------------------------------


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m motion_ray.serving.keys",
        description="Make, list and revoke the API keys of a server.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key, print it, and keep its hash")
    create.add_argument("name", help="whose it is, e.g. alice-laptop")
    create.add_argument(
        "--scope",
        action="append",
        choices=[scope.value for scope in Scope],
        help="what it is for; may be repeated (default: generate)",
    )
    create.add_argument("--active", type=int, metavar="N", help="jobs that may wait or run")
    create.add_argument("--jobs-a-day", type=int, metavar="N", help="jobs accepted on a day (UTC)")
    create.add_argument(
        "--seconds-a-day", type=float, metavar="S", help="seconds its jobs run on a day (UTC)"
    )
    revoke = commands.add_parser("revoke", help="make a key worthless, at once")
    revoke.add_argument("name", help="as in the list")
    listing = commands.add_parser("list", help="show names, scopes and limits")
    for command in (create, revoke, listing):
        command.add_argument("--file", required=True, type=Path, metavar="KEYS", help="the keys")
    parser.epilog = "\n".join(command.format_usage() for command in commands.choices.values())
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, or 2 if it could not be done."""
    args = arguments().parse_args(argv)
    try:
        if args.command == "create":
            scopes = frozenset(map(Scope, args.scope or [Scope.GENERATE]))
            print(create_key(args.file, args.name, scopes, _limits(args)))
            print("This is the only time that the key is shown.", file=sys.stderr)
        elif args.command == "revoke":
            revoke_key(args.file, args.name)
            print(f"{args.name} is revoked", file=sys.stderr)
        else:
            for entry in read_keys(args.file)[0].keys:
                print(_line(entry))
    except KeysError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2
    return 0


def _limits(args: argparse.Namespace) -> KeyLimits:
    try:
        return KeyLimits(
            active=args.active, jobs_a_day=args.jobs_a_day, seconds_a_day=args.seconds_a_day
        )
    except ValidationError as fault:
        first = fault.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise KeysError(option, first["msg"], "for example 100") from fault


def _line(entry: StoredKey) -> str:
    limits = entry.limits.model_dump(exclude_none=True)
    state = "valid" if entry.revoked_at is None else f"revoked {_day(entry.revoked_at)}"
    bounds = ", ".join(f"{name} {value:g}" for name, value in limits.items()) or "no own limits"
    scopes = "+".join(entry.scopes)
    return f"{entry.name:24} {scopes:16} {state:20} made {_day(entry.created_at)}  {bounds}"


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


if __name__ == "__main__":
    sys.exit(main())
