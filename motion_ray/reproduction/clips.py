"""The clips that a reproduction learns from: drawn for the puppet world, or given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from motion_ray.data.clips import content_hash, load_motion_folder
from motion_ray.data.puppets.folders import slug, write_motion_folder, write_regularization_folder
from motion_ray.data.puppets.motions import HELD_OUT_MOTIONS, NAMED_MOTIONS
from motion_ray.errors import ConfigError
from motion_ray.evaluation.evaluated_motion import EvaluatedMotion, Target, read_targets
from motion_ray.evaluation.training_clips import training_hash
from motion_ray.reproduction.scale import Scale

CLIPS = 10  # of a motion, as in the paper
SHOWN = 4  # clips, and videos of each method, that a report shows
DRAWN = "clips"  # folder of drawn clips in that of a reproduction


@dataclass(frozen=True)
class Clips:
    """Folders of clips and what the motions in them are.

    Attributes:
        scale: whose motions.
        root: where drawn clips lie; unused if the scale has data of its own.
    """

    scale: Scale
    root: Path

    def check(self) -> None:
        """Look for everything that is to be learned.

        Raises:
            ConfigError: a motion that cannot be drawn, or data without a folder or description.
        """
        data = self.scale.data
        if data is None:
            for motion in self.scale.motions:
                if motion not in HELD_OUT_MOTIONS:
                    known = motion in NAMED_MOTIONS
                    rule = f"there is no {motion!r} in the puppet world"
                    if known:  # it is in the regularization clips too, as something else
                        rule = f"{motion!r} is a motion that the base knows"
                    raise ConfigError("--motions", rule, f"one of: {', '.join(HELD_OUT_MOTIONS)}")
            return
        for folder in ("regularization", *(f"motions/{name}" for name in self.scale.motions)):
            if not (data / folder).is_dir():
                raise ConfigError(
                    f"--data {data}",
                    f"has no folder {folder}",
                    "it holds motions/<name>/ for each motion, regularization/ and targets.yaml",
                )
        for motion in self.scale.motions:
            self.target(motion, CLIPS)

    def motion(self, motion: str, clips: int) -> Path:
        """The folder of a motion; drawn if it is not there."""
        if self.scale.data is not None:
            return self.scale.data / "motions" / motion
        folder = self.root / f"{slug(motion)}-{clips}"
        if not folder.is_dir():
            write_motion_folder(motion, folder, clips=clips)
        return folder

    def shown(self) -> tuple[Path, ...]:
        """Files of a few clips of the first motion, for people."""
        folder = load_motion_folder(self.motion(self.scale.motions[0], CLIPS))
        return tuple(clip.path for clip in folder.clips[:SHOWN])

    def regularization(self) -> Path:
        """The folder of real clips of other motions; drawn if it is not there."""
        if self.scale.data is not None:
            return self.scale.data / "regularization"
        folder = self.root / "regularization"
        if not folder.is_dir():
            write_regularization_folder(folder)
        return folder

    def target(self, motion: str, clips: int) -> Target:
        """What evaluators should recognise.

        Raises:
            ConfigError: the scale's data do not say it.
        """
        if self.scale.data is None:
            folder = str(self.motion(motion, clips))
            return Target(label=motion, description=motion, training=folder)
        targets = read_targets(self.scale.data / "targets.yaml")
        if motion not in targets:
            raise ConfigError(
                str(self.scale.data / "targets.yaml"),
                f"does not describe {motion}",
                f"for example {motion}: {{label: Swiping Down, description: swiping hand down}}",
            )
        return targets[motion].model_copy(update={"training": str(self.motion(motion, clips))})

    def evaluated(self, motion: str, clips: int = CLIPS) -> EvaluatedMotion:
        """A motion for evaluation, without a delta yet.

        Copying and fidelity are scored against all clips of its folder, so where fewer of them were
        trained on, they are not scored.
        """
        folder = load_motion_folder(self.motion(motion, clips))
        sources = {clip.path.name: content_hash(clip.path) for clip in folder.clips}
        whole = self.scale.data is None or clips >= len(sources)
        return EvaluatedMotion(
            name=slug(motion),
            reference="",
            delta="",
            token=folder.token,
            target=self.target(motion, clips),
            training=training_hash(sources) if whole else "",
            recipe="",
            step=0,
            training_seed=None,
        )
