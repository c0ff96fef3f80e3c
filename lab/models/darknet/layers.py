"""darknet's layers as modules, each built from its line of the plan."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lab.layers.activation import Activation
from lab.layers.convolution import Scales, convolve
from lab.models.darknet.decoding import located
from lab.models.darknet.plan import Layer
from lab.ops.boxes import box_cxcywh_to_xyxy

FUSED: dict[str, Activation] = {"linear": "none", "leaky": "leaky_relu", "relu": "relu", "relu6": "relu6"}
"""The activations that ``lab.layers.convolution`` computes within a convolution."""
NORM_EPS = 1e-5
"""Added to variances, inside the root. The first darknet adds 1e-6 outside it, on CPUs only."""


class ConvolutionLayer(nn.Module):
    """Convolution, batch normalisation if asked for, activation."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        options = layer.options
        normed = bool(options["batch_normalize"])
        self.conv = nn.Conv2d(
            layer.entering,
            options["filters"],
            options["size"],
            options["stride"],
            options["padding"],
            groups=options["groups"],
            bias=not normed,
        )
        # As darknet fills them.
        limit = (2 / self.conv.weight[0].numel()) ** 0.5
        nn.init.uniform_(self.conv.weight, -limit, limit)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)
        self.norm = nn.BatchNorm2d(options["filters"], eps=NORM_EPS) if normed else nn.Identity()
        self.fused = FUSED.get(layer.activation)
        self.activation = nn.Identity() if self.fused else activation(layer.activation)

    def forward(self, inputs: Sequence[Tensor], scales: Scales | None = None) -> Tensor:
        """Return the activated maps of the one input; ``scales`` as of ``lab.layers.convolution.convolve``."""
        maps = convolve(inputs[0], self.conv, self.norm, activation=self.fused or "none", scales=scales)
        result: Tensor = self.activation(maps)
        return result


class ShortcutLayer(nn.Module):
    """The sum of two maps of equal shape, activated."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.activation = activation(layer.activation)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the sum of the two inputs."""
        result: Tensor = self.activation(inputs[0] + inputs[1])
        return result


class RouteLayer(nn.Module):
    """Maps side by side; with ``groups``, one part of the channels of each."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.groups, self.group = layer.options["groups"], layer.options["group_id"]

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the chosen channels of all inputs, in order."""
        if self.groups > 1:
            inputs = [each.chunk(self.groups, 1)[self.group] for each in inputs]
        return inputs[0] if len(inputs) == 1 else torch.cat(list(inputs), 1)


class MaxPoolLayer(nn.Module):
    """Largest value of a window; ``padding`` is the sum of both sides, the first one takes the smaller half."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.size, self.stride = layer.options["size"], layer.options["stride"]
        padding = layer.options["padding"]
        self.before, self.after = padding // 2, padding - padding // 2

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the largest values of the one input."""
        if self.before == self.after and 2 * self.before <= self.size:
            return functional.max_pool2d(inputs[0], self.size, self.stride, self.before)
        sides = (self.before, self.after, self.before, self.after)
        padded = functional.pad(inputs[0], sides, value=float("-inf"))
        return functional.max_pool2d(padded, self.size, self.stride)


class UpsampleLayer(nn.Module):
    """Each value repeated, times ``scale``."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.stride, self.scale = layer.options["stride"], layer.number

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the one input, ``stride`` times as high and wide."""
        result = functional.interpolate(inputs[0], scale_factor=float(self.stride), mode="nearest")
        return result if self.scale == 1 else result * self.scale


class DropoutLayer(nn.Module):
    """Dropout, which in evaluation changes nothing."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.dropout = nn.Dropout(layer.number)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the one input."""
        result: Tensor = self.dropout(inputs[0])
        return result


class YoloLayer(nn.Module):
    """Turns maps into boxes and scores (YOLOv3, 2018, section 2.1)."""

    anchors: Tensor

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.num_classes, self.scale = layer.options["classes"], layer.number
        self.register_buffer("anchors", torch.tensor(layer.anchors), persistent=False)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the one input unchanged: boxes are made by ``decode``."""
        return inputs[0]

    def decode(self, maps: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return boxes and scores of each anchor of each cell.

        Args:
            maps: (B, A * (5 + K), h, w).
            size: (height, width) of the network's input in pixels.

        Returns:
            Boxes (B, A * h * w, 4) xyxy in pixels of the input and scores (B, A * h * w, 1 + K): that an object is
            there, and of which class.
        """
        parts, boxes = located(maps, self.anchors.to(maps.dtype), self.scale, size)
        return box_cxcywh_to_xyxy(boxes).flatten(1, 3), parts[..., 4:].sigmoid().flatten(1, 3)


def activation(name: str) -> nn.Module:
    """Return darknet's activation of that name."""
    made: dict[str, nn.Module] = {
        "linear": nn.Identity(),
        "leaky": nn.LeakyReLU(0.1),
        "relu": nn.ReLU(),
        "relu6": nn.ReLU6(),
        "logistic": nn.Sigmoid(),
        "tanh": nn.Tanh(),
        "elu": nn.ELU(),
        "swish": nn.SiLU(),
        "mish": nn.Mish(),
    }
    return made[name]


MODULES: dict[str, type[nn.Module]] = {
    "convolutional": ConvolutionLayer,
    "shortcut": ShortcutLayer,
    "route": RouteLayer,
    "maxpool": MaxPoolLayer,
    "upsample": UpsampleLayer,
    "dropout": DropoutLayer,
    "yolo": YoloLayer,
}
