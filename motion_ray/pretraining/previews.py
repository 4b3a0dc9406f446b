"""What a half-trained denoiser can do: sheets of samples, and scores if there are evaluators.

Nothing here touches the training's randomness, so a run has the same course however often it looks
at itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from diffusers import AutoencoderKL, UNet3DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from motion_ray.backbones.bypass import without_temporal_layers
from motion_ray.backbones.embedded import load_text, load_vae, scheduler_config
from motion_ray.backbones.folder import ModelFolder
from motion_ray.backbones.unet3d import UNet3DBackbone
from motion_ray.config import ClipConfig
from motion_ray.evaluation.scene_prompts import balanced_prompts
from motion_ray.evaluation.scored_videos import PUPPET_CLIPS, PUPPET_SAMPLING
from motion_ray.evaluation.sheet import write_video_sheet
from motion_ray.generation import VideoGenerator
from motion_ray.pretraining.text import TEXT
from motion_ray.pretraining.vae import VAE
from motion_ray.pretraining.workspace import Workspace


class Previews:
    """The looks that a training takes at its running average.

    Args:
        stage: whose; sheets lie in its folder.
        average: the denoiser that is looked at.
        images: it is an image model still, and draws single frames.
        videos: on a sheet.
        precision: auto, fp32 or bf16.
        workspace: with the finished stages before.
    """

    def __init__(
        self,
        stage: str,
        average: UNet3DConditionModel,
        images: bool,
        videos: int,
        precision: str,
        workspace: Workspace,
    ) -> None:
        self.images = images
        self._workspace, self._log = workspace, workspace.metrics(stage)
        self._sheets = workspace.folder(stage) / "sheets"
        self._precision = precision
        vae = load_vae(workspace.finished_model(VAE))
        encoder, tokenizer = load_text(workspace.finished_model(TEXT))
        self._backbone = _backbone(average, vae, encoder, tokenizer, workspace)
        self._prompts = balanced_prompts(videos, split="validation")

    def take(self, step: int) -> None:
        """Draw the sheet of a step and note its scores, as far as an earlier run did not."""
        sheet = self._sheets / f"step-{step:06d}.png"
        if not sheet.exists():
            self._draw(sheet)
        # Single frames show no motion: there is nothing yet to score.
        score = None if self.images else self._workspace.score
        if score is not None and not self.scores(step):
            self._log.append({"step": step, "scores": dict(score(self._backbone))})

    def scores(self, step: int) -> Mapping[str, float]:
        """The scores of a step; empty if there are none."""
        found = [line for line in self._log.read() if line["step"] == step and "scores" in line]
        return found[-1]["scores"] if found else {}

    def _draw(self, sheet: Path) -> None:
        frames = 1 if self.images else PUPPET_CLIPS.frames
        clips = ClipConfig(frames=frames, height=PUPPET_CLIPS.height, width=PUPPET_CLIPS.width)
        generator = VideoGenerator(self._backbone, PUPPET_SAMPLING, clips, self._precision)
        texts = [prompt.text for prompt in self._prompts]
        with self._layers():
            videos = generator.generate(texts, [prompt.seed for prompt in self._prompts])
        write_video_sheet(sheet, [video.frames for video in videos], texts)

    def _layers(self) -> contextlib.AbstractContextManager[None]:
        if self.images:
            return without_temporal_layers(self._backbone.denoiser)
        return contextlib.nullcontext()


def _backbone(
    unet: UNet3DConditionModel,
    vae: AutoencoderKL,
    encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    workspace: Workspace,
) -> UNet3DBackbone:
    """A backbone around weights that go on changing, so its fingerprints name no weights."""
    folder = ModelFolder(workspace.root, scheduler_config(), "in training", "in training")
    device = workspace.device
    vae.to(device)  # pyright: ignore[reportArgumentType]
    encoder.to(device)  # pyright: ignore[reportArgumentType]
    return UNet3DBackbone(folder, unet, vae, encoder, tokenizer, device)
