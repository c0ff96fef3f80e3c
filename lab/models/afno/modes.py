"""Which Fourier modes of a grid an AFNO layer mixes, and the matrices that lead to them and back.

A grid (H, W) of real numbers has modes (H, W // 2 + 1). Three rules say which of them are kept; published weights need
the rule that they were trained with.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

CUTS = ("height", "tokens", "axes")
"""``height``: FourCastNet's, from H alone on both axes; on a wide grid it drops the high modes of W even if all are
kept. ``tokens``: AFNO-transformer's, columns by the number of tokens, so that small cuts have no effect. ``axes``: the
low modes of each axis by its own length."""


@dataclass(frozen=True)
class Modes:
    """The modes of a grid that are mixed; all others are 0 after the mixing.

    Attributes:
        height: H.
        width: W.
        rows: which of the H modes along the height, in order; None for all of them.
        columns: the first so many of the W // 2 + 1 modes along the width.
    """

    height: int
    width: int
    rows: tuple[int, ...] | None
    columns: int

    @property
    def num_rows(self) -> int:
        """R."""
        return self.height if self.rows is None else len(self.rows)


@lru_cache(maxsize=64)
def kept_modes(height: int, width: int, share: float, cut: str) -> Modes:
    """Return the modes of a grid that a rule keeps.

    Args:
        height: H; 1 for a series.
        width: W.
        share: of the modes, above 0 and at most 1 (``hard_thresholding_fraction`` in the authors' code).
        cut: one of ``CUTS``.
    """
    most = width // 2 + 1
    if cut == "tokens":
        return Modes(height, width, None, min(int((height * width // 2 + 1) * share), most))
    if cut == "height":  # rows around the middle, as published: with a share below 1 these are the high modes
        total = height // 2 + 1
        kept = int(total * share)
        rows = tuple(range(total - kept, min(total + kept, height)))
        return Modes(height, width, None if len(rows) == height else rows, min(kept, most))
    lowest = max(1, int((height // 2 + 1) * share))
    rows = tuple(row for row in range(height) if min(row, height - row) < lowest)
    return Modes(height, width, None if len(rows) == height else rows, max(1, int(most * share)))


@dataclass(frozen=True)
class Transform:
    """The matrices of the discrete Fourier transform between a grid and its kept modes, both axes orthonormal.

    Real and imaginary parts are rows of their own: R rows are kept of H, K columns of the modes of W.

    Attributes:
        modes: see there.
        to_columns: (2 K, W): a row of the grid to real parts, then imaginary parts.
        to_rows: (2 R, 2 H): those of a column's points (point by point: real, imaginary) to its modes, likewise.
        from_rows: (2 H, 2 R), back; None for a series.
        from_columns: (W, 2 K), back.
    """

    modes: Modes
    to_columns: Tensor
    from_columns: Tensor
    to_rows: Tensor | None
    from_rows: Tensor | None


def make_transform(modes: Modes, device: torch.device) -> Transform:
    """Return the matrices in float32, rounded once from float64."""
    width, columns = modes.width, torch.arange(modes.columns)
    cosine, sine = _waves(columns, width)
    # A column and its conjugate are one column here; the first has none, nor has the middle one of an even width.
    alone = (columns == 0) | (2 * columns == width)
    count = torch.where(alone, 1.0, 2.0).double()[:, None]
    to_columns = torch.cat((cosine, -sine))
    from_columns = torch.cat((count * cosine, -count * sine)).t()
    to_rows = from_rows = None
    if modes.height > 1:
        rows = torch.arange(modes.height) if modes.rows is None else torch.tensor(modes.rows)
        cosine, sine = _waves(rows, modes.height)
        real = torch.stack((cosine, sine), dim=-1)  # (R, H, 2): what the real part takes of both parts
        imaginary = torch.stack((-sine, cosine), dim=-1)
        to_rows = torch.stack((real, imaginary), dim=1).flatten(2).flatten(0, 1)  # (R, 2, H, 2)
        from_rows = to_rows.t()  # unitary: the inverse is the conjugate transpose
    made = (None if item is None else item.float().contiguous().to(device) for item in (to_columns, from_columns))
    by_rows = (None if item is None else item.float().contiguous().to(device) for item in (to_rows, from_rows))
    first, second = made
    assert first is not None
    assert second is not None
    return Transform(modes, first, second, *by_rows)


def _waves(modes: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return cosine and sine (M, length) in float64, orthonormal, with exact zeros where the wave has them."""
    turns = (modes[:, None] * torch.arange(length)) % length
    angles = turns.double() * (2 * torch.pi / length)
    sine = torch.where(2 * turns % length == 0, 0.0, angles.sin())
    return angles.cos() * length**-0.5, sine * length**-0.5


_KEPT_SIZES = 8


class Transforms:
    """A cache of the transforms of the last few grids; not part of a state dict."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Modes, torch.device], Transform] = {}

    def __call__(self, modes: Modes, like: Tensor) -> Transform:
        """Return ``make_transform(...)``, computed once for each grid, rule and device."""
        if torch.compiler.is_compiling() or type(like) is not Tensor:  # fake tensors must not outlive their mode
            return make_transform(modes, like.device)
        key = (modes, like.device)
        if key not in self._kept:
            while len(self._kept) >= _KEPT_SIZES:
                del self._kept[next(iter(self._kept))]
            with torch.inference_mode(False):  # made in inference, it must also work in a training step
                self._kept[key] = make_transform(modes, like.device)
        return self._kept[key]
