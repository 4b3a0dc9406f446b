"""The model card of the embedded image-text model, with its scores as measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from motion_ray.data.puppets.motions import NAMED_MOTIONS
from motion_ray.evaluation.clip_scores import OPTIONS, ClipScores
from motion_ray.evaluation.train_clip import ClipTraining

_CARD = """\
# The embedded image-text model: puppets

A CLIP for one small world: it scores how well a frame of drawn puppets fits a text. CLIP
appearance, text alignment and early stopping use it where no large CLIP is at hand; select it with
`clip_model: puppet`. open_clip itself loads it from this folder (`local-dir:`), without a network.
Every file is listed with size and sha256 in `manifest.json`. A score of this model can be compared
only with scores of this model, by the sha256 of its weights.

## What it is

A modified ResNet of open_clip (one bottleneck a stage, width 16, attention pooling) over 64x64
pixels, and a transformer of two layers of width 96 over {words} words; {parameters:,} parameters,
embeddings of length 96. Words outside the world's captions share one token, which training strewed
over the descriptions, so they say nothing. It shares no weights with the base model.

## How it was trained

Contrastively (InfoNCE in both directions, learned temperature) on {frames:,} frames of {scenes:,}
random scenes of all {motions} motions of the world and of its improvised gestures; some of the
frames also as they come through the base model's VAE with a little noise on the latents. Each frame
has a description with attributes left out at random. A text that is true of another frame of the
batch is not counted as its negative. Frames are mirrored, shifted by up to 3 pixels, mildly
blurred, noisy, lighter or darker.

| | |
|---|---|
| command | `{command}` |
| settings | `{settings}` |
| base model's VAE | sha256 {vae} |
| took | {minutes:.0f} minutes of processor time on {device} |

## How good it is

{tested} scenes of combinations of kind, colour and place that training did not see, one frame each.
The right option of an attribute must have the highest cosine among all its options
({options}), the rest of the phrase being right.

| zero-shot accuracy | {attributes} |
|---|{rule}
| real frames | {real_accuracy} |
| through the VAE | {soft_accuracy} |

Mean cosine with the phrase ("a red robot in the forest"):

| | real frames | through the VAE |
|---|---|---|
{ladder}

## Limits

It knows this world only. It forgives what training showed it: blur up to about a pixel and noise up
to 5 % of the range leave the score as it is, or a hair higher. A relative floor (a share of the
base model's own score) is the way to stop a customization by it; an absolute floor such as the
paper's 0.265 belongs to another CLIP.
"""


@dataclass(frozen=True)
class ClipReport:
    """What a card says.

    Attributes:
        settings: of the training.
        command: that rebuilds the model.
        vae: fingerprint of the VAE that softened frames.
        minutes: processor time of the training.
        device: machine in words.
        words: in the vocabulary.
        parameters: of the model.
        tested: scenes.
        real: scores on frames as drawn.
        soft: scores on frames after the VAE.
    """

    settings: ClipTraining
    command: str
    vae: str
    minutes: float
    device: str
    words: int
    parameters: int
    tested: int
    real: ClipScores
    soft: ClipScores


def write_card(report: ClipReport) -> str:
    """The text of the model's ``README.md``."""
    s = report.settings
    return _CARD.format(
        words=report.words,
        parameters=report.parameters,
        frames=s.scenes * s.frames_per_scene,
        scenes=s.scenes,
        motions=len(NAMED_MOTIONS),
        options=", ".join(f"{len(options)} {name}s" for name, options in OPTIONS.items()),
        attributes=" | ".join(OPTIONS),
        rule="---|" * len(OPTIONS),
        command=report.command,
        settings=", ".join(f"{name}={value}" for name, value in asdict(s).items()),
        vae=report.vae,
        minutes=report.minutes,
        device=report.device,
        tested=report.tested,
        real_accuracy=_accuracies(report.real),
        soft_accuracy=_accuracies(report.soft),
        ladder="\n".join(
            f"| {name} | {real:.3f} | {soft:.3f} |"
            for (name, real), (_, soft) in zip(
                ladder(report.real), ladder(report.soft), strict=True
            )
        ),
    )


def ladder(scores: ClipScores) -> list[tuple[str, float]]:
    """Mean cosines from right to wrong, by what was done."""
    return [
        ("as it is", scores.right),
        *((f"blur, sigma {sigma:g} pixels", value) for sigma, value in scores.blur.items()),
        *((f"noise, {level:.0%} of the range", value) for level, value in scores.noise.items()),
        *((f"wrong {names.replace('+', ' and ')}", value) for names, value in scores.wrong.items()),
        ("another scene's phrase", scores.shuffled),
        ("a grey picture", scores.grey),
    ]


def _accuracies(scores: ClipScores) -> str:
    return " | ".join(f"{scores.accuracy[name]:.1%}" for name in OPTIONS)
