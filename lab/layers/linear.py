"""A linear layer that is faster in inference on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Linear(nn.Linear):
    """``nn.Linear``, in inference on a CPU by oneDNN's product where PyTorch would take MKL's.

    On AMD's CPUs MKL keeps from the widest instructions: oneDNN is up to a third faster there. A GELU that it applies
    to values in registers costs next to nothing. The operator is the one that PyTorch's compiler takes.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., O)."""
        return self._product(x, "none", "") if self._can_fuse(x) else super().forward(x)

    def gelu(self, x: Tensor) -> Tensor:
        """Return the exact GELU of what ``forward`` returns."""
        if self._can_fuse(x) and not self._forward_hooks and not self._forward_pre_hooks:
            return self._product(x, "gelu", "none")
        return F.gelu(self(x))

    def _product(self, x: Tensor, then: str, algorithm: str) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, then, [], algorithm)
        return out

    def _can_fuse(self, x: Tensor) -> bool:
        plain = type(x) is Tensor and type(self.weight) is nn.Parameter and x.device.type == "cpu" and x.numel() > 0
        if not plain or torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
            return False
        return x.dtype == self.weight.dtype == torch.float32 and hasattr(torch.ops.mkldnn, "_linear_pointwise")
