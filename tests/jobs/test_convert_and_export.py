"""Folders in and out, as a user writes the commands."""

from __future__ import annotations

import shutil

import pytest
import torch
from diffusers import TextToVideoSDPipeline
from safetensors.torch import load_file

from jobs.convert import main as convert
from jobs.export import main as export
from motion_ray.backbones.folder import open_model_folder
from motion_ray.backbones.unet3d import load_backbone
from motion_ray.customization.delta import MotionDelta
from motion_ray.store import DeltaStore
from tests.deltas import changed, header


def test_a_hub_folder_becomes_a_base(tiny_bases, tmp_path, capsys):
    hub = shutil.copytree(tiny_bases["epsilon"], tmp_path / "hub")
    weights = hub / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    assert convert([str(hub), str(tmp_path / "model")]) == 0
    assert open_model_folder(tmp_path / "model").fingerprint in capsys.readouterr().out
    assert convert([str(hub), str(tmp_path / "model")]) == 2
    said = capsys.readouterr().err
    assert "already exists" in said and said.count("\n") == 1


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_a_motion_of_a_store_becomes_a_pipeline(tiny_bases, tmp_path, capsys, precision):
    base = str(tiny_bases["epsilon"])
    backbone = load_backbone(base, "cpu")
    values = changed(backbone)
    store = DeltaStore(tmp_path / "store")
    store.publish(MotionDelta(header(backbone), values), "wave")
    words = ["--store", store.uri, "--base", base, "--out", str(tmp_path / "out")]
    assert export([*words, "--motion", "wave", "--precision", precision]) == 0
    assert "from_pretrained" in capsys.readouterr().out
    unet = TextToVideoSDPipeline.from_pretrained(str(tmp_path / "out"), dtype=torch.float32).unet
    name, value = next(iter(values.items()))
    kept = value.half().float() if precision == "fp16" else value
    assert torch.equal(unet.get_parameter(name), kept)
    assert export([*words, "--motion", "nothing"]) == 2
    assert "has no motion 'nothing'" in capsys.readouterr().err
