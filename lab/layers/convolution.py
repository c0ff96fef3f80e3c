"""A convolution with its norm, addition and activation, as one step.

A constant batch norm is folded into its convolution on the fly, which saves a pass over the activations. On a CPU, if
no gradient is needed, oneDNN does the addition and activation inside of the convolution, into existing memory.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.checking import check_choice
from lab.compat.torch import onednn_convolution
from lab.ops.cpu import plain_float32

NormName = Literal["batch_norm", "frozen_batch_norm", "group_norm"]
Activation = Literal["none", "relu", "relu6", "leaky_relu"]
SLOPE = 0.1
"""Of ``leaky_relu`` below zero."""


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
    """Return the normalisation of that name; group norm has 32 groups, or the most below that divide the channels.

    Raises:
        ConfigError: the name is unknown.
    """
    check_choice("norm", name, get_args(NormName))
    if name == "batch_norm":
        return nn.BatchNorm2d(num_channels)
    if name == "frozen_batch_norm":
        return FrozenBatchNorm2d(num_channels)
    return nn.GroupNorm(max(n for n in range(1, 33) if num_channels % n == 0), num_channels)


def scale_and_shift(norm: nn.BatchNorm2d | FrozenBatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return the constant batch norm as (C,) scale and (C,) shift."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def is_constant(norm: nn.Module) -> bool:
    """Whether a norm is a batch norm that now applies what it has, and so can be folded."""
    return isinstance(norm, FrozenBatchNorm2d) or (isinstance(norm, nn.BatchNorm2d) and not norm.training)


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Apply an activation in place."""
    if activation == "relu":
        return F.relu(x, inplace=True)
    if activation == "relu6":
        return F.relu6(x, inplace=True)
    return F.leaky_relu(x, SLOPE, inplace=True) if activation == "leaky_relu" else x


def convolve(
    x: Tensor,
    convolution: nn.Conv2d,
    norm: nn.Module | None = None,
    add: Tensor | None = None,
    activation: Activation = "relu",
    reuse: bool = False,
) -> Tensor:
    """Convolve, normalise, add and activate.

    A constant batch norm is folded into weight and bias, which is exact and differentiable.

    Args:
        x: (B, C, H, W).
        convolution: if it has a bias, that is normalised too.
        norm: the norm of the convolution's output.
        add: a tensor to add before the activation, of the output's shape.
        activation: applied last.
        reuse: whether the memory of ``add`` may be overwritten if no gradient is needed.
    """
    if norm is not None and not is_constant(norm):
        out: Tensor = norm(convolution(x))
    else:
        weight, bias = _folded(convolution, norm)
        if _fuses(x, weight) and (add is None or activation in ("none", "relu")):
            return onednn_convolution(x, weight, bias, convolution, add, activation, SLOPE, reuse)
        geometry = (convolution.stride, convolution.padding, convolution.dilation, convolution.groups)
        out = F.conv2d(x, weight, bias, *geometry)  # type: ignore[arg-type]
    if add is not None:
        out = out.add_(add)
    return activate(out, activation)


def _folded(convolution: nn.Conv2d, norm: nn.Module | None) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of a convolution and the constant norm after it."""
    if norm is None:
        return convolution.weight, convolution.bias
    assert isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm2d)
    scale, shift = scale_and_shift(norm)
    weight = convolution.weight * scale[:, None, None, None]
    return weight, shift if convolution.bias is None else shift + convolution.bias * scale


def _fuses(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN's fused convolution applies: float32 on a CPU, run eagerly, in inference or a frozen stage."""
    return bool(
        plain_float32(x, weight)
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
    )
