"""Multi-layer perceptrons: of detection heads, and the feed-forward net of a transformer's block."""

from __future__ import annotations

from torch import Tensor, nn

from lab.layers.dropout import dropout as drop
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


class FeedForward(nn.Module):
    """Two linear layers with exact GELU between them.

    Args:
        dim: features of input and output.
        hidden_dim: features between the layers.
        dropout: probability, after the GELU and at the end.
    """

    def __init__(self, dim: int, hidden_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.fc1 = Linear(dim, hidden_dim)
        self.fc2 = Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dim) to (..., dim)."""
        hidden = drop(self.fc1.gelu(x), self.dropout, self.training)
        return drop(self.fc2(hidden), self.dropout, self.training)
