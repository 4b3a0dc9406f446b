"""The model card of the embedded motion classifier, with its scores as measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from motion_ray.data.puppets.motions import BASE_MOTIONS, HELD_OUT_MOTIONS
from motion_ray.evaluation.motion_scores import MotionScores, Recognised
from motion_ray.evaluation.train_motion import MotionTraining

SHOWN_MISTAKES = 10

_CARD = """\
# The embedded motion classifier: puppets

It says which of {classes} motions a clip of the puppet world shows: the {base} motions that the
base model knows and the {held_out} that are held out of it. Motion accuracy is counted with it, as
the paper counts with a classifier of gestures. A count can be compared only with counts of this
classifier, by the sha256 of its weights. Every file is listed with size and sha256 in
`manifest.json`.

## What it is

A video ResNet of torchvision with one block a stage and each convolution split into space and time,
over 8 frames of 64x64 pixels; {parameters:,} parameters. It shares no weights with the base model
or with the other evaluators.

## How it was trained

On clips of all motions, kinds, colours, places and speeds, one puppet and two. A combination
("waving while jumping") counts as its upper motion. Half of each batch was drawn anew, half is from
{soft:,} clips as they come through the base model's VAE with a little noise on the latents. Clips
are mirrored where the mirror image is the same motion, moved by up to 4 pixels, blurred, lighter or
darker, noisy; where in its cycle a motion starts is random.

| | |
|---|---|
| command | `{command}` |
| settings | `{settings}` |
| base model's VAE | sha256 {vae} |
| took | {minutes:.0f} minutes of processor time on {device} |

## How good it is

{tested} unseen scenes, of combinations of kind, colour and place that training did not show. Simple
scenes have one puppet that does one thing at normal speed, as base models are scored on.

| clips | right, all scenes (95 % interval) | right, simple scenes |
|---|---|---|
| real | {real} |
| through the VAE | {soft_scores} |
| real, played backwards | {backwards} |
| real, frames in random order | {shuffled} |
| real, the first frame throughout | {still} |

Most motions of this world swing to and fro and look the same backwards, and the poses that occur,
in whatever order, already tell most of them apart: what frames in random order get is the share
that needs no order at all. One pose is not enough, as the first frame throughout shows; guessing
would get {chance:.1%}.

Through the VAE, by motion:

| motion | right (95 % interval) |
|---|---|
{motions}

Most often mistaken, through the VAE: {mistakes}.

## Limits

It knows this world only, and gives every clip one of its motions, also one that shows none of them.
It says which motion is there and not whether the motion runs smoothly.
"""


@dataclass(frozen=True)
class MotionReport:
    """What a card says.

    Attributes:
        settings: of the training.
        command: that rebuilds the model.
        vae: fingerprint of the VAE that softened clips.
        minutes: processor time of the training.
        device: machine in words.
        parameters: of the model.
        scores: on unseen scenes.
    """

    settings: MotionTraining
    command: str
    vae: str
    minutes: float
    device: str
    parameters: int
    scores: MotionScores


def write_card(report: MotionReport) -> str:
    """The text of the model's ``README.md``."""
    s, scores = report.settings, report.scores
    base, held_out = len(BASE_MOTIONS), len(HELD_OUT_MOTIONS)
    shown = scores.soft.mistakes[:SHOWN_MISTAKES]
    return _CARD.format(
        classes=base + held_out,
        base=base,
        held_out=held_out,
        parameters=report.parameters,
        soft=s.soft_clips,
        command=report.command,
        settings=", ".join(f"{name}={value}" for name, value in asdict(s).items()),
        vae=report.vae,
        minutes=report.minutes,
        device=report.device,
        tested=scores.real.every.of,
        real=_both(scores.real),
        soft_scores=_both(scores.soft),
        backwards=_both(scores.reversed),
        shuffled=_both(scores.shuffled),
        still=_both(scores.still),
        chance=1 / (base + held_out),
        motions="\n".join(f"| {name} | {share} |" for name, share in scores.soft.motions.items()),
        mistakes=", ".join(f"{true} for {said} ({count})" for true, said, count in shown) or "none",
    )


def _both(recognised: Recognised) -> str:
    return f"{recognised.every} | {recognised.simple}"
