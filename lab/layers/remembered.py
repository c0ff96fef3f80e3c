"""What ``folded`` returns for a network that ``lab.deploy`` has prepared, and need not put together in each call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lab.compat.torch import are_in_place, are_watched, children_of, own_parameters
from lab.layers.convolution import Scales, folded, fuses


class Remembered:
    """Weights and biases of convolutions without norms; asked for anew when a layer, a weight or a hook has changed.

    Args:
        net: whose convolutions they are.
        pairs: returns them, each with its norm, as ``folded`` takes them.
    """

    def __init__(self, net: nn.Module, pairs: Callable[[], Sequence[tuple[nn.Conv2d, nn.Module | None]]]) -> None:
        self.net = net
        self.pairs = pairs
        self.scales: Scales = {}
        self.places: list[tuple[nn.Module, str, nn.Module]] = []
        self.layers: list[nn.Module] = []

    def __call__(self, x: Tensor) -> Scales:
        """Return what ``folded`` returns for this input."""
        if self.scales and self._holds(x):
            return self.scales
        pairs = self.pairs()
        scales = folded(x, pairs)
        self.scales = {}
        if scales and all(norm is None or isinstance(norm, nn.Identity) for _, norm in pairs):
            self.scales = scales
            parts = {part for pair in pairs for part in pair if part is not None}
            children = [(parent, *child) for parent in self.net.modules() for child in children_of(parent).items()]
            self.places = [child for child in children if child[2] in parts]
            self.layers = [layer for _, _, layer in self.places]
        return scales

    def _holds(self, x: Tensor) -> bool:
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return False
        if not are_in_place(self.places) or are_watched(self.layers):
            return False
        if any(own_parameters(layer)["weight"] is not weight for layer, (weight, _) in self.scales.items()):
            return False
        return fuses(x, next(iter(self.scales.values()))[0])
