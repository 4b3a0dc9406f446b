"""The last stage, `export`: finished parts become the diffusers folder that is shipped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motion_ray.backbones.embedded import load_denoiser, load_vae
from motion_ray.backbones.folder import open_model_folder
from motion_ray.backbones.pipeline_folder import check_pipeline, parameter_counts, write_pipeline
from motion_ray.data.puppets.render import FRAMES
from motion_ray.errors import BaseModelError, ConfigError
from motion_ray.files import atomic_directory, bytes_below
from motion_ray.pretraining.card import BaseCard, write_card
from motion_ray.pretraining.decoder import DECODER
from motion_ray.pretraining.denoiser_stage import IMAGE, VIDEO
from motion_ray.pretraining.latents import LATENTS
from motion_ray.pretraining.text import TEXT
from motion_ray.pretraining.vae import VAE
from motion_ray.pretraining.workspace import Workspace
from motion_ray.pretraining.world import WORLD

EXPORT = "export"
LARGEST = 40_000_000  # bytes of the whole folder
STAGES = (WORLD, TEXT, VAE, LATENTS, DECODER, IMAGE, VIDEO)


@dataclass(frozen=True)
class Exported:
    """A folder that was written.

    Attributes:
        folder: loads in diffusers' ``TextToVideoSDPipeline`` and with ``base: FOLDER``.
        size: bytes.
        fingerprint: sha256 over weights and configs.
    """

    folder: Path
    size: int
    fingerprint: str


def export_base(workspace: Workspace, out: Path, scores: Path | None = None) -> Exported:
    """Write the model of the finished stages, check that it loads and draws, and its card.

    Args:
        workspace: with the stages text, vae and video finished.
        out: a new folder.
        scores: ``scores.json`` of ``jobs.evaluate --base-only`` on this model, for the card.

    Raises:
        RunFolderError: a stage has not finished, or what it made is damaged.
        ConfigError: the scores are of another model.
        BaseModelError: the folder exists, is too large, or does not load.
    """
    for stage in (TEXT, VAE, VIDEO):
        workspace.record(stage)
    measured = None if scores is None else read_scores(scores)
    with atomic_directory(out, BaseModelError) as folder:
        unet = load_denoiser(workspace.finished_model(VIDEO))
        # The stage `decoder` may be left out; then the decoder is the one that `vae` made.
        vae = load_vae(workspace.finished_model(DECODER if workspace.finished(DECODER) else VAE))
        write_pipeline(folder, unet, vae, workspace.finished_model(TEXT))
        check_pipeline(folder, FRAMES)
        fingerprint = open_model_folder(folder).fingerprint
        if measured is not None and measured["measured_with"]["base"] != fingerprint:
            raise ConfigError(
                f"--scores {scores}",
                f"was measured of another model than this one, {fingerprint[:12]}",
                "evaluate the exported folder, then export again",
            )
        card = BaseCard(
            records={s: workspace.record(s) for s in STAGES if workspace.finished(s)},
            parameters=parameter_counts(folder),
            sizes={part: bytes_below(folder / part) for part in ("unet", "vae", "text_encoder")},
            fingerprint=fingerprint,
            scores=measured,
        )
        (folder / "README.md").write_text(write_card(card))
        size = bytes_below(folder)
        if size > LARGEST:
            raise BaseModelError(
                out,
                f"{size / 1e6:.1f} MB, and at most {LARGEST / 1e6:.0f} MB are shipped",
                "train narrower parts, for example --set width=64",
            )
    return Exported(out, size, fingerprint)


def read_scores(path: Path) -> Mapping[str, Any]:
    """What ``jobs.evaluate --base-only`` measured; ``["measured_with"]["base"]`` says of what.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    try:
        scores = json.loads(path.read_text())
        if not isinstance(scores["measured_with"]["base"], str):
            raise TypeError("measured_with.base is a sha256")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"--scores {path}",
            f"is no scores.json of a base model ({error})",
            "make one with python -m jobs.evaluate --base-only --base FOLDER --out scores",
        ) from error
    return scores
