"""A convolution with its norm, addition and activation, as one step.

A constant batch norm is folded into its convolution on the fly, which saves a pass over the activations. On a CPU, if
no gradient is needed, oneDNN does the addition and activation inside of the convolution, into existing memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.checking import check_choice
from lab.compat.torch import (
    foreach_mul,
    has_onednn_linear,
    is_watched,
    onednn_convolution,
    onednn_linear,
    own_tensors,
)
from lab.layers.activation import SLOPE, Activation, activate
from lab.layers.packed import PackedConv2d, is_pointwise, keeps_size, pixels_of
from lab.layers.product import product
from lab.ops.choice import PYTORCH, Timings
from lab.ops.convolution import SAME, Geometry, conv2d, conv3x3, fastest, output_way, takes
from lab.ops.cpu import keep_freed_memory, needs_gradient, plain_float32

NormName = Literal["batch_norm", "frozen_batch_norm", "group_norm"]
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""Those that keep running statistics."""
NEAR = 4
"""How many times larger of a weight and an output one must be, for the smaller one to be scaled without a choice."""
FEW, LARGE = 4, 1 << 18
"""Pixels for each input channel, and numbers of a weight, where one pass over the output more is worth while."""
Scales = dict[nn.Module, tuple[Tensor, Tensor]]
"""Of a constant batch norm what it multiplies with and adds, both (C,); or of its convolution weight and bias."""


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


def convolve(
    x: Tensor,
    convolution: nn.Conv2d,
    norm: nn.Module | None = None,
    add: Tensor | None = None,
    activation: Activation = "relu",
    reuse: bool = False,
    scales: Scales | None = None,
) -> Tensor:
    """Convolve, normalise, add and activate.

    A constant batch norm is folded into weight and bias, which is exact and differentiable. If a hook waits on one of
    the two modules, they are called one after the other.

    Args:
        x: (B, C, H, W).
        convolution: if it has a bias, that is normalised too.
        norm: the norm of the convolution's output; ``nn.Identity`` where ``lab.deploy`` has folded it.
        add: a tensor to add before the activation, of the output's shape.
        activation: applied last.
        reuse: whether the memory of ``add`` may be overwritten if no gradient is needed.
        scales: what ``scales_of`` or ``folded`` returned for many norms at once.
    """
    if scales and convolution in scales:
        if isinstance(convolution, PackedConv2d) and convolution.packed is not None and not is_pointwise(convolution):
            return convolution.compute(x, add, activation, reuse)
        return _by_onednn(x, *scales[convolution], convolution, add, activation, reuse)
    norm = None if isinstance(norm, nn.Identity) else norm
    watched = any(part is not None and is_watched(part) for part in (convolution, norm))
    if watched or (norm is not None and not is_constant(norm)):
        out: Tensor = convolution(x) if watched else _plain(x, convolution, convolution.weight, convolution.bias)
        out = out if norm is None else norm(out)
        out = out.clone() if watched else out  # what a hook has seen is not written over
    elif norm is None and isinstance(convolution, PackedConv2d) and convolution.takes(x):
        return convolution.compute(x, add, activation, reuse)
    else:
        scale, shift = _scale_and_shift(norm, scales)
        if fuses(x, convolution.weight) and not needs_gradient(scale):
            return _fused(x, convolution, scale, shift, add, activation, reuse)
        weight, bias = _folded(convolution, scale, shift)
        out = _plain(x, convolution, weight, bias)
    if add is not None:
        out = out.add_(add)
    return activate(out, activation)


