"""Which motions a prompt asks for by their tokens.

A motion owns a rare word, V* of the paper, such as ``pll``. A prompt that holds it as a whole word
asks for the motion. A rare word that no motion owns is an error: the base model knows nothing of
it, and a video without the motion would look like a motion that was badly learned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from motion_ray.errors import AmbiguousTokenError, TokenError, UnknownTokenError
from motion_ray.evaluation.prompts import contains_word
from motion_ray.store import DeltaRecord, listed

#: Words that are customary for V* because nobody writes them for anything else.
CUSTOMARY = frozenset({"pll", "sks", "olis", "vqz", "zwx", "ukj", "dgx", "cips"})

#: Words without a vowel that people do write.
_ABBREVIATION = re.compile(
    "bbc|bmx|cctv|dslr|dvd|fps|hdr|hmm|jpg|lcd|lgbt|mph|mrs|mtv|nbc|nfl|nhl|npc|ntsc|pdf|phd|png|"
    "pvc|rgb|rpg|shh|vcr|vfx|vhs|xxl|zzz"
)
_CONSONANTS = re.compile(r"[bcdfghjklmnpqrstvwxz]{3,5}")


@dataclass(frozen=True)
class TokenIndex:
    """Tokens of the motions that can be served.

    Attributes:
        owners: token in small letters to the names of its motions, sorted.
        others: tokens of motions that were made for another base model.
    """

    owners: Mapping[str, tuple[str, ...]]
    others: frozenset[str] = frozenset()

    def described(self) -> str:
        """The tokens for a message: ``pll (swinging-arms), sks (jumping)``."""
        pairs = [f"{token} ({', '.join(names)})" for token, names in self.owners.items()]
        return listed(pairs) or "none yet"


def motions_in(prompt: str, index: TokenIndex) -> list[str]:
    """Names of the motions that a prompt asks for, in the order of their tokens in the prompt.

    Args:
        prompt: any text.
        index: tokens that are known.

    Returns:
        None, one or several names; none means the base model alone.

    Raises:
        UnknownTokenError: a rare word of the prompt belongs to no motion here.
        AmbiguousTokenError: a token belongs to several motions.
    """
    words = re.findall(r"\w+", prompt.casefold())
    _check_rare(words, index)
    places = {word: place for place, word in reversed(list(enumerate(words)))}
    used: dict[str, int] = {}
    for token in index.owners:
        if token in places:
            used[token] = places[token]
        elif re.search(r"\W", token) and contains_word(prompt, token):  # such as V*
            used[token] = len(words)
    found: list[str] = []
    for token in sorted(used, key=used.__getitem__):
        names = index.owners[token]
        if len(names) > 1:
            rule = f"the token {token!r} belongs to several motions: {listed(names)}"
            fix = f'name one, e.g. "motions": [{{"id": "{names[0]}"}}]'
            raise AmbiguousTokenError("motions", rule, fix)
        found += names
    return found


def check_invoked(prompt: str, records: Sequence[DeltaRecord]) -> None:
    """Refuse motions that were named by id, but whose tokens the prompt does not hold.

    Raises:
        TokenError: the motion and the token that is missing.
    """
    for record in records:
        if not contains_word(prompt, record.token):
            rule = f"does not hold {record.token!r}, the token of {record.name}"
            example = record.template.replace("<token>", record.token)
            fix = f'write for example "{example}", or set allow_missing_token'
            raise TokenError("prompt", rule, fix)


def looks_rare(word: str) -> bool:
    """Whether a word is one that people choose for V*, and not one that they write otherwise."""
    word = word.casefold()
    if word in CUSTOMARY:
        return True
    return bool(_CONSONANTS.fullmatch(word)) and not _ABBREVIATION.fullmatch(word)


def _check_rare(words: Sequence[str], index: TokenIndex) -> None:
    """Refuse a rare word that no motion of this base owns."""
    for word in words:
        if word in index.owners or not (word in index.others or looks_rare(word)):
            continue
        rule = f"{word!r} is the token of no motion here"
        if word in index.others:
            rule = f"{word!r} is the token of a motion that was made for another base model"
        fix = f"known tokens: {index.described()}; or name motions by id, [] for none"
        raise UnknownTokenError("prompt", rule, fix)
