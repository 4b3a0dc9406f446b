"""V*, the token of a motion: an existing rare word, fixed by default; its embedding can also train.

The paper keeps it fixed in its own method; Textual Inversion and Custom Diffusion train it (section
4.1), and training it raised copying nearly threefold (section 4.2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from motion_ray.backbones.unet3d import UNet3DBackbone
from motion_ray.errors import ConfigError

NEIGHBOURS = 4  # tokens on either side of V* in the vocabulary that it is compared with


def token_contrast(backbone: UNet3DBackbone, caption: str, token: str) -> float:
    """How much the text encoder makes of which word V* is: the least relative change of a caption's
    text states when the last piece of V* becomes a neighbour in the vocabulary.

    Near 0, the encoder has learned to overlook words without meaning. Then "doing the pll" and
    "doing other things" look alike to the denoiser, D^r takes back what D^m teaches, and the motion
    comes only with luck. Training the token (``train_token``) or a base model with another text
    encoder helps.

    Args:
        backbone: its text encoder is asked.
        caption: holds the token.
        token: V*.

    Returns:
        0 to about 1.4; for the embedded model and its rare words about 0.5.
    """
    last = backbone.token_pieces(token)[-1]
    ids = backbone.token_ids([caption])
    size = int(backbone.text_encoder.config.vocab_size)
    around = [last + step for step in range(-NEIGHBOURS, NEIGHBOURS + 1) if step]
    others = torch.cat([torch.where(ids == last, o, ids) for o in around if 0 <= o < size])
    with torch.no_grad():
        states, changed = backbone.encode_ids(ids), backbone.encode_ids(others)
    return float(((changed - states).flatten(1).norm(dim=1) / states.norm()).min())


def check_token_start(backbone: UNet3DBackbone, word: str | None) -> None:
    """Refuse a word that is not one row of the embedding table; null is V* itself.

    Raises:
        ConfigError: the tokenizer splits it.
    """
    pieces = 1 if word is None else len(backbone.token_pieces(word))
    if pieces != 1:
        raise ConfigError(
            "token_start",
            f"the base model's tokenizer splits {word!r} into {pieces} pieces",
            "choose a common word that stays whole, for example token_start=person",
        )


class TrainedToken(nn.Module):
    """One row of the text encoder's embedding table as a parameter of its own.

    While the module lives, every text encoded by the backbone sees the row in training, gradients
    included.

    Args:
        backbone: the owner of the table.
        token: V*.
        start: a word whose row is the first value (Textual Inversion starts from a coarse
            description of what is to be learned); null takes the token's own.

    Raises:
        BaseModelError: the tokenizer splits the token.
        ConfigError: it splits the word to start from.
    """

    def __init__(self, backbone: UNet3DBackbone, token: str, start: str | None = None) -> None:
        super().__init__()
        check_token_start(backbone, start)
        self.index = backbone.single_piece(token)
        first = self.index if start is None else backbone.single_piece(start)
        table = backbone.text_encoder.get_input_embeddings()
        weight = table.weight
        assert isinstance(weight, Tensor)
        self.row = nn.Parameter(weight[first].detach().float().clone())
        self._hook = table.register_forward_hook(self._replace)

    def _replace(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        here = (args[0] == self.index).unsqueeze(-1)
        return torch.where(here, self.row.to(output.dtype), output)

    def remove(self) -> None:
        """Give the text encoder its own row back."""
        self._hook.remove()
