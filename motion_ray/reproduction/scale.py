"""At what size the tables are made: motions, seeds, prompts, models.

The puppet scale needs nothing but this repository. The Jester scale is the paper's own and needs
what cannot be shipped: a base model, the clips, the evaluators.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from motion_ray.config import ClipConfig, SamplingConfig
from motion_ray.errors import ConfigError
from motion_ray.evaluation.evaluator import EvaluationSettings
from motion_ray.evaluation.prompt_list import PromptList, load_prompt_list
from motion_ray.recipes.paper import ours
from motion_ray.recipes.puppet import PROMPTS

#: Three are after the paper's gestures of Jester, two are whole-body motions.
PUPPET_MOTIONS = ("swiping down", "drumming", "rolling arms", "dabbing", "swinging arms")
#: The paper's five (section 4.1), as folders of DATA.
JESTER_MOTIONS = (
    "swiping-down",
    "drumming-fingers",
    "rolling-hand-forward",
    "shaking-hand",
    "sliding-two-fingers-up",
)


@dataclass(frozen=True)
class Scale:
    """A size.

    Attributes:
        name: on the command line.
        recipe: ours at this size; other methods' recipes begin with its name.
        motions: to learn.
        seeds: of training, for every method.
        headline_seeds: of training, for methods that matter most; hold ``seeds``.
        prompt_list: ``"puppet"``, ``"paper"`` or a file.
        prompts: how many of them.
        video_seeds: of the initial noise, for every prompt.
        sets: assignments over every recipe, such as ``max_steps=150``.
        settings: models that evaluate.
        data: folder with ``motions/``, ``regularization/`` and ``targets.yaml``; None: drawn.
    """

    name: str
    recipe: str
    motions: tuple[str, ...]
    seeds: tuple[int, ...]
    headline_seeds: tuple[int, ...]
    prompt_list: str
    prompts: int
    video_seeds: tuple[int, ...]
    sets: tuple[str, ...]
    settings: EvaluationSettings
    data: Path | None = None

    def asked(self) -> PromptList:
        """The prompts that are asked for.

        Raises:
            ConfigError: there is no such list, or it has fewer.
        """
        whole = load_prompt_list(self.prompt_list)
        if self.prompts > len(whole.prompts):
            rule = f"are at most {len(whole.prompts)}, as the list has, not {self.prompts}"
            raise ConfigError("--prompts", rule, "e.g. 20")
        return replace(whole, prompts=whole.prompts[: self.prompts])


def puppet_scale(*, quick: bool = False) -> Scale:
    """The embedded model in the drawn world.

    Quick is one motion, one seed and a sixth of the steps: it shows that everything runs, and its
    verdicts are as weak as its few videos.
    """
    scale = Scale(
        name="puppet",
        recipe="puppet",
        motions=PUPPET_MOTIONS,
        seeds=(0,),
        headline_seeds=(0, 1, 2),
        prompt_list="puppet",
        prompts=20,
        video_seeds=(0,),
        sets=(),
        settings=EvaluationSettings(),
    )
    if not quick:
        return scale
    few = ", ".join(f'"{prompt}"' for prompt in PROMPTS[:4])
    return replace(
        scale,
        motions=("dabbing",),
        headline_seeds=(0,),
        prompts=12,
        sets=(
            "max_steps=150",
            "validation.every=25",
            "checkpoint_every=25",
            "regularization.synthetic_clips=20",
            f"validation.prompts=[{few}]",
        ),
    )


def jester_scale(
    data: Path,
    base: str,
    classifier: str,
    clip_model: str,
    copy_detector: str,
    copy_sha256: str | None,
) -> Scale:
    """The paper's size: ZeroScope, five gestures, 100 prompts with 3 seeds; a training of each
    method, three of headline methods.

    Args:
        data: see :class:`Scale`.
        base: a diffusers folder of ZeroScope.
        classifier: a folder of a video classifier of Jester's classes.
        clip_model: a folder that open_clip loads.
        copy_detector: an SSCD file, or what else evaluation takes.
        copy_sha256: of that file.
    """
    config = ours(base, clip_model)
    size = config.clips
    return Scale(
        name="jester",
        recipe="paper",
        motions=JESTER_MOTIONS,
        seeds=(0,),
        headline_seeds=(0, 1, 2),
        prompt_list="paper",
        prompts=100,
        video_seeds=(0, 1, 2),
        sets=(f"validation.floor.clip_model={clip_model}", "engine.name=torch"),
        settings=EvaluationSettings(
            base=base,
            classifier=classifier,
            clip_model=clip_model,
            copy_detector=copy_detector,
            copy_sha256=copy_sha256,
            sampling=SamplingConfig(**config.sampling.model_dump()),
            clips=ClipConfig(
                frames=size.frames, fps=size.fps, height=size.height, width=size.width
            ),
            batch_size=1,
        ),
        data=data,
    )
