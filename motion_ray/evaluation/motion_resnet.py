"""The embedded motion classifier's network: torchvision's video ResNet, made small.

Each convolution is split into one over space and one over time, R(2+1)D as torchvision has it, with
few channels between the two; a block a stage. Of the small models that were tried on this world it
is the one that learns within minutes on a processor core. Shapes: n videos, f frames, h/w pixels, c
classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.models.video.resnet import BasicBlock, Conv2Plus1D, VideoResNet

NAME = "VideoResNet"  # as a config's architectures call it
STEM_CHANNELS = 64  # what torchvision's first stage takes
FEWEST = 16


@dataclass(frozen=True)
class ResNetShape:
    """What can be chosen about the network; torchvision fixes the widths of its four stages.

    Attributes:
        stem: channels after the first of the two convolutions before the stages.
        squeeze: a stage's width over the channels between its convolutions over space and time.
    """

    stem: int = 16
    squeeze: int = 4

    def to_config(self) -> dict[str, int]:
        """For ``config.json``."""
        return {"stem_channels": self.stem, "squeeze": self.squeeze}

    @classmethod
    def from_config(cls, config: dict[str, int]) -> ResNetShape:
        """Undo :meth:`to_config`.

        Raises:
            KeyError, TypeError, ValueError: the config is of something else.
        """
        shape = cls(int(config["stem_channels"]), int(config["squeeze"]))
        if shape.stem < 1 or shape.squeeze < 1:
            raise ValueError("stem_channels and squeeze are positive")
        return shape


def build_resnet(shape: ResNetShape, classes: int) -> VideoResNet:
    """A network with random weights; it takes ``[n, 3, f, h, w]``."""

    def stem() -> nn.Module:
        return nn.Sequential(*_halving(3, shape.stem), *_halving(shape.stem, STEM_CHANNELS))

    class Thin(Conv2Plus1D):
        """Torchvision's pair of convolutions with fewer channels between them.

        Its own count gives the pair as many weights as a full 3D convolution, 30 MB in all.
        """

        def __init__(
            self, in_planes: int, out_planes: int, midplanes: int, stride: int = 1, padding: int = 1
        ) -> None:
            del midplanes
            between = max(FEWEST, out_planes // shape.squeeze)
            super().__init__(in_planes, out_planes, between, stride, padding)

    return VideoResNet(BasicBlock, [Thin] * 4, [1, 1, 1, 1], stem, num_classes=classes)


def _halving(channels: int, out: int) -> list[nn.Module]:
    """Half the picture's side; time stays."""
    return [
        nn.Conv3d(channels, out, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), bias=False),
        nn.BatchNorm3d(out),
        nn.ReLU(inplace=True),
    ]


def resnet_logits(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Logits ``[n, c]`` of prepared videos ``[n, f, 3, h, w]``, as transformers order them."""
    return lambda inputs: model(inputs.transpose(1, 2))
