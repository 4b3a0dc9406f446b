"""V*: fixed unless asked for; its trained row reaches the text and nothing else."""

from __future__ import annotations

import pytest
import torch

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.customization.delta import TOKEN_EMBEDDING
from motion_ray.customization.examples import Examples, read_clip_lists
from motion_ray.customization.loop import customize
from motion_ray.customization.tokens import TrainedToken, token_contrast
from motion_ray.errors import BaseModelError
from motion_ray.store import DeltaStore


@pytest.fixture
def backbone(tiny_bases):
    return load_backbone(str(tiny_bases["epsilon"]), "cpu")


def test_the_row_is_what_the_text_encoder_sees(backbone):
    before = backbone.encode_text(["a pll", "a sks"])
    token = TrainedToken(backbone, "pll")
    torch.testing.assert_close(backbone.encode_text(["a pll", "a sks"]), before)
    with torch.no_grad():
        token.row.add_(1.0)
    changed = backbone.encode_text(["a pll", "a sks"])
    assert not torch.allclose(changed[0], before[0]) and torch.equal(changed[1], before[1])
    token.remove()
    torch.testing.assert_close(backbone.encode_text(["a pll", "a sks"]), before)


def test_gradients_reach_the_row_through_the_frozen_encoder(backbone):
    token = TrainedToken(backbone, "pll")
    states = backbone.encode_ids(backbone.token_ids(["a person doing the pll"]))
    # Not the sum of squares: after the last layer norm it is the same for every input.
    (states * torch.linspace(-1, 1, states.shape[-1])).sum().backward()
    assert token.row.grad is not None and float(token.row.grad.abs().max()) > 0
    assert all(p.grad is None for p in backbone.text_encoder.parameters())


def overlook_words(backbone) -> None:
    """Every word gets the same embedding, as if the encoder had learned to look at none."""
    table = backbone.text_encoder.get_input_embeddings().weight
    with torch.no_grad():
        table.copy_(table[:1].expand_as(table))


def test_contrast_is_what_depends_on_the_token(backbone):
    assert token_contrast(backbone, "a person doing the pll", "pll") > 0.1
    overlook_words(backbone)
    assert token_contrast(backbone, "a person doing the pll", "pll") == 0


def test_a_token_that_the_encoder_overlooks_is_warned_of(backbone, tiny_run, tmp_path, caplog):
    clips = read_clip_lists(tiny_run, tmp_path / "none")
    Examples(backbone, tiny_run, clips, tmp_path / "cache", lambda *_: None)
    assert "hardly tells" not in caplog.text
    overlook_words(backbone)
    Examples(backbone, tiny_run, clips, tmp_path / "cache", lambda *_: None)
    assert "hardly tells 'pll' from other words (0 %" in caplog.text


def test_a_token_that_splits_is_refused(backbone):
    with pytest.raises(BaseModelError, match="splits it into"):
        TrainedToken(backbone, "robot")


@pytest.mark.parametrize("engine", ["torch", "deepspeed"])
def test_training_only_the_token_is_textual_inversion(tiny_run, tmp_path, engine):
    config = tiny_run.replace({"groups": [], "train_token": True, "engine": {"name": engine}})
    *_, finished = customize(config, tmp_path / "run", device="cpu")
    delta = DeltaStore(finished.store).load(finished.delta)
    assert set(delta.tensors) == {TOKEN_EMBEDDING}
    backbone = load_backbone(config.base, "cpu")
    before = backbone.encode_text(["a pll"])
    with delta.applied(backbone):
        assert not torch.allclose(backbone.encode_text(["a pll"]), before)
    assert torch.equal(backbone.encode_text(["a pll"]), before)
