"""What a reproduction trains: every cell once, with a config that depends on nothing else."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from motion_ray.customization.loop import step_name
from motion_ray.errors import ConfigError
from motion_ray.recipes import RECIPES
from motion_ray.reproduction.cells import CURVED, Cell, cells_of, config_of
from motion_ray.reproduction.clips import Clips
from motion_ray.reproduction.experiment import BASE, FIRST, LAST, unstaged
from motion_ray.reproduction.experiments import EXPERIMENTS, PAPERS_OWN
from motion_ray.reproduction.scale import PUPPET_MOTIONS, puppet_scale
from motion_ray.store import check_name

ALL = [EXPERIMENTS[name] for name in PAPERS_OWN]


@pytest.fixture
def clips(tiny_motion, tmp_path) -> Clips:
    """A scale with data of its own: drawing takes time."""
    data = tmp_path / "data"
    (data / "motions").mkdir(parents=True)
    (data / "motions" / "slide").symlink_to(tiny_motion["motion"])
    (data / "regularization").symlink_to(tiny_motion["regularization"])
    (data / "targets.yaml").write_text("slide: {label: dabbing, description: sliding}\n")
    return Clips(replace(puppet_scale(), motions=("slide",), data=data), tmp_path)


@pytest.mark.parametrize("scale", ["paper", "puppet"])
def test_every_row_has_a_recipe_and_every_claim_its_rows(scale):
    for experiment in EXPERIMENTS.values():
        rows = {row.method for row in experiment.rows}
        assert all(m == "ours" or f"{scale}-{m}" in RECIPES for m in rows)
        for claim in experiment.claims:
            made = {unstaged(row)[0] for row in claim.methods} - {BASE, FIRST, LAST}
            assert made <= rows, claim.text


def test_all_trains_each_cell_once(tmp_path):
    cells = cells_of(ALL, Clips(puppet_scale(), tmp_path))
    assert len(set(cells)) == len(cells)
    methods = {cell.method for cell in cells}
    first = [cell for cell in cells if cell.seed == 0]
    assert len(first) == len(methods) * len(PUPPET_MOTIONS)
    more = {cell.method for cell in cells if cell.seed > 0}
    assert more == {"ours", "dreambooth"}
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)


def test_names_fit_the_store():
    for method, motion in itertools.product((*RECIPES, "ours"), PUPPET_MOTIONS):
        name = Cell(method.removeprefix("puppet-").removeprefix("paper-"), motion, 12).name
        check_name(step_name(name, 2400))


def test_every_method_has_a_config(clips):
    for cell in cells_of(list(EXPERIMENTS.values()), clips):
        config = config_of(cell, clips)
        assert (config.name, config.seed) == (cell.name, cell.seed)
        assert config.validation.publish == (cell.method in CURVED)
        real = config.regularization.source == "real"
        assert (config.regularization.folder is not None) == real


def test_a_quick_reproduction_is_small(clips):
    quick = replace(puppet_scale(quick=True), motions=("slide",), data=clips.scale.data)
    config = config_of(Cell("ours", "slide", 0), Clips(quick, clips.root))
    assert config.max_steps == 150 and len(config.validation.prompts) == 4


def test_data_of_a_scale_are_checked_first(clips, tmp_path):
    clips.check()
    missing = replace(clips.scale, motions=("slide", "roll"))
    with pytest.raises(ConfigError, match="no folder motions/roll"):
        Clips(missing, tmp_path).check()
    (tmp_path / "data" / "targets.yaml").write_text("roll: {label: a, description: b}\n")
    with pytest.raises(ConfigError, match="does not describe slide"):
        clips.check()
