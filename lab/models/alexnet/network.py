"""AlexNet in one column: "One weird trick for parallelizing convolutional neural networks" (Krizhevsky, 2014).

Not the two columns of 2012: no local response normalisation, no groups, 64 filters in the first layer. Keys and numbers
are torchvision's; dropout stands before each of the first two linear layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lab.checking import check_range, check_some
from lab.compat.torch import has_forward_hooks, has_forward_pre_hooks
from lab.errors import ConfigError
from lab.layers.convolution import convolve
from lab.layers.linear import Linear

CHANNELS = (64, 192, 384, 256, 256)
ENDS = (2, 5, 12, 13)
"""Where each map ends in ``features``: what the first, second and last pooling see, and what the last one gives."""
STRIDES = (4, 8, 16, 32)
SMALLEST = 63
"""Pixels: of anything less the last pooling leaves nothing."""


def _make_features(in_chans: int) -> nn.Sequential:
    geometry = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))  # kernel, stride, padding
    layers: list[nn.Module] = []
    before = in_chans
    for index, (channels, (kernel, stride, padding)) in enumerate(zip(CHANNELS, geometry, strict=True)):
        layers += [nn.Conv2d(before, channels, kernel, stride, padding), nn.ReLU(inplace=True)]
        if index in (0, 1, 4):
            layers.append(nn.MaxPool2d(3, 2))
        before = channels
    return nn.Sequential(*layers)


def _run(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Run a part of the convolutions; a ReLU that nobody watches is done within its convolution.

    On a CPU poolings are fast channels last, and all convolutions but the first are not: each would turn its weights.
    """
    parts = list(layers)
    index = 0
    while index < len(parts):
        part = parts[index]
        if isinstance(part, nn.Conv2d) and not any(_is_watched(each) for each in parts[index : index + 2]):
            x = convolve(x, part)  # and the ReLU behind it
            index += 2
            continue
        if isinstance(part, nn.MaxPool2d) and x.device.type == "cpu":
            x = part(x.contiguous(memory_format=torch.channels_last)).contiguous()
        else:
            x = part(x)
        index += 1
    return x


def _is_watched(module: nn.Module) -> bool:
    return has_forward_hooks(module) or has_forward_pre_hooks(module)


class _AlexNetTrunk(nn.Module):
    """The convolutions, up to the one map that is wanted last."""

    def __init__(self, in_chans: int, last: int) -> None:
        super().__init__()
        check_range("in_chans", in_chans, least=1)
        self.features = _make_features(in_chans)[: ENDS[last - 1]]

    def checked(self, images: Tensor) -> Tensor:
        """Return the images in the memory layout that is fast.

        Raises:
            ConfigError: they have other channels, or are smaller than 63 pixels.
        """
        in_chans = self.features[0].in_channels
        if images.ndim != 4 or images.shape[1] != in_chans or min(images.shape[2:]) < SMALLEST or images.shape[0] == 0:
            least = f"H and W at least {SMALLEST}"
            raise ConfigError(f"images of shape {tuple(images.shape)}: expected (B, {in_chans}, H, W), {least}")
        if images.device.type in ("cpu", "meta") or torch.is_autocast_enabled(images.device.type):
            # Three channels are fast so; on a GPU tensor cores compute in this layout, and the layers keep it.
            images = images.contiguous(memory_format=torch.channels_last)
        return images


class AlexNet(_AlexNetTrunk):
    """A classifier: (B, in_chans, H, W) normalised images to (B, num_classes) logits, or features without a head.

    Args:
        num_classes: K; 0 for the 4096 features before the last layer.
        in_chans: channels of the images.
        dropout: probability, before each of the first two linear layers.

    Raises:
        ConfigError: a number is out of its range.
    """

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, dropout: float = 0.5) -> None:
        super().__init__(in_chans, last=4)
        check_range("dropout", dropout, least=0, below=1)
        self.num_features = 4096
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            Linear(256 * 6 * 6, self.num_features),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            Linear(self.num_features, self.num_features),
            nn.ReLU(inplace=True),
            Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes); of images of about 224 pixels the pooling to 6x6 is the identity."""
        x = _run(self.features, self.checked(images))
        logits: Tensor = self.classifier(self.avgpool(x).flatten(1))
        return logits


class AlexNetFeatures(_AlexNetTrunk):
    """A backbone: (B, in_chans, H, W) normalised images to the maps of ``out_indices``; later layers are not built.

    Map 1 is what the first pooling sees, 2 what the second sees, 3 what the last one sees, 4 what it gives. The
    poolings do not pad: maps are smaller than H / stride.

    Args:
        out_indices: which maps: 1 to 4, of strides 4, 8, 16 and 32.
        in_chans: channels of the images.

    Attributes:
        num_channels: channels of each returned map.
        strides: stride of each returned map with respect to the image.

    Raises:
        ConfigError: an unknown index.
    """

    def __init__(self, out_indices: Sequence[int] = (1, 2, 3, 4), in_chans: int = 3) -> None:
        check_some("out_indices", out_indices, range(1, 5))
        super().__init__(in_chans, last=max(out_indices))
        self.out_indices = tuple(out_indices)
        channels = (64, 192, 256, 256)
        self.num_channels = tuple(channels[index - 1] for index in out_indices)
        self.strides = tuple(STRIDES[index - 1] for index in out_indices)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of ``out_indices``, each (B, C, h, w); at 224 pixels h is 55, 27, 13 and 6."""
        x = self.checked(images)
        maps = []
        begin = 0
        for end in ENDS[: max(self.out_indices)]:
            x = _run(self.features[begin:end], x)
            maps.append(x)
            begin = end
        return [maps[index - 1] for index in self.out_indices]
