"""The model card of the embedded base model: what it knows, how it was made, how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from motion_ray.data.puppets.bodies import COLOURS, KINDS
from motion_ray.data.puppets.captions import RARE_WORDS
from motion_ray.data.puppets.motions import BASE_MOTIONS, HELD_OUT_MOTIONS
from motion_ray.data.puppets.places import PLACES
from motion_ray.data.puppets.render import FRAMES, SIZE
from motion_ray.data.puppets.world import IMPROVISED_SHARE
from motion_ray.pretraining.workspace import Record

NOT_MEASURED = "not measured yet"
ATTRIBUTES = ("motion", "kind", "colour", "place")
PARTS = {
    "unet": "denoiser, `UNet3DConditionModel`",
    "vae": "VAE, `AutoencoderKL`",
    "text_encoder": "text encoder, `CLIPTextModel`",
}
#: Row of the table of scores to its key in a scores.json.
SCORES = {
    "generated videos": "generated",
    "real clips through the VAE: the ceiling": "ceiling",
    "generated videos held against other prompts: the floor": "floor",
}

_CARD = """\
# The embedded base model: puppets

A text-to-video diffusion model small enough to customize on two CPU cores, in the diffusers folder
layout (`TextToVideoSDPipeline`). It knows one world and nothing else: drawn puppets doing simple
motions, {frames} frames of {size}x{size} pixels. It is here so that the whole line of motion_ray,
from clips to a learned motion, runs without a GPU and without a model hub. It is a stand-in for
ZeroScope or ModelScope, not a rival of them.

Select it with `base: puppet` (the default of the `puppet` recipe). Every file is listed with size
and sha256 in `manifest.json`; sha256 over weights and configs: {fingerprint}.

## What it can be asked for

| attribute | values |
|---|---|
| who | {kinds}; one of them, or two |
| colour | {colours} (a person's is that of the shirt) |
| motion | {motions}; an arm motion may be joined with a leg motion ("waving while jumping") |
| how | nothing, slowly, quickly |
| where | {places} |

Example: `a red robot waving on the beach`. Other words are spelled in pieces and mean nothing to
it. {improvised:.0%} of its clips showed gestures that have no name, captioned "doing something": it
has seen more motions than it has words for, as large models have. In half of the captions that
name no motion one of the words {rare} stands for it ("doing the pll"): one of them becomes V*.

**Held out.** {held_out} were in no training clip and no caption. They are what customization is
tried on.

## Parts

| part | parameters | tensors | size |
|---|---|---|---|
{parts}

The tokenizer is a `CLIPTokenizer`, the scheduler a `DDIMScheduler`: v-prediction, zero terminal
SNR, trailing spacing, 1000 noise levels. Weights are float16 safetensors. The VAE's per-channel
normalisation is folded into the convolutions around the latents, so its `scaling_factor` is 1 and
its latents have mean 0 and standard deviation 1 on this world.

## How it was made

All data is drawn by a program; no footage, no people, no third-party weights. Minutes are on the
clock, with processor time in parentheses.

| stage | command | minutes | device |
|---|---|---|---|
{stages}

{details}

## How good it is

Judged by the evaluators of this repository on prompts whose scenes it has not seen; right of all,
with the 95 % interval.

| clips | motion | kind | colour | place |
|---|---|---|---|---|
{scores}

Held-out motions named in words: {named}. Asked for in words they should be near chance, or they
were not held out.

Licence: Apache-2.0, like the rest of the repository.
"""


@dataclass(frozen=True)
class BaseCard:
    """What the card says.

    Attributes:
        records: of the finished stages, in order.
        parameters: parameters and tensors of each part.
        sizes: bytes of each part.
        fingerprint: of the whole model.
        scores: content of a scores.json; None: nothing was measured.
    """

    records: Mapping[str, Record]
    parameters: Mapping[str, tuple[int, int]]
    sizes: Mapping[str, int]
    fingerprint: str
    scores: Mapping[str, Any] | None


def write_card(card: BaseCard) -> str:
    """The text of the model's ``README.md``."""
    return _CARD.format(
        frames=FRAMES,
        size=SIZE,
        fingerprint=card.fingerprint,
        kinds=", ".join(KINDS),
        colours=", ".join(COLOURS),
        motions=", ".join(BASE_MOTIONS),
        places=", ".join(PLACES),
        improvised=IMPROVISED_SHARE,
        rare=", ".join(RARE_WORDS),
        held_out=", ".join(HELD_OUT_MOTIONS).capitalize(),
        parts="\n".join(
            f"| {title} | {card.parameters[part][0]:,} | {card.parameters[part][1]} "
            f"| {card.sizes[part] / 1e6:.1f} MB |"
            for part, title in PARTS.items()
        ),
        stages="\n".join(_stage_row(name, record) for name, record in card.records.items()),
        details="\n\n".join(_details(name, record) for name, record in card.records.items()),
        scores="\n".join(
            f"| {row} | {' | '.join(_share(card.scores, key, each) for each in ATTRIBUTES)} |"
            for row, key in SCORES.items()
        ),
        named=_named(card.scores),
    )


def _stage_row(name: str, record: Record) -> str:
    times = f"{record.minutes:.1f} ({record.cpu_minutes:.1f})"
    return f"| {name} | `{record.command}` | {times} | {record.device} |"


def _details(name: str, record: Record) -> str:
    """Settings, inputs, output and scores of a stage."""
    settings = ", ".join(f"{key}={value}" for key, value in record.settings.items())
    made_from = ", ".join(f"{key} {value}" for key, value in record.inputs.items()) or "nothing"
    scores = ", ".join(f"{key} {value:.4g}" for key, value in record.scores.items())
    lines = [
        f"**{name}**: `{settings}`",
        f"made from: {made_from}",
        f"sha256: {record.output}",
        *([f"measured at its end: {scores}"] if scores else []),
    ]
    return "  \n".join(lines)


def _share(scores: Mapping[str, Any] | None, key: str, attribute: str) -> str:
    if scores is None or not scores[key].get(attribute, {}).get("of"):
        return NOT_MEASURED
    share = scores[key][attribute]
    low, high = share["interval95"]
    return f"{share['rate']:.1%} of {share['of']} ({100 * low:.1f} to {100 * high:.1f})"


def _named(scores: Mapping[str, Any] | None) -> str:
    if scores is None or not scores["named"]:
        return NOT_MEASURED
    right, of = (sum(share[each] for share in scores["named"].values()) for each in ("right", "of"))
    return f"{right} of {of} recognised"
