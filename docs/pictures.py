"""Draw the animated pictures of the README: what the base model knows, and what it learned.

Example, after ``make demo``: ``.venv/bin/python docs/pictures.py``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import pil_to_tensor, resize

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.data.clips import load_motion_folder
from motion_ray.data.puppets.motions import BASE_MOTIONS
from motion_ray.data.video import read_clip, write_gif
from motion_ray.evaluation.prompts import EvalPrompt
from motion_ray.evaluation.scene_prompts import balanced_prompts
from motion_ray.generation import VideoGenerator
from motion_ray.recipes import load_config
from motion_ray.store import DeltaStore

IMAGES = Path(__file__).parent / "images"
COLUMNS, ENLARGED, FPS, GAP = 6, 2, 8, 4
MARGIN = 108  # pixels, for the names of rows
ROWS = (
    "clips that\nteach it:\npersons,\ndabbing",
    "other\ncharacters,\nbefore",
    "the same,\nafter",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Generate and write ``docs/images/base.gif`` and ``docs/images/demo.gif``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="folder of make demo")
    parser.add_argument("--name", default="dabbing", help="motion in its store")
    options = parser.parse_args(arguments)
    folder = options.demo / "motion"
    config = load_config("puppet", motion=str(folder))
    backbone = load_backbone(config.base)
    generator = VideoGenerator(backbone, config.sampling, config.clips)
    prompts = [each.text for each in balanced_prompts(2 * COLUMNS, BASE_MOTIONS, seed=1)]
    write_gif(IMAGES / "base.gif", picture_of(rows_of(videos(generator, prompts))), FPS)
    print("\n".join(prompts))

    motion = load_motion_folder(folder)
    training = [
        read_clip(c.path, config.clips, frame_fps=c.frame_fps).frames
        for c in motion.clips[:COLUMNS]
    ]
    templates = config.validation.prompts[:COLUMNS]
    asked = [EvalPrompt(t).with_token(motion.token) for t in templates]
    before = videos(generator, asked)
    with DeltaStore(str(options.demo / "run" / "store")).load(options.name).applied(backbone):
        after = videos(generator, asked)
    picture = with_names(picture_of([training, before, after]), ROWS)
    write_gif(IMAGES / "demo.gif", picture, FPS)
    print("\n".join(asked))


def videos(generator: VideoGenerator, prompts: Sequence[str]) -> list[Tensor]:
    """Frames uint8 ``[f, 3, h, w]`` of each prompt; the seed is its number."""
    return [video.frames for video in generator.generate(list(prompts), list(range(len(prompts))))]


def rows_of(clips: list[Tensor]) -> list[list[Tensor]]:
    """Clips in rows of equal length."""
    return [clips[at : at + COLUMNS] for at in range(0, len(clips), COLUMNS)]


def picture_of(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Rows of clips as one clip with white gaps, enlarged: uint8 ``[f, 3, h, w]``."""
    padded = [
        [torch.nn.functional.pad(clip, (0, GAP, 0, GAP), value=255) for clip in row] for row in rows
    ]
    frames = torch.cat([torch.cat(row, -1) for row in padded], -2)
    size = [ENLARGED * side for side in frames.shape[-2:]]
    return resize(frames, size, InterpolationMode.BICUBIC)


def with_names(frames: Tensor, names: Sequence[str]) -> Tensor:
    """A picture of rows with their names on the left: uint8 ``[f, 3, h, w]`` to a wider one."""
    height = frames.shape[-2]
    margin = Image.new("RGB", (MARGIN, height), "white")
    pen, font = ImageDraw.Draw(margin), ImageFont.load_default(15)
    for number, name in enumerate(names):
        middle = (number + 0.5) * height / len(names) - ENLARGED * GAP / 2
        pen.multiline_text((4, middle), name, "#222", font, anchor="lm", spacing=3)
    beside = pil_to_tensor(margin).expand(len(frames), -1, -1, -1)
    return torch.cat([beside, frames], -1)


if __name__ == "__main__":
    main()
