"""The backbone's contract on a small folder: shapes, posteriors, text, tokens, recomputation."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from motion_ray.backbones.recompute import recompute_activations
from motion_ray.backbones.unet3d import exact_parameters, load_backbone
from motion_ray.errors import BaseModelError, ConfigError, DataError


@pytest.fixture
def backbone(tiny_bases):
    return load_backbone(str(tiny_bases["epsilon"]), "cpu")


def test_video_to_latents_and_back(backbone):
    frames = torch.randint(0, 256, (5, 3, 32, 40), dtype=torch.uint8)
    posterior = backbone.encode_video(frames)
    assert posterior.mean.shape == posterior.logvar.shape == (4, 5, 4, 5)
    decoded = backbone.decode_latents(posterior.mean[None])
    assert decoded.shape == (1, 5, 3, 32, 40) and decoded.dtype == torch.uint8


def test_the_scaling_factor_is_applied_to_mean_and_variance(backbone):
    frames = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    raw = backbone.vae.encode(frames / 127.5 - 1).latent_dist
    scaled = backbone.encode_video(frames)
    factor = backbone.vae.config["scaling_factor"]
    torch.testing.assert_close(scaled.mean[:, 0], raw.mean[0] * factor)
    torch.testing.assert_close(scaled.logvar[:, 0].exp(), raw.var[0] * factor**2)


def test_sizes_that_do_not_fit_the_vae_are_refused(backbone):
    with pytest.raises(DataError, match="multiples of 8"):
        backbone.encode_video(torch.zeros(1, 3, 30, 32, dtype=torch.uint8))


def test_text_has_a_fixed_length(backbone):
    assert backbone.encode_text(["a", "a person doing the pll"]).shape == (2, 48, 16)


def test_a_device_that_is_not_there_is_refused_before_anything_is_read(monkeypatch):
    with pytest.raises(ConfigError, match="'gpu' is the name of no device; for example cpu or"):
        load_backbone("nowhere", "gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device: there is no NVIDIA GPU"):
        load_backbone("nowhere", "cuda")


def test_weights_that_are_missing_are_not_made_up(tiny_bases, tmp_path):
    base = shutil.copytree(tiny_bases["epsilon"], tmp_path / "base")
    for part, name in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        file = base / part / f"{name}.safetensors"
        whole = load_file(file)
        lost = sorted(whole)[0]
        save_file({n: each for n, each in whole.items() if n != lost}, file)
        with pytest.raises(BaseModelError, match=f"{part}: lacks weights of 1 tensors, .*for one"):
            load_backbone(str(base), "cpu")
        save_file(whole, file)


def test_text_states_have_to_fit_the_unet(tiny_bases, tmp_path):
    base = shutil.copytree(tiny_bases["epsilon"], tmp_path / "base")
    wide = CLIPTextConfig.from_pretrained(base / "text_encoder", hidden_size=32)
    shutil.rmtree(base / "text_encoder")
    CLIPTextModel(wide).save_pretrained(base / "text_encoder")
    with pytest.raises(BaseModelError, match="disagree on the width of text states"):
        load_backbone(str(base), "cpu")


def test_parameters_are_read_again_as_the_files_have_them(tiny_bases, tmp_path):
    base = shutil.copytree(tiny_bases["epsilon"], tmp_path / "base")
    backbone = load_backbone(str(base), "cpu")
    names = [name for name, _ in backbone.denoiser.named_parameters()][:3]
    exact = {n: backbone.denoiser.get_parameter(n).detach().clone() for n in names}
    backbone.denoiser.to(torch.bfloat16)
    again = exact_parameters(str(base), backbone.fingerprint, names)
    assert all(torch.equal(again[name], exact[name]) for name in names)
    file = base / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: each + 1 for name, each in load_file(file).items()}, file)
    with pytest.raises(BaseModelError, match="changed while it was used"):
        exact_parameters(str(base), backbone.fingerprint, names)


def test_a_token_must_stay_whole(backbone):
    assert len(backbone.token_pieces("pll")) == 1
    with pytest.raises(BaseModelError, match="splits it into 5 pieces"):
        backbone.single_piece("robot")


def test_a_token_row_can_be_swapped_and_restored(backbone):
    before = backbone.encode_text(["a pll", "a sks"])
    old = backbone.set_token_embedding("pll", torch.ones(16))
    changed = backbone.encode_text(["a pll", "a sks"])
    assert not torch.equal(changed[0], before[0]) and torch.equal(changed[1], before[1])
    backbone.set_token_embedding("pll", old)
    assert torch.equal(backbone.encode_text(["a pll", "a sks"]), before)


def test_recomputed_activations_give_the_same_gradients(tiny_bases):
    gradients = []
    for recompute in (False, True):
        backbone = load_backbone(str(tiny_bases["epsilon"]), "cpu")
        if recompute:
            assert recompute_activations(backbone.denoiser) > 10
        backbone.denoiser.requires_grad_(True).train()
        torch.manual_seed(0)
        x, t = torch.randn(1, 4, 2, 4, 4), torch.tensor([100])
        backbone.predict(x, t, torch.randn(1, 16, 16)).square().mean().backward()
        gradients.append({n: p.grad for n, p in backbone.denoiser.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)
