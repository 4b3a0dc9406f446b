"""What a base folder must be before anything in it is loaded."""

from __future__ import annotations

import json
import shutil

import pytest

from motion_ray.backbones.folder import open_model_folder
from motion_ray.errors import BaseModelError


@pytest.fixture
def folder(tiny_bases, tmp_path):
    return shutil.copytree(tiny_bases["epsilon"], tmp_path / "base")


def edit(file, **changes):
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, **changes}))


def test_a_sound_folder_opens(folder):
    opened = open_model_folder(folder)
    assert len(opened.fingerprint) == 64 and opened.scheduler_config["prediction_type"] == "epsilon"


@pytest.mark.parametrize(
    "name", ["unet/diffusion_pytorch_model.bin", "vae/x.pt", "text_encoder/a.ckpt", "unet/run.py"]
)
def test_pickles_and_code_are_refused(folder, name):
    (folder / name).write_bytes(b"\x80\x04.")
    with pytest.raises(BaseModelError, match=r"pickles or code.*safetensors"):
        open_model_folder(folder)


def test_an_unknown_class_is_refused(folder):
    edit(folder / "model_index.json", unet=["os", "system"])
    with pytest.raises(BaseModelError, match=r"unet is os\.system, a class that is not allowed"):
        open_model_folder(folder)


def test_another_pipeline_is_refused(folder):
    edit(folder / "model_index.json", _class_name="StableDiffusionPipeline")
    with pytest.raises(BaseModelError, match="StableDiffusionPipeline"):
        open_model_folder(folder)


def test_a_config_that_names_another_class_is_refused(folder):
    edit(folder / "unet" / "config.json", auto_map={"AutoModel": "evil.Model"})
    with pytest.raises(BaseModelError, match="another class"):
        open_model_folder(folder)


def test_a_missing_part_is_named(folder):
    shutil.rmtree(folder / "vae")
    with pytest.raises(BaseModelError, match="vae: this part of the model is missing"):
        open_model_folder(folder)


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(BaseModelError, match=r"model_index\.json: is missing"):
        open_model_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(BaseModelError, match=r"notes\.txt must be a diffusers folder"):
        open_model_folder(tmp_path / "notes.txt")


@pytest.mark.parametrize("size", [0, 4, 1000, -1])
def test_weights_that_are_cut_off_are_named(folder, size):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(BaseModelError, match=r"model\.safetensors: is damaged or cut off"):
        open_model_folder(folder)


def test_weights_under_a_name_that_loaders_do_not_look_for(folder):
    weights = folder / "text_encoder" / "model.safetensors"
    weights.rename(weights.with_name("model.fp16.safetensors"))
    with pytest.raises(BaseModelError, match=r"holds no model\.safetensors; rename model\.fp16"):
        open_model_folder(folder)
    weights.with_name("model.fp16.safetensors").unlink()
    with pytest.raises(BaseModelError, match=r"text_encoder: holds no model\.safetensors; downl"):
        open_model_folder(folder)


def test_other_precisions_beside_the_weights_do_not_count(folder):
    before = open_model_folder(folder)
    for part, name in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        weights = folder / part / f"{name}.safetensors"
        shutil.copy(weights, weights.with_name(f"{name}.fp16.safetensors"))
    assert open_model_folder(folder) == before


def test_weights_in_parts_count_with_their_index(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    part = weights.with_name("diffusion_pytorch_model-00001-of-00001.safetensors")
    index = weights.with_name("diffusion_pytorch_model.safetensors.index.json")
    weights.rename(part)
    index.write_text(json.dumps({"weight_map": {"conv_in.weight": part.name}}))
    before = open_model_folder(folder)
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)
    assert open_model_folder(folder).fingerprint != before.fingerprint


def test_fingerprint_follows_weights_and_config_but_not_versions(folder):
    before = open_model_folder(folder)
    edit(folder / "unet" / "config.json", _diffusers_version="0.0.1")
    assert open_model_folder(folder).fingerprint == before.fingerprint
    edit(folder / "unet" / "config.json", norm_eps=1e-4)
    changed = open_model_folder(folder)
    assert changed.fingerprint != before.fingerprint
    assert changed.vae_fingerprint == before.vae_fingerprint
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert open_model_folder(folder).vae_fingerprint != before.vae_fingerprint
