"""A network for tables: a multilayer perceptron (Rumelhart, Hinton and Williams, 1986)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn

from lab.ranges import Count, Positive
from lab.registry import register_model
from lab.structures import Term
from tabular.structures import TabularTargets


class Perceptron(nn.Module):
    """Predict one number from F features; trained with the squared error.

    Args:
        num_features: the number of features F.
        width: the width of the hidden layers.
        depth: the number of hidden layers; 0 is a linear regression.
    """

    def __init__(self, num_features: Positive, width: Positive = 32, depth: Count = 2) -> None:
        super().__init__()
        sizes = [num_features, *[width] * depth]
        hidden = [(nn.Linear(size, after), nn.ReLU()) for size, after in pairwise(sizes)]
        self.layers = nn.Sequential(*[layer for pair in hidden for layer in pair], nn.Linear(sizes[-1], 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return predictions (B,) for features (B, F)."""
        prediction: Tensor = self.layers(features)
        return prediction.squeeze(1)

    def totals(self, targets: TabularTargets) -> Mapping[str, float]:
        """Return the number of rows, the normaliser of the loss."""
        return {"rows": float(len(targets.values))}

    def loss(self, outputs: Tensor, targets: TabularTargets) -> Mapping[str, Term]:
        """Return the sum of the squared errors. The task divides it by the number of rows."""
        return {"squared_error": Term((outputs - targets.values).square().sum(), "rows")}


@register_model
def perceptron(num_features: Positive, width: Positive = 32, depth: Count = 2) -> Perceptron:
    """Build a perceptron."""
    return Perceptron(num_features, width, depth)
