"""A convolution with its norm, addition and ReLU, as one step.

A constant batch norm is folded into its convolution on the fly, which saves a pass over the activations. On a CPU, if
no gradient is needed, oneDNN does the addition and ReLU inside of the convolution, into existing memory.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.checking import check_choice
from lab.compat.torch import onednn_convolution

NormName = Literal["batch_norm", "frozen_batch_norm", "group_norm"]


class FrozenBatchNorm2d(nn.Module):
    """Batch norm whose statistics and affine never change: ``x * scale + shift`` for each channel.

    Loads the entries of an ordinary batch norm; ``num_batches_tracked`` is ignored.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((num_features,), value))
        self.register_load_state_dict_pre_hook(_without_count)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        scale, shift = scale_and_shift(self)
        return x * scale[:, None, None] + shift[:, None, None]


def _without_count(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    state_dict.pop(f"{prefix}num_batches_tracked", None)


def make_norm(name: NormName, num_channels: int) -> nn.Module:
    """Return the normalisation of that name; group norm has 32 groups, fewer where the channels do not divide.

    Raises:
        ConfigError: the name is unknown.
    """
    check_choice("norm", name, get_args(NormName))
    if name == "batch_norm":
        return nn.BatchNorm2d(num_channels)
    if name == "frozen_batch_norm":
        return FrozenBatchNorm2d(num_channels)
    return nn.GroupNorm(min(32, num_channels), num_channels)


def scale_and_shift(norm: nn.BatchNorm2d | FrozenBatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return the constant batch norm as (C,) scale and (C,) shift."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def convolve(
    x: Tensor,
    convolution: nn.Conv2d,
    norm: nn.Module,
    add: Tensor | None = None,
    relu: bool = True,
    reuse: bool = False,
) -> Tensor:
    """Convolve, normalise, add, and apply ReLU.

    A constant batch norm is folded into weight and bias, which is exact and differentiable.

    Args:
        x: (B, C, H, W).
        convolution: a convolution without bias.
        norm: the norm of the convolution's output.
        add: a tensor to add before the ReLU, of the output's shape.
        relu: whether to apply ReLU.
        reuse: whether the memory of ``add`` may be overwritten if no gradient is needed.
    """
    if not (isinstance(norm, FrozenBatchNorm2d) or (isinstance(norm, nn.BatchNorm2d) and not norm.training)):
        out: Tensor = norm(convolution(x))
    else:
        scale, shift = scale_and_shift(norm)
        weight = convolution.weight * scale[:, None, None, None]
        if _fuses(x, weight):
            return onednn_convolution(x, weight, shift, convolution, add, relu, reuse)
        out = F.conv2d(
            x, weight, shift, convolution.stride, convolution.padding, convolution.dilation, convolution.groups
        )
    if add is not None:
        out = out.add_(add)
    return F.relu(out, inplace=True) if relu else out


def _fuses(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN's fused convolution applies: float32 on a CPU, run eagerly, in inference or a frozen stage."""
    return bool(
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
    )
