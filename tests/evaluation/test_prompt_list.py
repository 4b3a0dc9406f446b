"""The paper's prompts with their damage counted, the puppet world's, and files of a user's own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from motion_ray.data.puppets.bodies import COLOURS, KINDS
from motion_ray.data.puppets.captions import appearance_phrase
from motion_ray.data.puppets.motions import HELD_OUT_MOTIONS
from motion_ray.data.puppets.places import PLACES
from motion_ray.data.puppets.world import SEED_BITS, SPLITS
from motion_ray.errors import ConfigError
from motion_ray.evaluation.prompt_list import EMBEDDED_FOLDER, load_prompt_list


def test_the_papers_list_has_100_prompts_and_its_damage_adds_up() -> None:
    listed = load_prompt_list("paper")
    assert len(listed) == 100 and listed.name == "paper"
    assert Counter(each.origin for each in listed.prompts) == {
        "figure": 83,
        "guess": 1,
        "text": 2,
        "completed": 14,
    }
    entries = yaml.safe_load((EMBEDDED_FOLDER / "paper.yaml").read_text())["prompts"]
    read = [each for each in entries if each.get("origin", "figure") in ("figure", "guess")]
    assert sum(each.get("lines", 1) for each in read) == 110
    damaged = [each["as_read"] for each in read if "as_read" in each]
    articles = [each for each in damaged if not each.startswith("A ")]
    assert len(articles) == 6  # one of them, "painter", twice
    letters = {
        each["as_read"]: each["prompt"].removesuffix(" <motion>")
        for each in read
        if each.get("as_read", "").startswith("A ")
    }
    # Two lines are "A shateboarder"; the unreadable "A jolic" is among these.
    assert len(letters) == 9 and all(wrong != right for wrong, right in letters.items())


def test_the_papers_examples_render_as_the_paper_has_them() -> None:
    templates = [each.prompt.template for each in load_prompt_list("paper").prompts]
    firefighter = load_prompt_list("paper").prompts[
        templates.index("A female firefighter <motion>")
    ]
    prompt = firefighter.prompt
    assert prompt.appearance() == "A female firefighter"
    assert prompt.natural("swiping hand down") == "A female firefighter swiping hand down"
    assert prompt.with_token("V*", "doing the <token> sign") == (
        "A female firefighter doing the V* sign"
    )


def test_the_puppet_worlds_list_is_balanced_and_says_what_it_describes() -> None:
    listed = load_prompt_list("puppet").prompts
    looks = [each.look for each in listed if each.look is not None]
    assert len(looks) == len({(x.kind, x.colour, x.place) for x in looks}) == 100
    assert set(Counter(look.kind for look in looks).values()) == {20}
    for options, values in (
        (COLOURS, (x.colour for x in looks)),
        (PLACES, (x.place for x in looks)),
    ):
        counts = Counter(values)
        assert set(counts) == set(options) and max(counts.values()) - min(counts.values()) <= 4
    for each in listed:
        assert each.look is not None and each.look.seed >> SEED_BITS == SPLITS.index("test")
        scene = each.look.scene(HELD_OUT_MOTIONS[0])
        assert each.prompt.appearance() == appearance_phrase(scene)
    assert {each.look.kind for each in listed[:5] if each.look} == set(KINDS)


def test_a_list_of_ones_own_is_text_or_yaml(tmp_path: Path) -> None:
    text, values = tmp_path / "mine.txt", tmp_path / "mine.yaml"
    text.write_text("a cat <motion>\n\n a dog <motion> at night \n")
    values.write_text("name: pets\nprompts: [{prompt: a cat <motion>}]\n")
    found = load_prompt_list(text)
    assert [each.prompt.appearance() for each in found.prompts] == ["a cat", "a dog at night"]
    assert found.name == "mine" and found.prompts[0].look is None
    assert load_prompt_list(values).name == "pets"
    assert load_prompt_list(values).prompts[0].origin == "own"
    assert len(found.sha256) == 64 and found.sha256 != load_prompt_list(values).sha256


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a cat <motion>\na cat <motion>\n", "twice"),
        ("<motion>\n", "nothing but the motion"),
        ("a cat\n", "exactly once"),
        ("\n", "holds no prompts"),
    ],
)
def test_a_useless_list_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match=fault):
        load_prompt_list(path)


def test_a_file_that_is_no_list_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("prompts: [1]")
    with pytest.raises(ConfigError, match="no list of prompts"):
        load_prompt_list(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_prompt_list(tmp_path / "nowhere.txt")
