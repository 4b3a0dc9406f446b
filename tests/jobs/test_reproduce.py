"""The command line of a reproduction: names, scales, and what is refused before any work."""

from __future__ import annotations

import pytest

from jobs.reproduce import arguments, chosen, main, scale_of
from motion_ray.errors import ConfigError
from motion_ray.reproduction.cells import cells_of
from motion_ray.reproduction.clips import Clips
from motion_ray.reproduction.experiments import EXPERIMENTS
from motion_ray.reproduction.scale import puppet_scale


def test_all_is_the_papers_own():
    names = [experiment.name for experiment in chosen(["all"])]
    assert names[:6] == ["table1", "table2a", "table2b", "table2c", "table2d", "table2e"]
    assert {"fig7", "appendix-d"} <= set(names)
    beyond = {"clips", "ranks", "rates", "slower", "beyond", "fig5-scenes"}
    assert not beyond & set(names) and beyond | set(names) == set(EXPERIMENTS)
    assert [e.name for e in chosen(["table2c"])] == ["table2c"]
    assert [e.name for e in chosen(["clips", "all", "fig7", "clips"])] == ["clips", *names]


def test_methods_of_some_tables_can_be_trained_as_often_as_ours(tmp_path):
    """Twelve methods of the paper with three seeds, three numbers of clips with one."""
    clips = Clips(puppet_scale(), tmp_path)
    usual = cells_of(chosen(["all", "clips"]), clips)
    more = cells_of(chosen(["all", "clips"], ["all"]), clips)
    motions = len(clips.scale.motions)
    assert len(usual) == motions * (2 * 3 + 10 + 3)
    assert len(more) == len(set(more)) == motions * (12 * 3 + 3)
    assert {cell.method for cell in more if cell.seed and cell.method.startswith("clips")} == set()


def test_a_headline_table_must_be_asked_for():
    assert len(chosen(["table1"], ["all"])) == 1  # of all, those that are
    with pytest.raises(ConfigError, match=r"not asked for: table2a; .*--headline table1"):
        chosen(["table1"], ["table2a"])


def test_a_scale_can_be_narrowed():
    options = arguments().parse_args(
        [
            "table1",
            "--motions",
            "dabbing",
            "--seeds",
            "3",
            "3",
            "4",
            "--prompts",
            "5",
            "--set",
            "max_steps=9",
            "--precision",
            "bf16",
        ]
    )
    scale = scale_of(options)
    assert scale.settings.precision == "bf16"
    assert scale.sets == ("max_steps=9",)
    assert scale.motions == ("dabbing",)
    assert scale.seeds == scale.headline_seeds == (3, 4)
    assert len(scale.asked()) == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table1", "--scale", "jester"], "needs --data, --base, --classifier, --clip-model"),
        (["table1", "--prompts", "0"], "--prompts: is at least 1, got 0"),
        (["table1", "--motions", "flying"], "there is no 'flying' in the puppet world"),
        (["table1", "--motions", "waving"], "'waving' is a motion that the base knows"),
        (["table1", "--prompts", "101"], "--prompts: are at most 100"),
        (["table1", "--address", "http://here:8265"], "a driver joins a cluster by host:port"),
        (["table1", "--known", "nowhere"], "puppet/kept/cells.json: holds no cells"),
        (["table1", "--base", "zeroscope"], "--base: is for --scale jester"),
        (["table1", "--headline", "all", "--seeds", "1"], "with --seeds everything is"),
        (["table1", "--headline", "all", "--quick"], "with --quick everything is"),
    ],
)
def test_what_is_wrong_is_said_at_once(words, message, tmp_path, capsys):
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_videos_that_could_not_be_made_are_told_and_the_exit_code_is_one(monkeypatch, capsys):
    for failed, code in ((2, 1), (0, 0)):
        monkeypatch.setattr("jobs.reproduce._reproduce", lambda *_, count=failed: count)
        assert main(["table1"]) == code
    assert capsys.readouterr().err == "2 videos could not be made; --retry-failed tries again\n"


def test_every_table_has_a_name_on_the_command_line():
    for name in EXPERIMENTS:
        assert arguments().parse_args([name]).what == [name]
