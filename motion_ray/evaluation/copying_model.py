"""The embedded copy detector as a folder with its model card, and what the card says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from motion_ray.errors import CheckpointError
from motion_ray.evaluation.copying_calibration import (
    FALSE_ALARMS,
    TRAINING_CLIPS,
    Closeness,
    FalseAlarms,
    above,
    threshold_at,
)
from motion_ray.evaluation.copying_data import GROUP
from motion_ray.evaluation.copying_network import CONFIG, WEIGHTS
from motion_ray.evaluation.motion_model import halved
from motion_ray.evaluation.train_copying import SHAPE, CopyTraining
from motion_ray.files import atomic_directory
from motion_ray.manifest import canonical_json
from motion_ray.tensors import write_tensors

_CARD = """\
# The embedded copy detector: puppets

It tells whether a generated frame repeats a training frame, in the one small world of drawn
puppets; the copying score of a report is counted with it. SSCD, which the paper uses, was made for
photographs and finds most drawn frames of 64 pixels alike. A score of this detector can be compared
only with scores of this detector, by the sha256 of its weights. Every file is listed with size and
sha256 in `manifest.json`.

## What it is

A RegNet of torchvision over 64x64 pixels; {parameters:,} parameters, descriptors of length
{length}. A frame counts as a copy of another if the cosine of their descriptors is above
**{threshold:.4f}**. It shares no weights with the base model or with the other evaluators.

## How it was trained

The way SSCD was: two copies of a frame attract each other, all other frames of the batch repel, and
every descriptor is pushed away from its nearest other one, which spreads them evenly. A batch is
made of groups of {group} frames with the same kind, colour, place and motion that differ in their
seed only (size, position, strength, background), in poses as alike as their clips have them. Copies
are cropped (80 to 100 % of the area), mirrored, blurred, compressed as JPEG, recoloured and noisy,
and half of them went through the base model's VAE with a little noise on the latents.

| | |
|---|---|
| command | `{command}` |
| settings | `{settings}` |
| base model's VAE | sha256 {vae} |
| took | {minutes:.0f} minutes of processor time on {device} |

## Where the threshold comes from

{trials} clips of unseen scenes (through the VAE, as generated videos are), each compared with
{clips} training clips of the same kind and motion; one of these has the same colour and place too.
The threshold is where at most {rate:.0%} of the unseen clips pass for copies of the others, any
frame against any frame: prompts of an evaluation do not repeat the words of a training clip. The
rates are measured on {fresh} further clips, which did not choose it.

| clips that pass for copies | share (95 % interval) |
|---|---|
| of all training clips | {all_alarms} |
| of the one with the same words | {hard_alarms} |
| of the others | {other_alarms} |

## What it finds

Copies of clips of {tested} unseen scenes that count as copies. A copied clip is found if any of its
frames is, as videos are scored. The last column is for comparison: the threshold would be
{strict:.4f} if clips with the very same words took part in its choice.

| done to the copy | clip found (95 % interval) | one frame found | clip, at {strict:.4f} |
|---|---|---|---|
{recall}

## Limits

It knows this world only. Frames of one clip a moment apart are neither copies nor unrelated to it.
Pictures of 64 pixels that show the same puppet do the same thing in the same place differ by little
more than a copy that was cropped: for prompts with the very words of a training clip the rate of
false alarms is that of the first table, not {rate:.0%}. A mirrored copy, or one that was moved or
cropped further, is missed, see the last rows. A low copying score says that videos do not repeat
training frames closely, not that nothing was taken from them.
"""


@dataclass(frozen=True)
class CopyReport:
    """What a card says.

    Attributes:
        settings: of the training.
        command: that rebuilds the model.
        vae: fingerprint of the VAE that softened frames.
        minutes: processor time of the training.
        device: machine in words.
        parameters: of the network.
        threshold: chosen.
        chosen_on: scores that chose it.
        fresh: scores of further trials.
        copies: of clips, by what was done to them.
    """

    settings: CopyTraining
    command: str
    vae: str
    minutes: float
    device: str
    parameters: int
    threshold: float
    chosen_on: FalseAlarms
    fresh: FalseAlarms
    copies: Mapping[str, Closeness]


def write_card(report: CopyReport) -> str:
    """The text of the model's ``README.md``."""
    limit, strict = report.threshold, threshold_at(report.chosen_on.all)
    rows = sorted(report.copies.items(), key=lambda item: -float((item[1].clip > limit).sum()))
    return _CARD.format(
        parameters=report.parameters,
        length=SHAPE.length,
        threshold=report.threshold,
        group=GROUP,
        command=report.command,
        settings=", ".join(f"{name}={value}" for name, value in asdict(report.settings).items()),
        vae=report.vae,
        minutes=report.minutes,
        device=report.device,
        trials=len(report.chosen_on.all),
        clips=TRAINING_CLIPS,
        rate=FALSE_ALARMS,
        fresh=len(report.fresh.all),
        all_alarms=above(report.fresh.all, limit),
        hard_alarms=above(report.fresh.hard, limit),
        other_alarms=above(report.fresh.others, limit),
        tested=len(rows[0][1].clip),
        strict=strict,
        recall="\n".join(
            f"| {name} | {above(each.clip, limit)} | {above(each.frame, limit).rate:.1%} | "
            f"{above(each.clip, strict).rate:.1%} |"
            for name, each in rows
        ),
    )


def write_copying_folder(
    weights: Mapping[str, Tensor], out: Path, threshold: float, card: str
) -> None:
    """Write what :func:`~motion_ray.evaluation.copying_network.load_embedded_detector` loads.

    Args:
        weights: the model's state; it is kept in half precision.
        out: must not exist, or be empty.
        threshold: of the cosine.
        card: text of ``README.md``.

    Raises:
        CheckpointError: the folder exists, or the disk is full.
    """
    config = {"network": asdict(SHAPE), "threshold": threshold}
    with atomic_directory(out, CheckpointError) as folder:
        write_tensors(folder / WEIGHTS, halved(weights))
        (folder / CONFIG).write_text(canonical_json(config))
        (folder / "README.md").write_text(card)
