"""Stage `text`: the text encoder, trained so that each position says what was named up to there.

A denoiser reads all positions through cross-attention, so they should hold attributes in a form
that is easy to read, before it begins; afterwards the encoder is frozen. In half of the batches
strange words are put in place of others at random: a new token, such as V*, must not disturb what
the rest says. Shapes: b batch, n tokens, d width, g groups of options.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from motion_ray.backbones.embedded import new_text_encoder, save_text
from motion_ray.data.puppets.captions import caption
from motion_ray.data.puppets.world import pretraining_scene
from motion_ray.pretraining.course import train_stage
from motion_ray.pretraining.loop import load_module_state, module_state
from motion_ray.pretraining.stage import Stage, StageWork
from motion_ray.pretraining.vocabulary import (
    build_tokenizer,
    option_table,
    strange_words,
    token_ids,
    word_ids,
)
from motion_ray.pretraining.workspace import Workspace
from motion_ray.pretraining.world import WORLD, open_world

TEXT = "text"
FINAL_RATE = 0.05  # of the highest learning rate, at the end of its straight fall


@dataclass(frozen=True)
class TextSettings:
    """Settings of the text encoder.

    Attributes:
        steps: updates.
        batch: captions in an update.
        lr: highest learning rate of AdamW; falls in a straight line.
        strange: share of the tokens that become strange words, in every other update.
        width: of the text states.
        layers: transformer layers.
        heads: of attention.
        positions: longest text in tokens, start and end included.
        test_captions: unseen captions for the score at the end.
        log_every: steps between lines of metrics.
        checkpoint_every: steps between checkpoints.
        seed: of everything.
    """

    steps: int = 4000
    batch: int = 96
    lr: float = 1.2e-3
    strange: float = 0.06
    width: int = 128
    layers: int = 3
    heads: int = 4
    positions: int = 24
    test_captions: int = 500
    log_every: int = 100
    checkpoint_every: int = 500
    seed: int = 0

    MAY_BE_ZERO: ClassVar[frozenset[str]] = frozenset({"seed", "strange"})


class Reader(nn.Module):
    """The text encoder with a linear reading of every group of options at every position.

    Args:
        encoder: the part that is kept.
        options: number of options of each group.
    """

    def __init__(self, encoder: CLIPTextModel, options: list[int]) -> None:
        super().__init__()
        self.encoder = encoder
        width = int(encoder.config.hidden_size)
        self.heads = nn.ModuleList([nn.Linear(width, count + 1) for count in options])

    def forward(self, ids: Tensor) -> list[Tensor]:
        """Ids ``[b, n]`` to logits ``[b, n, options + 1]`` of each group; 0 is "not named"."""
        states = self.encoder(ids).last_hidden_state
        return [head(states) for head in self.heads]


def named_so_far(ids: Tensor, table: Tensor) -> Tensor:
    """The option of each group that was named up to each position, int64 ``[g, b, n]``."""
    return table[:, ids].cummax(-1).values


class TextTraining:
    """Trains a :class:`Reader`; see :class:`~motion_ray.pretraining.loop.Trainable`."""

    def __init__(
        self, settings: TextSettings, tokenizer: CLIPTokenizer, ids: Tensor, workspace: Workspace
    ) -> None:
        self.settings, self.ids, self.workspace = settings, ids, workspace
        self.table = option_table(tokenizer)
        self.strange = torch.tensor(word_ids(tokenizer, strange_words()))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)  # modules draw their start from the global generator
            encoder = new_text_encoder(
                len(tokenizer),
                settings.width,
                settings.layers,
                settings.heads,
                settings.positions,
            )
            options = [int(group.max()) for group in self.table]
            self.reader = Reader(encoder, options).to(workspace.device)
        self.training = workspace.replicas.parallel(self.reader)
        self.optimizer = torch.optim.AdamW(self.reader.parameters(), settings.lr)
        self.losses = torch.zeros(2, dtype=torch.float64)  # their sum and number since the report

    def step(self, step: int) -> float:
        """One update; returns the cross-entropy, summed over groups."""
        fallen = 1 - (1 - FINAL_RATE) * step / self.settings.steps
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * fallen
        replicas, device = self.workspace.replicas, self.workspace.device
        ids = replicas.share(self._batch(step))
        targets = named_so_far(ids, self.table).to(device)
        logits = self.training(ids.to(device))
        losses = [
            functional.cross_entropy(said.flatten(0, 1), true.flatten())
            for said, true in zip(logits, targets, strict=True)
        ]
        loss = torch.stack(losses).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        value = float(replicas.mean(loss.detach()))
        self.losses += torch.tensor([value, 1.0])
        return value

    def _batch(self, step: int) -> Tensor:
        """Ids of a step's captions, ``[b, n]``."""
        s = self.settings
        generator = torch.Generator().manual_seed((s.seed << 32) + step)
        ids = self.ids[torch.randint(len(self.ids), (s.batch,), generator=generator)]
        if step % 2 == 0:
            return ids
        replaced = torch.rand(ids.shape, generator=generator) < s.strange
        words = self.strange[torch.randint(len(self.strange), ids.shape, generator=generator)]
        return torch.where(replaced & (ids > 1), words, ids)  # 0 and 1 are start and end

    def report(self) -> dict[str, Any]:
        """Mean loss since the last report."""
        total, count = self.losses.tolist()
        self.losses.zero_()
        return {"loss": total / count}

    def state(self) -> dict[str, Tensor]:
        """Weights and moments."""
        return {**module_state({"reader": self.reader}, self.optimizer), "losses": self.losses}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Weights and moments."""
        load_module_state({"reader": self.reader}, self.optimizer, state)
        self.losses.copy_(state["losses"])


def train_text(settings: TextSettings, workspace: Workspace) -> StageWork:
    """Train on the world's captions, score on unseen ones, and write encoder and tokenizer."""
    workspace.replicas.check_share("batch", settings.batch)
    tokenizer = build_tokenizer(settings.positions)
    captions = sorted({text for texts in open_world(workspace).captions for text in texts})
    training = TextTraining(settings, tokenizer, token_ids(tokenizer, captions), workspace)
    yield from train_stage(training, TEXT, settings, workspace)
    if not workspace.replicas.first:
        return {}

    def write(folder: Path) -> None:
        save_text(training.reader.encoder.eval().cpu(), tokenizer, folder)

    share = share_read(training.reader, tokenizer, settings)
    workspace.write_model(TEXT, write)
    return {"attributes read": share}


@torch.no_grad()
def share_read(reader: Reader, tokenizer: CLIPTokenizer, settings: TextSettings) -> float:
    """Share of unseen captions with a strange word in them of which all that is said is read."""
    rng = random.Random(f"text test {settings.seed}")
    strange = strange_words()
    texts: list[str] = []
    for _ in range(settings.test_captions):
        words = caption(pretraining_scene(rng, "validation"), rng).split()
        words.insert(rng.randrange(len(words) + 1), rng.choice(strange))
        texts.append(" ".join(words))
    ids = token_ids(tokenizer, texts)
    true = named_so_far(ids, option_table(tokenizer))[..., -1]
    device = next(reader.parameters()).device
    said = torch.stack([logits[:, -1].argmax(-1).cpu() for logits in reader.eval()(ids.to(device))])
    return float((said == true).all(0).float().mean())


STAGE = Stage(
    name=TEXT,
    needs=(WORLD,),
    full=TextSettings(),
    tiny=TextSettings(
        steps=6,
        batch=8,
        width=32,
        layers=1,
        heads=2,
        test_captions=8,
        log_every=2,
        checkpoint_every=2,
    ),
    work=train_text,
)
