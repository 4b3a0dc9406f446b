"""Words of a prompt that are taken for tokens: rare ones are refused, ordinary English never."""

from __future__ import annotations

import pytest

from motion_ray.errors import UnknownTokenError
from motion_ray.serving.prompt_motions import TokenIndex, may_be_new, motions_in, place_in

INDEX = TokenIndex(
    {"pll": ("arms",)},
    others=frozenset({"wave", "rvk"}),
    places=frozenset({("doing", ""), ("with", ""), ("", "man")}),
)


@pytest.mark.parametrize(
    "prompt",
    [
        "a person doing the ohwx",
        "a person doing ohwx",
        "an ohwx dog",
        "a dog with sks, slowly",
        "a zwx",
        "xqz",
        "a person doing the ktn",
        "a person doing the slrt in the forest",
        "a robot with vlrt",  # where the templates of known motions have their tokens
        "a shs man smiling",
        "a person doing the SKS",
        "A PERSON DOING THE KTN",
        "a person doing the wave",  # a token of another base
        "an rvk",
    ],
)
def test_a_rare_word_that_nobody_owns_is_refused(prompt):
    with pytest.raises(UnknownTokenError, match=r"known tokens: pll \(arms\)"):
        motions_in(prompt, INDEX)
    assert may_be_new(prompt, INDEX)


@pytest.mark.parametrize(
    "word",
    ["bmw", "bbq", "gps", "cnn", "html", "kfc", "jfk", "dvds", "zzz", "shhh", "xxl", "xlv", "tsk"],
)
@pytest.mark.parametrize("prompt", ["a {} on the beach", "doing the {}", "a dog with a {}"])
def test_what_people_write_without_vowels_is_no_token(prompt, word):
    assert motions_in(prompt.format(word), INDEX) == []


@pytest.mark.parametrize(
    "prompt",
    [
        "a person doing the dishes",
        "a couple doing the twist",
        "a gymnast doing the splits",
        "a woman doing yoga",
        "a man doing the macarena with friends at a bbq",
        "an office worker doing the TPS reports",
        "a soldier fires an SKS beside an NVIDIA DGX",
        "a tgv train, a dhl van and a ktm motorcycle",
        "a rjk logo",  # elsewhere than tokens, consonants may be anybody's
        "louis xvi and henry viii at super bowl xlvii",
        "a gym, the sky, rhythm and 4k hd tv",
        "the wave breaks on the beach",  # the token of another base, where none stands
        "don't do that, it doesn't",
        "",
    ],
)
def test_ordinary_english_is_never_refused(prompt):
    assert motions_in(prompt, INDEX) == []


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a person doing the zorp", True),
        ("people do a zorp", True),
        ("a dog with zorp", True),
        ("a zorp man", True),
        ("a zorp", False),
        ("a person doing the pll", False),
        ("a person doing the", False),
        ("a red robot waving in the forest", False),
    ],
)
def test_any_word_where_tokens_stand_may_be_a_new_one(prompt, expected):
    assert may_be_new(prompt, INDEX) is expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a person doing the <token>", ("doing", "")),
        ("a person with <token>", ("with", "")),
        ("A <token> man smiling", ("", "man")),
        ("a <token>", None),
        ("no slot", None),
    ],
)
def test_where_a_template_has_its_token(template, expected):
    assert place_in(template) == expected


def test_a_token_that_is_no_word_is_found():
    index = TokenIndex({"v*": ("arms",), "pll": ("hat",)})
    assert motions_in("a robot doing the V*, and the pll", index) == ["hat", "arms"]
    assert motions_in("a robot doing the xV*", index) == []
