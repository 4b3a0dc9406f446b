"""A very small base model with random weights, as a real diffusers folder: for tests of everything
but quality."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, TextToVideoSDPipeline, UNet3DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from motion_ray.config import CustomizationConfig
from motion_ray.customization.loop import customize
from motion_ray.data.video import write_video
from motion_ray.recipes.paper import ours
from motion_ray.types import StepDone


def build_tiny_base(folder: Path, prediction_type: str = "epsilon", *, seed: int = 0) -> Path:
    """Write a diffusers folder: 8-pixel VAE cells, 4 latent channels, UNet3D of (16, 32) channels.

    ``epsilon`` gets ZeroScope's schedule; ``v_prediction`` the embedded model's (zero terminal
    SNR).
    """
    torch.manual_seed(seed)
    zero_snr = prediction_type == "v_prediction"
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction_type,
        rescale_betas_zero_snr=zero_snr,
        timestep_spacing="trailing" if zero_snr else "leading",
        clip_sample=False,
        set_alpha_to_one=zero_snr,
        steps_offset=1,
    )
    pipeline = TextToVideoSDPipeline(
        vae=_vae(),
        text_encoder=_text_encoder(),
        tokenizer=tiny_tokenizer(),
        unet=_unet(),
        scheduler=scheduler,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def _unet() -> UNet3DConditionModel:
    unet = UNet3DConditionModel(
        sample_size=4,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=8,
        norm_num_groups=4,
    )
    for name, parameter in unet.named_parameters():
        # Layers that start at zero (the last temporal convolution) would hide what feeds them.
        if parameter.detach().abs().max() == 0 and "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return unet


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
    )


def _text_encoder() -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=48,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


def tiny_tokenizer(max_length: int = 48) -> CLIPTokenizer:
    """Letters, and the two tokens sks and pll whole."""
    vocab = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    letters = "abcdefghijklmnopqrstuvwxyz<>"
    pieces = [c for letter in letters for c in (letter, f"{letter}</w>")]
    for piece in pieces:
        vocab[piece] = len(vocab)
    merges = [("s", "k"), ("sk", "s</w>"), ("p", "l"), ("pl", "l</w>")]
    for left, right in merges:
        vocab[left + right] = len(vocab)
    return CLIPTokenizer(
        vocab=vocab,
        merges=merges,
        model_max_length=max_length,
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
    )


def write_tiny_clips(folder: Path, caption: str, clips: int) -> Path:
    """A motion folder of ``clips`` videos of 32x32 pixels and 4 frames: a square that slides."""
    folder.mkdir(parents=True)
    for clip in range(clips):
        frames = torch.full((4, 3, 32, 32), 40 * clip, dtype=torch.uint8)
        for frame in range(4):
            left = 4 * frame + clip
            frames[frame, clip % 3, 8:20, left : left + 10] = 230
        write_video(folder / f"{clip}.mp4", frames, 8.0)
        (folder / f"{clip}.txt").write_text(caption)
    return folder


def tiny_config(base: Path, motion: Path, regularization: Path) -> CustomizationConfig:
    """The paper's method with everything small; float32, so that runs can be compared bit for
    bit."""
    return ours(base=str(base)).replace(
        {
            "motion": str(motion),
            "regularization": {"folder": str(regularization)},
            "clips": {"frames": 4, "fps": None, "height": 32, "width": 32},
            "augmentation": {"variants": 2},
            "optimizer": {"lr": 1e-3},
            "engine": {"name": "torch", "precision": "fp32", "dropout": False},
            "sampling": {"steps": 2, "guidance": 2.0},
            "validation": {"prompts": ["a red robot <motion>"], "floor": None, "every": 1000},
            "batch_size": 2,
            "max_steps": 6,
            "checkpoint_every": 2,
        }
    )


def abandon(config: CustomizationConfig, out: Path, device: str = "cpu") -> None:
    """Begin a run and leave it after its third step."""
    for event in customize(config, out, device=device):
        if isinstance(event, StepDone) and event.step == 3:
            break
