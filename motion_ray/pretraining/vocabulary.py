"""The words of the puppet world: which there are, which mean something, and a tokenizer for them.

Every word keeps an id of its own, so that V* and the words of a held-out motion are one token each.
Words that no training caption holds get an id too, but nothing ever tells the model what they mean.
Rare words are read like attributes, because an encoder that only learned to ignore them would make
them all look alike: then V* and "other things" were the same to the denoiser, and customization had
nothing to tie a motion to (3 of 16 videos showed it; with words that can be told apart, 16 of 16).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from motion_ray.backbones.embedded import END, START, new_tokenizer
from motion_ray.data.puppets.bodies import COLOURS, KINDS
from motion_ray.data.puppets.captions import RARE_WORDS, VAGUE_MOTIONS, plural
from motion_ray.data.puppets.motions import BASE_MOTIONS, HELD_OUT_MOTIONS
from motion_ray.data.puppets.places import PLACES
from motion_ray.data.puppets.world import SPEEDS

#: What people write around a motion, though no caption of the world does.
OTHER_WORDS = ("motion", "dance", "with", "and", "of", "to", "hat", "sign", "many", "three", "four")
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789'*,.-"
WORD_END = "</w>"


def caption_words() -> list[str]:
    """Every word that a training caption can hold, in a fixed order."""
    nouns = [form for kind in KINDS for form in (kind, plural(kind))]
    phrases = [*nouns, *COLOURS, *PLACES, *SPEEDS, *BASE_MOTIONS, *VAGUE_MOTIONS, *RARE_WORDS]
    return _words(["a an two is while the", *phrases])


def strange_words() -> list[str]:
    """Words that say nothing about a scene: rare ones, and those of held-out motions only."""
    known = set(caption_words()) - set(RARE_WORDS)
    words = _words([*RARE_WORDS, *HELD_OUT_MOTIONS, *OTHER_WORDS])
    return [word for word in words if word not in known]


def attributes() -> list[list[tuple[str, ...]]]:
    """What a caption can say, as groups of options that exclude each other.

    An option is the words that stand for it. Every word of a motion's name is a group of its own,
    because two motions can be combined, and because "raising both arms" and "raising one arm" share
    words. Rare words say nothing, but which one it is must not be lost.
    """
    groups = [
        [(kind, plural(kind)) for kind in KINDS],
        [(colour,) for colour in COLOURS],
        [(place.split()[-1],) for place in PLACES],
        [("two",)],
        [(speed,) for speed in SPEEDS if speed],
        [("while",)],
        [(word,) for word in RARE_WORDS],
    ]
    return [*groups, *([(word,)] for word in _words(BASE_MOTIONS))]


def build_tokenizer(positions: int) -> CLIPTokenizer:
    """Byte-pair encoding that has learned every word as a whole; others are spelled.

    Args:
        positions: longest text in tokens, start and end included.
    """
    merges = learn_merges(list(dict.fromkeys([*caption_words(), *strange_words()])))
    # All characters also as a word's last, so that any word can be spelled.
    pieces = [START, END, *CHARACTERS, *(c + WORD_END for c in CHARACTERS)]
    pieces += [left + right for left, right in merges]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    return new_tokenizer(vocabulary, merges, positions)


def learn_merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """The merges of byte-pair encoding, most frequent pair first, until every word is whole.

    The tokenizers library learns the same, but breaks ties by a hash that differs from run to run,
    and ids have to be the same whenever the model is rebuilt.
    """
    spelled = [[*word[:-1], word[-1] + WORD_END] for word in words]
    merges: list[tuple[str, str]] = []
    while counts := Counter(pair for pieces in spelled for pair in itertools.pairwise(pieces)):
        merges.append(max(counts, key=lambda pair: (counts[pair], pair)))
        spelled = [_merged(pieces, merges[-1]) for pieces in spelled]
    return merges


def _merged(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """The pieces of a word with every occurrence of a pair joined, from the left."""
    joined: list[str] = []
    for piece in pieces:
        if joined and (joined[-1], piece) == pair:
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def word_ids(tokenizer: CLIPTokenizer, words: Iterable[str]) -> list[int]:
    """The id of each word.

    Raises:
        KeyError: the tokenizer splits one.
    """
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[word + WORD_END] for word in words]


def option_table(tokenizer: CLIPTokenizer) -> Tensor:
    """Which option of each group a token stands for, int64 ``[groups, tokens]``; 0: none."""
    groups = attributes()
    table = torch.zeros(len(groups), len(tokenizer), dtype=torch.long)
    for group, options in enumerate(groups):
        for number, forms in enumerate(options):
            table[group, word_ids(tokenizer, forms)] = number + 1
    return table


def token_ids(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Padded ids, int64 ``[b, n]``; longer texts are cut."""
    batch = tokenizer(
        texts,
        padding="max_length",
        truncation=True,
        max_length=int(tokenizer.model_max_length),
        return_tensors="pt",
    )
    ids = batch["input_ids"]
    assert isinstance(ids, Tensor)
    return ids


def _words(phrases: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(" ".join(phrases).split()))
