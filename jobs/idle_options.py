"""Refusing options that would have no effect: one passes for an option that had it, for hours."""

from __future__ import annotations

import argparse
from collections.abc import Collection

from motion_ray.errors import ConfigError


def refuse_idle(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    idle: Collection[str],
    reason: str,
) -> None:
    """Refuse an option that was given and is not used.

    Args:
        parser: of the command.
        options: what it has parsed.
        idle: names of the options without effect, as in ``options``.
        reason: why they have none, in words that follow the option.

    Raises:
        ConfigError: naming the option.
    """
    for action in parser._actions:  # argparse offers no other way to the options' names
        given = getattr(options, action.dest, action.default)
        if action.dest in idle and given != action.default:
            raise ConfigError(action.option_strings[-1], reason, "leave it out")


def all_but(parser: argparse.ArgumentParser, used: Collection[str]) -> set[str]:
    """Names of all options of a command but some."""
    return {action.dest for action in parser._actions} - set(used)
