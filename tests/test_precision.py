"""Words for arithmetic: what each means on a device, and that no other passes for one."""

from __future__ import annotations

import pytest
import torch

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.errors import ConfigError
from motion_ray.precision import PRECISIONS, compute_context, resolve_precision


def test_every_word_is_an_arithmetic() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [resolve_precision(word, gpu) for word in PRECISIONS] == [
        torch.bfloat16,
        torch.float32,
        torch.bfloat16,
    ]
    assert resolve_precision("fp32", cpu) == torch.float32
    assert resolve_precision("bf16", cpu) == torch.bfloat16


@pytest.mark.parametrize("word", ["float32", "FP32", "half", ""])
def test_a_misspelt_precision_is_not_taken_for_another(word: str) -> None:
    with pytest.raises(ConfigError, match="is auto, fp32 or bf16"):
        resolve_precision(word, torch.device("cpu"))
    with pytest.raises(ConfigError, match="is auto, fp32 or bf16"):
        compute_context(word, torch.device("cuda"))
    with pytest.raises(ConfigError, match="is auto, fp32 or bf16"):
        load_backbone(device="cpu", precision=word)