def _plain(x: Tensor, convolution: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve with this weight as the module would; the fastest way where it does nothing but convolve."""
    stride, padding, groups = convolution.stride, convolution.padding, convolution.groups
    own, is_other = weight is convolution.weight, type(convolution) is not nn.Conv2d
    if own and (is_other or groups != 1 or isinstance(padding, str) or convolution.padding_mode != "zeros"):
        out: Tensor = convolution(x)
        return out
    if groups != 1 or isinstance(padding, str):
        return F.conv2d(x, weight, bias, stride, padding, convolution.dilation, groups)
    return conv2d(x, weight, bias, Geometry(stride, padding, convolution.dilation))  # type: ignore[arg-type]


def scales_of(norms: Sequence[nn.Module]) -> Scales:
    """Return what many constant batch norms do, in a few operations instead of a few for each.

    Args:
        norms: of one epsilon.

    Returns:
        What ``convolve`` takes; nothing where gradients are wanted or a norm is not constant.
    """
    norms = [norm for norm in norms if not isinstance(norm, nn.Identity)]
    if not norms or torch.is_grad_enabled() or torch.compiler.is_compiling() or not all(map(is_constant, norms)):
        return {}
    scale, shift, sizes = joined_scales(norms)
    return dict(zip(norms, zip(scale.split(sizes), shift.split(sizes), strict=True), strict=True))


def folded(x: Tensor, pairs: Sequence[tuple[nn.Conv2d, nn.Module | None]]) -> Scales:
    """Fold constant norms into their convolutions, in a few operations for all; asks once whether that can be done.

    Args:
        x: what goes in, or anything like it.
        pairs: convolutions, each with the norm behind it, all of one epsilon; None or ``nn.Identity`` where there is
            none, or where ``lab.deploy`` has folded it. A convolution before a norm has no bias.

    Returns:
        What ``convolve`` takes; nothing where oneDNN does not compute, a norm is not constant or a hook waits.
    """
    if not pairs or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return {}
    if any(part is not None and is_watched(part) for part in itertools.chain(*pairs)):
        return {}
    scales: Scales = {}
    left: list[tuple[nn.Conv2d, nn.Module]] = []
    for convolution, norm in pairs:
        own = own_tensors(convolution)
        scales[convolution] = own["weight"], own["bias"]
        if norm is not None and not isinstance(norm, nn.Identity):
            left.append((convolution, norm))
    if not all(is_constant(norm) for _, norm in left) or not fuses(x, *(weight for weight, _ in scales.values())):
        return {}
    keep_freed_memory()
    if left:
        scale, shift, sizes = joined_scales([norm for _, norm in left])
        weights = foreach_mul([scales[each][0] for each, _ in left], scale.view(-1, 1, 1, 1).split(sizes))
        ready = zip(weights, shift.split(sizes), strict=True)
        scales.update(zip((each for each, _ in left), ready, strict=True))
    return scales


def joined_scales(norms: Sequence[nn.Module]) -> tuple[Tensor, Tensor, list[int]]:
    """Return scales and shifts of constant batch norms, one behind the other, and how many each has."""
    own = [own_tensors(norm) for norm in norms]
    names = ("weight", "bias", "running_mean", "running_var")
    weight, bias, mean, variance = (torch.cat([tensors[name] for tensors in own]) for name in names)
    scale = weight * torch.rsqrt(variance + norms[0].eps)  # type: ignore[operator]
    return scale, torch.addcmul(bias, mean, scale, value=-1), [tensors["weight"].numel() for tensors in own]


def _scale_and_shift(norm: nn.Module | None, scales: Scales | None) -> tuple[Tensor | None, Tensor | None]:
    if norm is None:
        return None, None
    if scales and norm in scales:
        return scales[norm]
    assert isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm2d)
    return scale_and_shift(norm)


def _folded(convolution: nn.Conv2d, scale: Tensor | None, shift: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of a convolution and the constant norm after it."""
    weight, bias = convolution.weight, convolution.bias
    if scale is None or shift is None:
        return weight, bias
    return weight * scale[:, None, None, None], shift if bias is None else torch.addcmul(shift, bias, scale)


def _fused(
    x: Tensor,
    convolution: nn.Conv2d,
    scale: Tensor | None,
    shift: Tensor | None,
    add: Tensor | None,
    activation: Activation,
    reuse: bool,
) -> Tensor:
    """Convolve by oneDNN, which no gradient passes."""
    keep_freed_memory()
    weight, bias = convolution.weight, convolution.bias
    if scale is None or shift is None:
        return _by_onednn(x, weight, bias, convolution, add, activation, reuse)
    norm = (scale, shift)
    if _folds(x, convolution, norm):
        return _by_onednn(x, *_folded(convolution, *norm), convolution, add, activation, reuse)
    out = _then_scaled(x, convolution, norm)
    return activate(out if add is None else out.add_(add), activation)


def _then_scaled(x: Tensor, convolution: nn.Conv2d, norm: tuple[Tensor, Tensor]) -> Tensor:
    """Convolve and apply the norm to the output."""
    out = _by_onednn(x, convolution.weight, convolution.bias, convolution)
    scale, shift = (each[:, None, None] for each in norm)
    return torch.addcmul(shift, out, scale, out=out)


def _folds(x: Tensor, convolution: nn.Conv2d, norm: tuple[Tensor, Tensor]) -> bool:
    """Whether the weight is sooner scaled than the output: where it is smaller, and near that what is faster here."""
    weight = convolution.weight
    share = _pixels(x, convolution) * len(weight) / weight.numel()
    padding = convolution.padding
    if not 1 / NEAR < share < NEAR or isinstance(padding, str):
        return share >= 1
    geometry = Geometry(convolution.stride, padding, convolution.dilation)  # type: ignore[arg-type]
    if not takes(x, weight, geometry):
        return share >= 1

    def ways(part: Tensor) -> Timings:
        fold = lambda: _by_onednn(part, *_folded(convolution, *norm), convolution)  # noqa: E731
        other = partial(_then_scaled, part, convolution, norm)
        return {PYTORCH: fold, "other": other} if share >= 1 else {PYTORCH: other, "other": fold}

    usual = fastest(f"norm, {'folded' if share >= 1 else 'apart'}", x, weight, geometry, ways) == PYTORCH
    return usual == (share >= 1)


def _pixels(x: Tensor, convolution: nn.Conv2d) -> int:
    return x.shape[0] * x.shape[2] * x.shape[3] // (convolution.stride[0] * convolution.stride[1])


def _by_onednn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: nn.Conv2d,
    add: Tensor | None = None,
    activation: Activation = "none",
    reuse: bool = False,
) -> Tensor:
    """Convolve; a 1x1 in this layout is a product of the pixels' channels, which costs less to call."""
    if add is None and x.stride(1) == 1 and is_pointwise(geometry):
        return _pointwise(x, weight, bias, geometry, activation)
    out = _by_products(x, weight, bias, geometry)
    if out is None and (activation != "none" if add is None else activation in ("none", "relu")):
        return onednn_convolution(x, weight, bias, geometry, add, activation, SLOPE, reuse)
    if out is None:
        where = (geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
        out = F.conv2d(x, weight, bias, *where)  # type: ignore[arg-type]
    return activate(out if add is None else out.add_(add), activation)


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: nn.Conv2d, activation: Activation) -> Tensor:
    """Multiply the channels of each pixel, channels last."""
    return product(pixels_of(x, geometry), weight, bias, activation).permute(0, 3, 1, 2)


