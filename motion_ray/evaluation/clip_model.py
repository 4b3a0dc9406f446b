"""The embedded image-text model as a folder that open_clip loads: architecture, words, files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from motion_ray.errors import CheckpointError
from motion_ray.evaluation.clip import CONFIG, WEIGHTS
from motion_ray.evaluation.clip_data import known_words
from motion_ray.evaluation.motion_model import halved
from motion_ray.files import atomic_directory
from motion_ray.manifest import canonical_json
from motion_ray.tensors import write_tensors

IMAGE_SIZE, CONTEXT = 64, 20
START, END, PAD, UNKNOWN = "<start>", "<end>", "<pad>", "<unknown>"  # ids 0 to 3
MEAN = STD = (0.5, 0.5, 0.5)


def model_config(vocabulary: int) -> dict[str, Any]:
    """The content of ``open_clip_config.json``: a small modified ResNet and a transformer."""
    return {
        "model_cfg": {
            "embed_dim": 96,
            "vision_cfg": {
                "image_size": IMAGE_SIZE,
                "layers": [1, 1, 1, 1],
                "width": 16,
                "head_width": 64,
            },
            "text_cfg": {
                "context_length": CONTEXT,
                "vocab_size": vocabulary,
                "width": 96,
                "heads": 4,
                "layers": 2,
                "pool_type": "eos",
                "eos_id": 1,
                "pad_id": 2,
                # With local-dir, open_clip takes the tokenizer from the model's own folder.
                "hf_tokenizer_name": "local",
                "tokenizer_kwargs": {"local_files_only": True},
            },
        },
        "preprocess_cfg": {
            "mean": MEAN,
            "std": STD,
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


def build_tokenizer() -> Tokenizer:
    """One id a word of the world; all other words share one, so that they say nothing."""
    words = [START, END, PAD, UNKNOWN, *known_words()]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])  # pyright: ignore
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore
        single=f"{START} $A {END}", special_tokens=[(START, 0), (END, 1)]
    )
    tokenizer.enable_padding(pad_id=2, pad_token=PAD, length=CONTEXT)
    tokenizer.enable_truncation(CONTEXT)
    return tokenizer


def write_model_folder(
    weights: Mapping[str, Tensor], out: Path, card: Callable[[Path], str]
) -> None:
    """Write what open_clip needs, with half-precision weights, a model card and a manifest.

    Args:
        weights: the model's state.
        out: must not exist, or be empty.
        card: gives the text of ``README.md``; it is called with the folder that holds the rest.

    Raises:
        CheckpointError: the folder exists, or the disk is full.
    """
    tokenizer = build_tokenizer()
    config = model_config(tokenizer.get_vocab_size())
    # Padding and truncation are open_clip's business at use.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer_config = {
        "tokenizer_class": "TokenizersBackend",
        "bos_token": START,
        "eos_token": END,
        "pad_token": PAD,
        "unk_token": UNKNOWN,
        "model_max_length": CONTEXT,
    }
    with atomic_directory(out, CheckpointError) as folder:
        write_tensors(folder / WEIGHTS[0], halved(weights))
        (folder / CONFIG).write_text(canonical_json(config))
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(canonical_json(tokenizer_config))
        (folder / "README.md").write_text(card(folder))
