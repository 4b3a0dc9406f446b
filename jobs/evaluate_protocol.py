"""``python -m jobs.evaluate --motions ...``: the whole protocol, in this process or on Ray.

Every motion is asked of every prompt with every seed; the base in words, and real clips, are the
controls. Rows are kept in OUT/rows.parquet; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from rich.console import Console

from jobs.evaluate_protocol_view import show_summary
from jobs.evaluate_view import progress_of
from jobs.evaluate_workers import workforce
from motion_ray.cluster.paths import lasting_path
from motion_ray.config import ClipConfig, SamplingConfig
from motion_ray.errors import ConfigError, RunFolderError
from motion_ray.evaluation.copying_sscd import PACKAGE, PAPER_THRESHOLD
from motion_ray.evaluation.evaluated_motion import describe_motions, read_targets
from motion_ray.evaluation.evaluator import NOT_RUN, EvaluationSettings
from motion_ray.evaluation.prompt_list import load_prompt_list
from motion_ray.evaluation.protocol import evaluate
from motion_ray.evaluation.scored_videos import PUPPET_CLIPS, PUPPET_SAMPLING
from motion_ray.evaluation.summary import summarize_evaluation
from motion_ray.evaluation.tasks import ask_all
from motion_ray.files import write_text_atomic
from motion_ray.manifest import canonical_json
from motion_ray.store import DeltaStore

logger = logging.getLogger(__name__)

STAGE = "videos"
NAMES = ("puppet", PACKAGE, NOT_RUN)  # of models that are no files of the user's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that only ``--motions`` uses."""
    group = parser.add_argument_group("with --motions")
    group.add_argument("--prompts", default="puppet", help="'puppet', 'paper' or a .txt or .yaml")
    group.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default 0 1 2")
    group.add_argument("--targets", type=Path, help=".yaml: what to recognise, by motion")
    group.add_argument("--no-controls", action="store_true", help="neither base nor real clips")
    group.add_argument(
        "--copy-detector", default="puppet", help="'puppet', 'immaculate', SSCD's file, 'not run'"
    )
    group.add_argument("--copy-sha256", help="that SSCD's file must have")
    group.add_argument(
        "--copy-threshold", type=float, default=PAPER_THRESHOLD, help="of SSCD (default 0.25)"
    )
    group.add_argument("--no-fidelity", action="store_true", help="do not track points")
    group.add_argument("--frames", type=int, default=PUPPET_CLIPS.frames)
    group.add_argument("--height", type=int, default=PUPPET_CLIPS.height)
    group.add_argument("--width", type=int, default=PUPPET_CLIPS.width)
    group.add_argument("--fps", type=float, help="at which clips are read (default: their own)")
    group.add_argument("--retry-failed", action="store_true", help="try failed videos again")
    group.add_argument("--workers", type=int, help="so many Ray actors, on this machine")
    group.add_argument("--address", help="Ray cluster to work on (default: RAY_ADDRESS, else none)")
    group.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")


def evaluate_motions(options: argparse.Namespace) -> int:
    """Run the protocol; 1 if a video could not be made, else 0."""
    if options.store is None:
        raise ConfigError("--store", "says where the motions are", "for example --store store")
    here, store = Path.cwd(), options.store
    if "://" not in store:
        store = str(lasting_path(store, "--store", here))
    out = options.out
    settings, prompts = _settings(options, here), load_prompt_list(options.prompts)
    targets = {} if options.targets is None else read_targets(options.targets)
    motions = describe_motions(DeltaStore(store), options.motions, targets)
    _warn_of_drawn_world(options)
    asked = ask_all(motions, prompts, options.seeds, controls=not options.no_controls)
    console = Console()
    with workforce(options, settings, store, len(asked)) as workers, progress_of(console) as told:
        rows = evaluate(
            *(asked, workers.work, out, workers.measured_with),
            batch_size=workers.batch_size,
            retry_failed=options.retry_failed,
            on_progress=lambda done, total: told(STAGE, done, total),
        )
    summary = summarize_evaluation(rows, workers.measured_with, prompts, options.seeds)
    write_text_atomic(out / "scores.json", canonical_json(summary.to_dict()), RunFolderError)
    show_summary(console, summary, out)
    return 1 if summary.failed else 0


def _warn_of_drawn_world(options: argparse.Namespace) -> None:
    """Evaluators that were trained on drawn puppets say nothing about anything else."""
    named = {
        "--classifier": options.classifier,
        "--clip-model": options.clip_model,
        "--copy-detector": options.copy_detector,
    }
    embedded = [option for option, name in named.items() if name == "puppet"]
    if options.prompts != "puppet" and options.base != "puppet" and embedded:
        logger.warning(
            "%s: the embedded model knows drawn puppets only, and its numbers about other videos "
            "mean nothing; name one of your own (docs/evaluation.md)",
            ", ".join(embedded),
        )


def _settings(options: argparse.Namespace, here: Path) -> EvaluationSettings:
    def absolute(name: str) -> str:
        path = here / Path(name).expanduser()
        return name if name in NAMES or not path.exists() else str(path)

    return EvaluationSettings(
        base=absolute(options.base),
        classifier=absolute(options.classifier),
        clip_model=absolute(options.clip_model),
        copy_detector=absolute(options.copy_detector),
        copy_sha256=options.copy_sha256,
        copy_threshold=options.copy_threshold,
        fidelity=not options.no_fidelity,
        sampling=SamplingConfig(
            steps=options.steps, guidance=options.guidance, fps=PUPPET_SAMPLING.fps
        ),
        clips=ClipConfig(
            frames=_at_least_two(options.frames),
            height=options.height,
            width=options.width,
            fps=options.fps,
        ),
    )


def _at_least_two(frames: int) -> int:
    if frames < 2:
        raise ConfigError("--frames", f"are two or more, to see motion, not {frames}", "e.g. 8")
    return frames
