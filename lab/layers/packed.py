"""Layers for inference on a CPU, whose weights are also held in oneDNN's own layout: no call rearranges them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.compat.torch import (
    ToldWhenMoved,
    can_pack,
    has_onednn_linear,
    is_watched,
    onednn_convolution,
    onednn_packed_convolution,
    onednn_packed_linear,
)
from lab.layers.activation import SLOPE, Activation, activate
from lab.layers.linear import Linear, exchanges, few_rows
from lab.layers.product import product
from lab.ops import winograd
from lab.ops.choice import PYTORCH, Timings
from lab.ops.convolution import SAME, fastest, takes
from lab.ops.cpu import needs_gradient, plain_cpu

_MIN_PRODUCTS = 1 << 16  # smaller products are done sooner by torch's own call


class _Packed(ToldWhenMoved, ABC):
    """Keeps ``packed``, a copy of the weight in another layout, up to date with the weight."""

    weight: Tensor
    bias: Any
    packed: Tensor | None = None
    packed_matrix: Tensor | None = None

    @classmethod
    def take(cls, layer: nn.Module) -> Self:
        """Return a layer that takes over everything of another one, which must not be used any more."""
        made = cls.__new__(cls)
        made.__dict__.update(layer.__dict__)
        made.pack()
        if made.packed is not None:
            made.register_load_state_dict_post_hook(_repack)
        return made

    def _can_be_packed(self) -> bool:
        return plain_cpu(self.weight.detach(), self.weight) and can_pack(self.weight)

    @abstractmethod
    def pack(self) -> None:
        """Make the packed copy anew; there is none where oneDNN does not compute."""

    def takes(self, x: Tensor) -> bool:
        """Whether the packed copy can be used for this input: on a CPU, without a gradient."""
        return self.packed is not None and plain_cpu(x, self.weight) and not needs_gradient(x, self.weight, self.bias)

    def was_moved(self) -> None:
        """Pack anew."""
        self.pack()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "packed": None, "packed_matrix": None}  # neither copied nor stored

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.pack()


def _repack(module: nn.Module, _: Any) -> None:
    assert isinstance(module, _Packed)
    module.pack()


class PackedConv2d(_Packed, nn.Conv2d):
    """``nn.Conv2d`` with a packed weight."""

    weight: nn.Parameter
    bias: nn.Parameter | None

    def pack(self) -> None:
        """Pack the weight: that of a 1x1 as a matrix, which is applied to each pixel's channels."""
        fits = torch.backends.mkldnn.is_available() and self._can_be_packed()
        self.packed = self.packed_matrix = None
        if fits and self.padding_mode == "zeros" and not isinstance(self.padding, str):
            self.packed = onednn_packed_convolution(self.weight.detach(), self, None)
            if is_pointwise(self) and has_onednn_linear():
                self.packed_matrix = onednn_packed_linear(self.weight.detach().flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, O, H', W')."""
        return self.compute(x) if x.ndim == 4 and self.takes(x) else super().forward(x)

    def compute(
        self, x: Tensor, add: Tensor | None = None, activation: Activation = "none", reuse: bool = False
    ) -> Tensor:
        """Convolve, add and activate; see ``lab.layers.convolution.convolve``."""
        if add is None and self.packed_matrix is not None and x.stride(1) == 1:
            pixels = pixels_of(x, self)
            return product(pixels, self.weight, self.bias, activation, self.packed_matrix).permute(0, 3, 1, 2)
        assert self.packed is not None
        if self._transforms(x, self.packed):
            out = winograd.output(x, self.weight, self.bias).contiguous(memory_format=torch.channels_last)
            return activate(out if add is None else out.add_(add), activation)
        if add is not None and activation not in ("none", "relu"):  # which oneDNN does not do after an addition
            out = onednn_convolution(x, self.packed, self.bias, self, None, "none", SLOPE, False)
            return activate(out.add_(add), activation)
        return onednn_convolution(x, self.packed, self.bias, self, add, activation, SLOPE, reuse)

    def _transforms(self, x: Tensor, weight: Tensor) -> bool:
        """Whether Winograd's algorithm computes this channels-last map faster than oneDNN with the packed weight."""
        if x.stride(1) != 1 or not keeps_size(self) or not takes(x, self.weight, SAME):
            return False

        def ways(part: Tensor) -> Timings:
            packed = partial(onednn_convolution, part, weight, self.bias, self, None, "none", SLOPE, False)
            fits = min(self.weight.shape[:2]) >= winograd.MIN_CHANNELS
            return {PYTORCH: packed} | ({"winograd": partial(winograd.output, part, self.weight)} if fits else {})

        return fastest("packed output", x, self.weight, SAME, ways) == "winograd"


class PackedLinear(_Packed, Linear):
    """``Linear`` with a packed weight."""

    weight: nn.Parameter

    def pack(self) -> None:
        """Pack the weight."""
        fits = has_onednn_linear() and self._can_be_packed()
        self.packed = onednn_packed_linear(self.weight.detach()) if fits else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., O)."""
        return product(x, self.weight, self.bias, "none", self.packed) if self._pays(x) else super().forward(x)

    def gelu(self, x: Tensor, approximate: str = "none") -> Tensor:
        """Return the GELU of the result of ``forward``, see ``Linear.gelu``."""
        if self.fuses(x):
            return product(x, self.weight, self.bias, "gelu_tanh" if approximate == "tanh" else "gelu", self.packed)
        return F.gelu(self(x), approximate=approximate)

    def relu(self, x: Tensor) -> Tensor:
        """Return the ReLU of the result of ``forward``."""
        return product(x, self.weight, self.bias, "relu", self.packed) if self.fuses(x) else F.relu(self(x))

    def fuses(self, x: Tensor) -> bool:
        """Whether an activation can be done within the product."""
        return self._pays(x) and not is_watched(self)

    def _pays(self, x: Tensor) -> bool:
        if x.numel() * self.out_features < _MIN_PRODUCTS or not self.takes(x):
            return False
        return not exchanges(few_rows(x, self.weight, self.bias), self.in_features)


def is_pointwise(convolution: nn.Conv2d) -> bool:
    """Whether a convolution is a product of pixels' channels: 1x1, with neither padding nor groups."""
    shape = (convolution.kernel_size, convolution.padding, convolution.groups)
    return shape == ((1, 1), (0, 0), 1)


def keeps_size(convolution: nn.Conv2d) -> bool:
    """Whether a convolution is a 3x3 of all channels that neither strides nor dilates."""
    shape = (convolution.kernel_size, convolution.stride, convolution.padding, convolution.dilation, convolution.groups)
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1)


def pixels_of(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Return the pixels (B, H / stride, W / stride, C) of (B, C, H, W) that a 1x1 convolution looks at."""
    pixels = x.permute(0, 2, 3, 1)
    down, right = convolution.stride
    # oneDNN's own convolution with a stride and few pixels takes up to three times as long as this product.
    return pixels if down == right == 1 else pixels[:, ::down, ::right].contiguous()
