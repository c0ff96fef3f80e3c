"""Token mixing in Fourier space: Guibas et al., "Adaptive Fourier Neural Operators", ICLR 2022, section 4.

The same two-layer net of complex numbers, block-diagonal in the channels, maps the channels of each mode; soft
shrinkage makes the result sparse. Here only the kept modes are computed, complex numbers are pairs of real ones, and
the Fourier transforms are products with matrices.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.checking import check_choice, check_multiple, check_range
from lab.models.afno.modes import CUTS, Transform, Transforms
from lab.models.afno.products import complex_layers, left_product
from lab.ops.cpu import needs_gradient
from lab.ops.precision import full_precision, without_autocast

SCALE = 0.02
"""The deviation of new weights and biases, as published."""


class _Filter(nn.Module):
    """Weights of the complex net: index 0 of the first dimension is the real part, 1 the imaginary one."""

    def __init__(
        self, dim: int, num_blocks: int, sparsity: float, keep_modes: float, hidden_factor: int, mode_cut: str
    ) -> None:
        super().__init__()
        check_multiple("embed_dim", dim, num_blocks, "num_blocks")
        check_range("sparsity", sparsity, least=0)
        check_range("keep_modes", keep_modes, above=0, most=1)
        check_choice("mode_cut", mode_cut, CUTS)
        self.sparsity = sparsity
        self.keep_modes = keep_modes
        self.mode_cut = mode_cut
        self.hidden_factor = hidden_factor
        size = dim // num_blocks
        hidden = size * hidden_factor
        self.w1 = nn.Parameter(SCALE * torch.randn(2, num_blocks, size, hidden))
        self.b1 = nn.Parameter(SCALE * torch.randn(2, num_blocks, hidden))
        self.w2 = nn.Parameter(SCALE * torch.randn(2, num_blocks, hidden, size))
        self.b2 = nn.Parameter(SCALE * torch.randn(2, num_blocks, size))
        self._transforms = Transforms()

    def mix(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape; in float32 whatever autocast says, because sums over a field are long."""
        with without_autocast(x):
            field = full_precision(x)
            transform = self._transforms(x.shape[1], x.shape[2], self.keep_modes, self.mode_cut, field)
            if not transform.modes.columns or not transform.modes.num_rows:
                return x
            mixed = synthesise(self._map_modes(analyse(field, transform)), field, transform)
        return mixed.to(x.dtype)

    def _map_modes(self, x: Tensor) -> Tensor:
        """Map the modes (B, R, 2, K, C), real parts and imaginary parts, to as many."""
        batch, rows, _, columns, _ = x.shape
        x = x.unflatten(4, (self.w1.shape[1], -1)).permute(4, 0, 1, 3, 2, 5)  # (blocks, B, R, K, 2, C / blocks)
        weights, biases = (_packed(self.w1), _packed(self.w2)), (_biases(self.b1), _biases(self.b2))
        shape = (batch, rows, columns, 2, -1)
        found = (item.view(shape).transpose(2, 3) for item in complex_layers(x, weights, biases))
        if torch.compiler.is_compiling() or needs_gradient(x, *self.parameters()):
            return torch.stack([F.softshrink(item, self.sparsity) for item in found], dim=4).flatten(4)
        shrunk = x.new_empty(batch, rows, 2, columns, len(x), x.shape[-1])
        for item, out in zip(found, shrunk.unbind(4), strict=True):
            torch.sub(item, item.clamp(-self.sparsity, self.sparsity), out=out)
        return shrunk.flatten(4)


def _packed(weight: Tensor) -> Tensor:
    """Return complex matrices (2, K, I, O) as real ones (K, 2 O, 2 I), which map real parts and imaginary parts."""
    real, imaginary = full_precision(weight).mT.unbind(0)
    return torch.cat((torch.cat((real, -imaginary), 2), torch.cat((imaginary, real), 2)), 1)


def _biases(bias: Tensor) -> Tensor:
    """Return complex biases (2, K, O) as real ones (K, 2 O)."""
    return torch.cat(full_precision(bias).unbind(0), -1)


def analyse(x: Tensor, transform: Transform) -> Tensor:
    """Return the kept modes (B, R, 2, K, C) of a field (B, H, W, C), real and imaginary parts."""
    batch, height, width, channels = x.shape
    columns = transform.modes.columns
    lines = x.reshape(batch * height, width, channels)
    found = left_product(transform.to_columns, lines)
    if transform.to_rows is None:
        return found.view(batch, height, 2, columns, channels)
    found = found.view(batch, 2 * height, columns * channels)
    found = left_product(transform.to_rows, found)
    return found.view(batch, -1, 2, columns, channels)


def synthesise(modes: Tensor, x: Tensor, transform: Transform) -> Tensor:
    """Return the field (B, H, W, C) of the kept modes (B, R, 2, K, C), plus ``x``."""
    batch, _, _, columns, channels = modes.shape
    if transform.from_rows is not None:
        flat = modes.reshape(batch, -1, columns * channels)
        modes = left_product(transform.from_rows, flat)
    lines = modes.reshape(-1, 2 * columns, channels)
    return left_product(transform.from_columns, lines, x.reshape(lines.shape[0], -1, channels)).view(x.shape)


class AFNO2D(_Filter):
    """Mixing of the tokens of a grid, plus the tokens themselves.

    Args:
        dim: C.
        num_blocks: blocks of the complex matrices; divides C.
        sparsity: what soft shrinkage subtracts (lambda).
        keep_modes: the share of the modes that are mixed.
        hidden_factor: hidden width of the complex net over its own.
        mode_cut: which modes these are, see ``lab.models.afno.modes.CUTS``.
    """

    def __init__(
        self,
        dim: int,
        num_blocks: int = 8,
        sparsity: float = 0.01,
        keep_modes: float = 1.0,
        hidden_factor: int = 1,
        mode_cut: str = "height",
    ) -> None:
        super().__init__(dim, num_blocks, sparsity, keep_modes, hidden_factor, mode_cut)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        return self.mix(x)


class AFNO1D(_Filter):
    """Mixing of the tokens of a series, plus the tokens themselves; arguments as ``AFNO2D``."""

    def __init__(
        self, dim: int, num_blocks: int = 8, sparsity: float = 0.01, keep_modes: float = 1.0, hidden_factor: int = 1
    ) -> None:
        super().__init__(dim, num_blocks, sparsity, keep_modes, hidden_factor, "tokens")

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, C) to the same shape."""
        return self.mix(x[:, None])[:, 0]