def _by_products(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: nn.Conv2d) -> Tensor | None:
    """Convolve in another way than by oneDNN's convolution of this layout; None where no other is faster.

    oneDNN rearranges the weight in each call. With few pixels that costs more than a pass over the output does, above
    all channels last; with very few, more than laying out the input as the rows of a product. Many pixels are
    transformed where that is faster (``lab.ops.convolution``).
    """
    is_last, pixels = x.stride(1) == 1, _pixels(x, geometry)
    if is_last and is_pointwise(geometry) and pixels < FEW * x.shape[1]:
        return _pointwise(x, weight, bias, geometry, "none")
    if is_last and keeps_size(geometry) and output_way(x, weight, SAME) == "winograd":
        return conv3x3(x, weight, bias).contiguous(memory_format=torch.channels_last)
    if weight.numel() <= LARGE or pixels * 2 * FEW >= weight[0].numel():
        return None
    x, stride, padding, dilation = x.contiguous(), geometry.stride, geometry.padding, geometry.dilation
    if pixels * 8 * FEW < weight[0].numel() and geometry.groups == 1 and has_onednn_linear():
        assert not isinstance(padding, str)
        rows = F.unfold(x, geometry.kernel_size, dilation, padding, stride).transpose(1, 2).contiguous()
        height = (x.shape[2] + 2 * padding[0] - dilation[0] * (geometry.kernel_size[0] - 1) - 1) // stride[0] + 1
        out = onednn_linear(rows, weight.flatten(1), bias).unflatten(1, (height, -1)).permute(0, 3, 1, 2)
    else:
        out = F.conv2d(x, weight, bias, stride, padding, dilation, geometry.groups)
    return out.contiguous(memory_format=torch.channels_last) if is_last else out.contiguous()


def pairs_in(layers: nn.Sequential) -> list[tuple[nn.Conv2d, nn.Module]]:
    """Return the convolutions among some layers, each with the norm that follows it."""
    found = list(layers)
    return [(layer, found[index + 1]) for index, layer in enumerate(found) if isinstance(layer, nn.Conv2d)]


def fuses(x: Tensor, *weights: Tensor) -> bool:
    """Whether oneDNN's fused convolution applies: float32 on a CPU, run eagerly, in inference or a frozen stage."""
    return bool(
        plain_float32(x, *weights)
        and not needs_gradient(x, *weights)
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
    )
