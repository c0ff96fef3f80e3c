"""A network of darknet's .cfg as plain modules, one after the other: what YOLO-Fastest 1.1 is compared with.

It reads the text of the description by itself: convolutions with batch norms, leaky or linear, sums, joins, poolings,
enlargements.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PlainDarknet(nn.Module):
    """Convolutions are ``layers``, in the file's order; the rest happens in ``forward``.

    Args:
        text: of the .cfg.
        dropout: whether its dropout takes part in training.
    """

    def __init__(self, text: str, dropout: bool) -> None:
        super().__init__()
        self.dropout = dropout
        self.sections = sections_of(text)[1:]
        self.layers = nn.ModuleDict()
        channels: list[int] = []
        for index, (kind, keys) in enumerate(self.sections):
            entering = channels[-1] if channels else 3
            if kind == "convolutional":
                self.layers[str(index)] = convolution(entering, keys)
                channels.append(int(keys["filters"]))
            elif kind == "route":
                channels.append(sum(channels[place] for place in places(keys["layers"], index)))
            else:
                channels.append(entering)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map RGB images (B, 3, H, W) from 0 to 1 to what each [yolo] section reads."""
        maps: list[Tensor] = []
        found = []
        for index, (kind, keys) in enumerate(self.sections):
            x = maps[-1] if maps else images
            if kind == "convolutional":
                x = self.layers[str(index)](x)
            elif kind == "shortcut":
                x = x + maps[places(keys["from"], index)[0]]
            elif kind == "route":
                x = torch.cat([maps[place] for place in places(keys["layers"], index)], dim=1)
            elif kind == "maxpool":
                size, stride = int(keys["size"]), int(keys["stride"])
                x = F.max_pool2d(x, size, stride, size // 2)
            elif kind == "upsample":
                x = F.interpolate(x, scale_factor=int(keys["stride"]))
            elif kind == "dropout":
                x = F.dropout(x, float(keys["probability"]), self.training and self.dropout)
            elif kind == "yolo":
                found.append(x)
            maps.append(x)
        return found


def sections_of(text: str) -> list[tuple[str, dict[str, str]]]:
    """Return the name and the keys of each section."""
    found: list[tuple[str, dict[str, str]]] = []
    for line in text.replace(" ", "").splitlines():
        if line.startswith("["):
            found.append((line[1:-1], {}))
        elif line and line[0] not in "#;":
            key, _, value = line.partition("=")
            found[-1][1][key] = value
    return found


def places(value: str, index: int) -> list[int]:
    """Return the sections that a list names, some of them counted backwards."""
    return [index + int(each) if int(each) < 0 else int(each) for each in value.split(",")]


def convolution(entering: int, keys: Mapping[str, str]) -> nn.Sequential:
    """Return a convolution with its norm and its activation."""
    filters, size, normed = int(keys["filters"]), int(keys.get("size", 1)), keys.get("batch_normalize") == "1"
    stride, groups = int(keys.get("stride", 1)), int(keys.get("groups", 1))
    padding = size // 2 if keys.get("pad") == "1" else 0
    layers: list[nn.Module] = [nn.Conv2d(entering, filters, size, stride, padding, groups=groups, bias=not normed)]
    layers += [nn.BatchNorm2d(filters)] if normed else []
    layers += [nn.LeakyReLU(0.1, inplace=True)] if keys["activation"] == "leaky" else []
    return nn.Sequential(*layers)
