"""Layer norm as a module that also takes the addition before it."""

from __future__ import annotations

from torch import Tensor, nn

from lab.compat.torch import is_watched
from lab.ops.layer_norm import add_layer_norm, fuses, layer_norm


class LayerNorm(nn.LayerNorm):
    """``nn.LayerNorm`` over the last dimension, by lab's kernel on a GPU where that saves memory traffic."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., N) to (..., N)."""
        return layer_norm(x, self.weight, self.bias, self.eps)

    def fuses(self, *tensors: Tensor) -> bool:
        """Whether ``add`` of tensors (..., N) is one kernel; a hook on this module keeps it from being one."""
        return not is_watched(self) and fuses(*tensors, self.weight, self.bias)

    def add(self, branch: Tensor, residual: Tensor, shift: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the norm of ``branch + shift + residual``, and that sum; hooks of this module see the sum.

        Args:
            branch: (..., N).
            residual: (..., N).
            shift: (N,) or None.
        """
        if self.fuses(branch, residual):
            return add_layer_norm(branch, residual, shift, self.weight, self.bias, self.eps)
        total = residual + (branch if shift is None else branch + shift)
        return self(total), total
