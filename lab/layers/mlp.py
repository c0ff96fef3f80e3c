"""The multi-layer perceptron that detection heads use."""

from __future__ import annotations

from torch import Tensor, nn

from lab.layers.linear import Linear


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        in_dim: features of the input.
        hidden_dim: features between the layers.
        out_dim: features of the output.
        num_layers: number of linear layers.
    """

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int, num_layers: int) -> None:
        super().__init__()
        widths = [in_dim, *[hidden_dim] * (num_layers - 1), out_dim]
        self.layers = nn.ModuleList(Linear(widths[i], widths[i + 1]) for i in range(num_layers))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_dim) to (..., out_dim)."""
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)
