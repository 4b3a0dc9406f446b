"""V*, the token of a motion: an existing rare word, fixed by default; its embedding can also train.

The paper keeps it fixed in its own method; Textual Inversion and Custom Diffusion train it (section
4.1), and training it raised copying nearly threefold (section 4.2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from motion_ray.backbones.unet3d import UNet3DBackbone


class TrainedToken(nn.Module):
    """One row of the text encoder's embedding table as a parameter of its own.

    While the module lives, every text encoded by the backbone sees the row in training, gradients
    included.

    Raises:
        BaseModelError: the tokenizer splits the token.
    """

    def __init__(self, backbone: UNet3DBackbone, token: str) -> None:
        super().__init__()
        self.index = backbone.single_piece(token)
        table = backbone.text_encoder.get_input_embeddings()
        weight = table.weight
        assert isinstance(weight, Tensor)
        self.row = nn.Parameter(weight[self.index].detach().float().clone())
        self._hook = table.register_forward_hook(self._replace)

    def _replace(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        here = (args[0] == self.index).unsqueeze(-1)
        return torch.where(here, self.row.to(output.dtype), output)

    def remove(self) -> None:
        """Give the text encoder its own row back."""
        self._hook.remove()
