"""What a benchmark of serving serves: a base model, and what is asked of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import track

from motion_ray.backbones.unet3d import EMBEDDED, UNet3DBackbone, load_backbone
from motion_ray.config import ClipConfig, CustomizationConfig, SamplingConfig
from motion_ray.generation import VideoGenerator
from motion_ray.recipes.paper import ours
from motion_ray.recipes.puppet import puppet
from motion_ray.serving.requests import GenerationSpec, SpecMotion
from motion_ray.store import DeltaRecord
from motion_ray.types import GeneratedVideo

PROMPT = "a red robot doing the pll in the forest"


def progress(numbers: Sequence[int], what: str) -> Iterable[int]:
    """With a bar on stderr while it lasts; stdout is for what was measured."""
    return track(numbers, what, console=Console(stderr=True), transient=True)


@dataclass(frozen=True)
class Served:
    """A base model and the size of a video.

    Attributes:
        base: ``"puppet"``, or a diffusers folder, of which the paper's size is asked.
        steps: denoising steps of a generation; null: the recipe's.
    """

    base: str = EMBEDDED
    steps: int | None = None

    @property
    def recipe(self) -> CustomizationConfig:
        """For this base."""
        return puppet() if self.base == EMBEDDED else ours(self.base)

    def open(self, device: str | None = None) -> UNet3DBackbone:
        """Load the base; null takes the GPU if there is one."""
        return load_backbone(self.base, device)

    def spec(self, record: DeltaRecord | None, **changes: int) -> GenerationSpec:
        """A request, for one motion or none."""
        clips, sampling = self.recipe.clips, self.recipe.sampling
        motions = () if record is None else (_motion(record),)
        spec = GenerationSpec(
            prompt=PROMPT if record is not None else PROMPT.replace("the pll", "something"),
            negative_prompt="",
            width=clips.width,
            height=clips.height,
            frames=clips.frames,
            fps=round(sampling.fps),
            steps=self.steps or sampling.steps,
            guidance=sampling.guidance,
            seed=0,
            motions=motions,
        )
        return spec.model_copy(update=changes)


def generate(backbone: UNet3DBackbone, spec: GenerationSpec) -> GeneratedVideo:
    """Make the video with whatever is applied to the base."""
    sampling = SamplingConfig(steps=spec.steps, guidance=spec.guidance, fps=spec.fps)
    clips = ClipConfig(frames=spec.frames, height=spec.height, width=spec.width)
    [video] = VideoGenerator(backbone, sampling, clips, batch_size=1).generate(
        [spec.prompt], [spec.seed]
    )
    return video


def _motion(record: DeltaRecord) -> SpecMotion:
    return SpecMotion(id=record.name, version=record.version, sha256=record.sha256, weight=1.0)
