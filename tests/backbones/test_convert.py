"""A model folder as hubs have it, with pickles, and the copy of it that our loaders take."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from motion_ray.backbones.convert import convert
from motion_ray.backbones.folder import open_model_folder
from motion_ray.backbones.unet3d import load_backbone
from motion_ray.errors import BaseModelError

UNET = "diffusion_pytorch_model"


def pickled(folder: Path, name: str, weights: str, old: str, *, zipped: bool = True) -> None:
    """Put a part's weights into a pickle, as they were kept before safetensors."""
    file = folder / name / f"{weights}.safetensors"
    torch.save(load_file(file), folder / name / f"{old}.bin", _use_new_zipfile_serialization=zipped)
    file.unlink()


@pytest.fixture
def base(tiny_bases, tmp_path) -> Path:
    return shutil.copytree(tiny_bases["epsilon"], tmp_path / "base")


@pytest.fixture
def hub(base) -> Path:
    pickled(base, "unet", UNET, UNET)
    pickled(base, "vae", UNET, UNET, zipped=False)
    pickled(base, "text_encoder", "model", "pytorch_model")
    return base


def test_every_tensor_arrives(hub, tiny_bases, tmp_path):
    told: list[str] = []
    convert(hub, tmp_path / "models" / "converted", told.append)
    assert told == ["unet", "vae", "text_encoder", "tokenizer", "scheduler"]
    here, there = (
        load_backbone(str(f), "cpu") for f in (tmp_path / "models/converted", tiny_bases["epsilon"])
    )
    for mine, other in zip(
        (here.denoiser, here.vae, here.text_encoder),
        (there.denoiser, there.vae, there.text_encoder),
        strict=True,
    ):
        values = other.state_dict()
        assert mine.state_dict().keys() == values.keys()
        assert all(torch.equal(value, values[name]) for name, value in mine.state_dict().items())
    assert here.token_ids(["a robot"]).equal(there.token_ids(["a robot"]))


def test_the_source_is_refused_and_says_how_to_convert_it(hub):
    with pytest.raises(BaseModelError, match=r"python -m jobs\.convert"):
        open_model_folder(hub)


def test_safetensors_are_copied_and_half_precision_is_the_last_choice(base, tmp_path):
    whole = base / "unet" / f"{UNET}.safetensors"
    torch.save({"other": torch.zeros(1)}, base / "unet" / f"{UNET}.bin")
    half = base / "vae" / f"{UNET}.safetensors"
    half.rename(base / "vae" / f"{UNET}.fp16.safetensors")
    convert(base, tmp_path / "new")
    assert (tmp_path / "new/unet" / whole.name).read_bytes() == whole.read_bytes()
    assert sorted(os.listdir(tmp_path / "new/vae")) == ["config.json", f"{UNET}.safetensors"]


def test_tensors_that_share_memory_become_their_own(base, tmp_path):
    values = load_file(base / "unet" / f"{UNET}.safetensors")
    name = next(n for n, v in values.items() if v.dim() == 1 and len(v) > 2)
    large = torch.cat([values[name], values[name]])
    values[name] = large[: len(values[name])]
    torch.save(values, base / "unet" / f"{UNET}.bin")
    (base / "unet" / f"{UNET}.safetensors").unlink()
    convert(base, tmp_path / "new")
    kept = load_file(tmp_path / "new/unet" / f"{UNET}.safetensors")
    assert torch.equal(kept[name], values[name]) and kept.keys() == values.keys()


class Harmful:
    """Unpickling it would make a file."""

    def __reduce__(self):
        return os.mkdir, (os.environ["HARMFUL"],)


@pytest.mark.parametrize("content", ["code", "text", "nested", "empty", "cut off"])
def test_what_is_no_table_of_tensors_is_refused_and_nothing_is_left(
    hub, tmp_path, monkeypatch, content
):
    monkeypatch.setenv("HARMFUL", str(tmp_path / "made"))
    file = hub / "unet" / f"{UNET}.bin"
    if content == "code":
        torch.save({"a": torch.zeros(1), "b": Harmful()}, file)
    elif content == "text":
        file.write_bytes(pickle.dumps("text", protocol=2))
    elif content == "nested":
        torch.save({"state_dict": {"a": torch.zeros(1)}}, file)
    else:
        file.write_bytes(b"" if content == "empty" else file.read_bytes()[:-100])
    with pytest.raises(BaseModelError, match=rf"{UNET}\.bin"):
        convert(hub, tmp_path / "new")
    assert sorted(os.listdir(tmp_path)) == ["base"]


def test_weights_that_are_missing_and_a_target_that_exists(hub, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine.txt").write_text("kept")
    with pytest.raises(BaseModelError, match="already exists"):
        convert(hub, tmp_path / "new")
    assert os.listdir(tmp_path / "new") == ["mine.txt"]
    (hub / "vae" / f"{UNET}.bin").unlink()
    with pytest.raises(BaseModelError, match=rf"neither {UNET}\.safetensors nor {UNET}\.bin"):
        convert(hub, tmp_path / "other")


def test_another_pipeline_is_refused_before_anything_is_read(hub, tmp_path):
    index = hub / "model_index.json"
    index.write_text(index.read_text().replace("TextToVideoSDPipeline", "WanPipeline"))
    with pytest.raises(BaseModelError, match="WanPipeline"):
        convert(hub, tmp_path / "new")
