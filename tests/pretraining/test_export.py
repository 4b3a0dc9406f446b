"""The folder that is shipped, and its card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import TextToVideoSDPipeline

from motion_ray.backbones.embedded import load_denoiser, load_vae
from motion_ray.backbones.unet3d import load_backbone
from motion_ray.errors import BaseModelError, ConfigError, RunFolderError
from motion_ray.manifest import verify_manifest
from motion_ray.pretraining import export
from motion_ray.pretraining.card import NOT_MEASURED
from motion_ray.pretraining.export import STAGES, Exported, export_base
from motion_ray.pretraining.workspace import Workspace
from tests.pretraining.conftest import CopyUpTo


@pytest.fixture(scope="module")
def exported(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_base(finished, tmp_path_factory.mktemp("export") / "base")


def scores_of(fingerprint: str, path: Path) -> Path:
    share = {"right": 45, "of": 60, "rate": 0.75, "interval95": [0.63, 0.842]}
    attributes = dict.fromkeys(("motion", "kind", "colour", "place"), share)
    named = {"drumming": {**share, "right": 1, "of": 6}, "dabbing": {**share, "right": 2, "of": 6}}
    scores = {"generated": attributes, "ceiling": attributes, "floor": {}, "named": named}
    path.write_text(json.dumps({**scores, "measured_with": {"base": fingerprint}}))
    return path


def test_stock_diffusers_and_our_loader_read_it(exported: Exported, finished: Workspace) -> None:
    pipeline = TextToVideoSDPipeline.from_pretrained(str(exported.folder), dtype=torch.float32)
    assert pipeline.scheduler.config["prediction_type"] == "v_prediction"
    assert pipeline.tokenizer.model_max_length == 24
    backbone = load_backbone(str(exported.folder), "cpu")
    assert backbone.fingerprint == exported.fingerprint
    trained = dict(load_denoiser(finished.model("video")).named_parameters())
    for name, parameter in backbone.denoiser.named_parameters():
        torch.testing.assert_close(parameter, trained[name].half().float(), msg=name)
    decoder = load_vae(finished.model("decoder")).decoder
    for (name, ours), theirs in zip(
        backbone.vae.decoder.named_parameters(), decoder.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs.half().float(), msg=name)
    assert len(backbone.token_pieces("pll")) == len(backbone.token_pieces("drumming")) == 1


def test_it_is_half_precision_under_its_manifest_without_paths(exported: Exported) -> None:
    entries = verify_manifest(exported.folder, BaseModelError)
    assert "README.md" in entries and exported.size > sum(e.size for e in entries.values()) * 0.9
    unet = json.loads((exported.folder / "unet" / "config.json").read_text())
    assert "_name_or_path" not in unet
    for file in exported.folder.rglob("*.json"):
        assert "local" not in file.read_text() and "/tmp" not in file.read_text()
    weights = exported.folder / "unet" / "diffusion_pytorch_model.safetensors"
    counted = sum(p.numel() for p in load_denoiser(exported.folder).parameters())
    assert weights.stat().st_size < 2.5 * counted + 100_000


def test_the_card_says_how_it_was_made_and_what_was_not_measured(
    exported: Exported, finished: Workspace
) -> None:
    card = (exported.folder / "README.md").read_text()
    for stage in STAGES:
        record = finished.record(stage)
        assert f"| {stage} | `none`" in card and record.output in card
    assert "psnr" in card and exported.fingerprint in card and "steps=6" in card
    assert card.count(NOT_MEASURED) == 13


def test_scores_of_this_model_are_in_the_card(
    exported: Exported, finished: Workspace, tmp_path: Path
) -> None:
    scores = scores_of(exported.fingerprint, tmp_path / "scores.json")
    again = export_base(finished, tmp_path / "base", scores)
    assert again.fingerprint == exported.fingerprint
    card = (again.folder / "README.md").read_text()
    assert card.count("75.0% of 60 (63.0 to 84.2)") == 8 and "3 of 12 recognised" in card
    assert card.count(NOT_MEASURED) == 4  # the floor


@pytest.mark.slow
@pytest.mark.parametrize("content", ['{"measured_with": {"base": "other"}}', "{}", "no json"])
def test_scores_of_something_else_are_refused_and_nothing_is_written(
    finished: Workspace, tmp_path: Path, content: str
) -> None:
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(ConfigError, match=r"--scores .*scores\.json"):
        export_base(finished, tmp_path / "base", tmp_path / "scores.json")
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]


def test_a_model_that_is_too_large_is_not_shipped(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "LARGEST", 1000)
    with pytest.raises(BaseModelError, match="at most 0 MB"):
        export_base(finished, tmp_path / "base")
    assert not list(tmp_path.iterdir())


def test_an_unfinished_pretraining_is_not_exported(copy_up_to: CopyUpTo, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="run --stage video"):
        export_base(copy_up_to("video"), tmp_path / "base")


def test_a_weight_that_is_not_finite_is_found(copy_up_to: CopyUpTo, finished: Workspace) -> None:
    workspace = copy_up_to("video")
    shutil.copytree(finished.folder("video"), workspace.folder("video"))
    unet = load_denoiser(workspace.model("video"))
    with torch.no_grad():
        unet.conv_out.weight.fill_(float("inf"))
    shutil.rmtree(workspace.model("video"))
    workspace.write_model("video", lambda folder: unet.save_pretrained(str(folder / "unet")))
    with pytest.raises(BaseModelError, match="draws no video"):
        export_base(workspace, workspace.root / "base")


def test_a_damaged_model_is_not_shipped(copy_up_to: CopyUpTo, finished: Workspace) -> None:
    workspace = copy_up_to("video")
    shutil.copytree(finished.folder("video"), workspace.folder("video"))
    weights = workspace.model("decoder") / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(RunFolderError, match="damaged"):
        export_base(workspace, workspace.root / "base")
    assert not (workspace.root / "base").exists()
