"""Small real evaluators for tests: a random VideoMAE of the world's motions, saved as a folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import (
    TimesformerConfig,
    TimesformerForVideoClassification,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VivitConfig,
    VivitForVideoClassification,
    VJEPA2Config,
    VJEPA2ForVideoClassification,
)

from motion_ray.data.puppets.motions import NAMED_MOTIONS

SIDE = 32
PREPROCESSOR = {
    "do_resize": True,
    "size": {"shortest_edge": SIDE},
    "do_center_crop": True,
    "crop_size": {"height": SIDE, "width": SIDE},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "resample": 2,
}


def build_tiny_classifier(
    folder: Path, kind: str = "videomae", labels: tuple[str, ...] = NAMED_MOTIONS
) -> Path:
    """Write a folder as transformers saves it; ``kind`` is videomae, timesformer, vivit or
    vjepa2.
    """
    torch.manual_seed(0)
    small = {
        "image_size": SIDE,
        "patch_size": 16,
        "num_frames": 4,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
        "initializer_range": 0.5,  # so that different videos get different answers
    }
    preprocessor, name = dict(PREPROCESSOR), "preprocessor_config.json"
    if kind == "videomae":
        model = VideoMAEForVideoClassification(VideoMAEConfig(**small))
    elif kind == "timesformer":
        model = TimesformerForVideoClassification(TimesformerConfig(**small))
    elif kind == "vjepa2":
        named = {"frames_per_clip": small.pop("num_frames"), "crop_size": small.pop("image_size")}
        config = VJEPA2Config(
            **{**small, **named, "num_pooler_layers": 1, "mlp_ratio": 1.0},
            pred_hidden_size=16,
            pred_num_attention_heads=2,
            pred_num_hidden_layers=1,
        )
        model = VJEPA2ForVideoClassification(config)
        name = "video_preprocessor_config.json"
    else:
        config = VivitConfig(**{**small, "tubelet_size": [2, 16, 16]})
        model = VivitForVideoClassification(config)
        preprocessor |= {"offset": True, "rescale_factor": 1 / 127.5}
    model.save_pretrained(folder)
    (folder / name).write_text(json.dumps(preprocessor))
    return folder
