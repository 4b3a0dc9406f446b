"""Which motions a prompt asks for by their tokens.

A motion owns a rare word, V* of the paper, such as ``pll``. A prompt that holds it as a whole word
asks for the motion. A rare word that no motion owns is an error: the base model knows nothing of
it, and a video without the motion would look like a motion that was badly learned.

Which words are rare is decided without a dictionary, so cautiously: refusing ordinary English is
worse than missing a token. A word that no motion owns is taken for a token

- anywhere, if it is customary for V* (``sks``, ``ohwx``), or has letters side by side that no
  English word has (``xqz``);
- where tokens stand, if it has three to five letters, no vowel among them, and is neither an
  abbreviation that people often write, nor a Roman numeral, nor a sound (``zzz``);
- where tokens stand, or if it has no vowel, if it is the token of a motion for another base model.

Tokens stand after "doing" and its forms ("doing the pll"), and where the templates of known motions
have theirs ("a person with <token>", "a <token> man"). Capitals among small letters mark an
abbreviation ("a red BMW"). A word that could be English, such as ``zorp``, is never refused.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from motion_ray.errors import AmbiguousTokenError, TokenError, UnknownTokenError
from motion_ray.evaluation.prompts import TOKEN, contains_word
from motion_ray.store import DeltaRecord, listed

#: Words that are customary for V* because nobody writes them for anything else.
CUSTOMARY = frozenset({"pll", "sks", "olis", "vqz", "zwx", "ukj", "dgx", "cips", "ohwx"})

_WORD = re.compile(r"\w+")
_ARTICLES = frozenset({"a", "an", "the"})
_DOING = frozenset({"do", "does", "did", "doing"})
_CONSONANTS = re.compile(r"[bcdfghjklmnpqrstvwxz]{3,5}")
#: Of 76,000 English words, names and abbreviations of three to five letters (package wordfreq),
#: none with such a pair is written more often than once in eight million words.
_UNHEARD = re.compile(r"(?=[a-z]{3,5}$).*(?:([jqxz])(?!\1)[jqxz]|wx|xw)")
_SOUND = re.compile(r".*(.)\1\1.*|brr|grr|hmm|pfft|psst|shh|tsk")
_ROMAN = re.compile(r"m{0,3}(cm|cd|d?c{0,3})(xc|xl|l?x{0,3})v?")
#: Words without a vowel that people write in small letters too: the most frequent ones (wordfreq),
#: and some that prompts are likely to hold.
_ABBREVIATION = re.compile(
    "(?:"
    "bbc|bbq|bbw|bcs|bdsm|bjj|bjp|blm|blvd|bmw|bmx|bpd|brb|bst|btc|bts|btw|cbc|cbd|cbs|ccp|"
    "cctv|cdc|cds|cms|cnbc|cnc|cnn|cpc|cpr|cps|crt|csr|css|csv|ctrl|cvs|ddr|dhl|dhs|djs|dlc|"
    "dmv|dnc|dnd|dns|dps|drs|dsl|dslr|dsm|dvd|dvr|fbx|fcc|fdr|ffs|fps|fpv|ftc|gbp|gdp|ghz|gmbh|"
    "gmc|gmt|gps|gsm|gst|gtx|hdr|hdtv|hms|hpv|hrs|htc|html|http|https|jfk|jpg|jrpg|kfc|kgb|khz|"
    "kpmg|ktm|lbj|lbs|lcd|lds|lgbt|lgbtq|llc|llp|lng|lsd|ltd|lvl|mgm|mhz|mlb|mlk|mlm|mls|mmr|"
    "mpg|mph|mps|mrs|msc|msg|msm|msnbc|mtb|mtg|mtv|mvp|nbc|ndp|nfc|nfl|nhl|nhs|npc|npr|nrl|"
    "nsfw|nsw|nth|ntsc|nxt|pbr|pbs|pcb|pcr|pcs|pct|pdf|pdp|phd|php|plc|pls|plz|png|ppg|ppl|ppm|"
    "prc|psd|psg|psp|pst|pts|ptsd|pvc|pvt|qld|qpr|rbs|rdj|rgb|rpg|rpm|rss|rsvp|rts|rtx|sbs|sfx|"
    "sgt|smh|sms|snl|snp|spd|spp|sql|ssd|ssh|ssr|std|str|sts|sxsw|tbh|tcp|tds|tgv|thc|thx|tlc|"
    "tmnt|tmz|tnt|tpp|tps|trx|tsp|tvs|txt|vcr|vfl|vfx|vga|vhs|vpn|wcw|wsj|wtc|wtf|wth|wwf|xml|"
    "bff|hdd|kwh|pms|pvp|tbs|tbsp|wmd|xxl"
    ")s?"
)

Place = tuple[str, str]
"""Where a token stands: after a word, or, if that is "", before one. Articles do not count."""


@dataclass(frozen=True)
class TokenIndex:
    """Tokens of the motions that can be served.

    Attributes:
        owners: token in small letters to the names of its motions, sorted.
        others: tokens of motions that were made for another base model.
        places: where the templates of all these motions have them, see :func:`place_in`.
    """

    owners: Mapping[str, tuple[str, ...]]
    others: frozenset[str] = frozenset()
    places: frozenset[Place] = frozenset()

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
    words = _read(prompt, index)
    _check_rare(words, index)
    places = {word.text: place for place, word in reversed(list(enumerate(words)))}
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


def may_be_new(prompt: str, index: TokenIndex) -> bool:
    """Whether a prompt may ask for a motion that an index lacks: a word that nobody owns is taken
    for a token, or stands where tokens stand, whatever it looks like.
    """
    return any(
        word.text not in index.owners and (word.placed or _looks_rare(word, index))
        for word in _read(prompt, index)
    )


@functools.lru_cache(maxsize=4096)  # of thousands of motions few have a template of their own
def place_in(template: str) -> Place | None:
    """Where a template has its token.

    Args:
        template: a caption with the slot, such as ``a person doing the <token>``.

    Returns:
        ``("doing", "")`` for this one, ``("", "man")`` for ``a <token> man``; null if there is no
        slot, or no word beside it but articles.
    """
    before, slot, after = template.casefold().partition(TOKEN)
    lead = [word for word in _WORD.findall(before) if word not in _ARTICLES]
    if slot and lead:
        return lead[-1], ""
    trail = _WORD.findall(after)
    return ("", trail[0]) if slot and trail else None


@dataclass(frozen=True)
class _Word:
    text: str  # in small letters
    capitals: bool  # written in capitals, in a prompt that is not
    placed: bool  # stands where tokens stand


def _read(prompt: str, index: TokenIndex) -> list[_Word]:
    """The words of a prompt."""
    written = _WORD.findall(prompt)
    texts = [word.casefold() for word in written]
    shouted = prompt.isupper()
    words: list[_Word] = []
    lead = ""  # the last word that is no article
    for place, (text, word) in enumerate(zip(texts, written, strict=True)):
        following = texts[place + 1] if place + 1 < len(texts) else ""
        article = text in _ARTICLES
        placed = lead in _DOING or (lead, "") in index.places or ("", following) in index.places
        words.append(_Word(text, word.isupper() and not shouted, placed and not article))
        lead = lead if article else text
    return words


def _looks_rare(word: _Word, index: TokenIndex) -> bool:
    """Whether a word that nobody owns is taken for a token; the rules are at the top."""
    text, plain = word.text, _CONSONANTS.fullmatch(word.text) is not None
    if text in CUSTOMARY:
        return word.placed or not word.capitals
    if text in index.others:
        return word.placed or plain
    if word.capitals:
        return False
    return _UNHEARD.match(text) is not None or (word.placed and plain and not _is_known(text))


def _is_known(text: str) -> bool:
    """Whether people write these consonants, in small letters, for something else than V*."""
    return any(known.fullmatch(text) for known in (_ABBREVIATION, _SOUND, _ROMAN))


def _check_rare(words: Sequence[_Word], index: TokenIndex) -> None:
    """Refuse a rare word that no motion of this base owns."""
    for word in words:
        if word.text in index.owners or not _looks_rare(word, index):
            continue
        rule = f"{word.text!r} is the token of no motion here"
        if word.text in index.others:
            rule = f"{word.text!r} is the token of a motion that was made for another base model"
        fix = f"known tokens: {index.described()}; or name motions by id, [] for none"
        raise UnknownTokenError("prompt", rule, fix)
