"""Batch norms folded into the convolutions and linear layers before them, found by one forward pass.

Which layer's result a norm takes is seen from the tensors themselves, not from names: a norm is folded if all that it
got came from one layer, and nothing else got that layer's result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights
from torch.overrides import TorchFunctionMode

from lab.compat.torch import is_watched
from lab.layers.convolution import BATCH_NORMS, FrozenBatchNorm2d
from lab.layers.linear import Linear
from lab.layers.packed import PackedConv2d, PackedLinear

CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d, PackedConv2d)
TRANSPOSED: Final = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LINEAR: Final = (nn.Linear, Linear, PackedLinear)
NORMS: Final = (*BATCH_NORMS, FrozenBatchNorm2d)
"""All of these are exact types: a subclass may do more than its base."""
_ABOUT = {"__get__", "size", "dim", "stride", "numel", "is_contiguous", "is_floating_point", "data_ptr", "__len__"}
"""Functions that ask about a tensor and do not use its values."""


@dataclass
class _Result:
    """A tensor that a layer has returned; it is kept, so that no other one gets its identity."""

    tensor: Tensor
    layer: nn.Module
    norms: set[nn.Module] = field(default_factory=set)
    others: int = 0


@dataclass
class _Trace(TorchFunctionMode):
    """Records during a forward pass what layers return, and who takes it."""

    results: dict[int, _Result] = field(default_factory=dict)
    inputs: dict[nn.Module, list[nn.Module | None]] = field(default_factory=dict)
    calls: dict[nn.Module, int] = field(default_factory=dict)
    current: nn.Module | None = None

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") not in _ABOUT:
            for tensor in tensors_in((args, kwargs)):
                result = self.results.get(id(tensor))
                if result is not None and self.current is None:
                    result.others += 1
        return func(*args, **(kwargs or {}))

    def returned(self, layer: nn.Module, _: Any, output: Any) -> None:
        self.calls[layer] = self.calls.get(layer, 0) + 1
        if isinstance(output, Tensor):
            self.results[id(output)] = _Result(output, layer)

    def entered(self, norm: nn.Module, args: tuple[Any, ...]) -> None:
        result = self.results.get(id(args[0])) if args else None
        self.inputs.setdefault(norm, []).append(None if result is None else result.layer)
        if result is not None:
            result.norms.add(norm)
        self.current = norm

    def left(self, *_: Any) -> None:
        self.current = None


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in lists, tuples, dicts and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for entry in fields(value):
            yield from tensors_in(getattr(value, entry.name))


def fold_norms(net: nn.Module, inputs: Sequence[Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Fold, in place, every batch norm that can be folded, and put ``nn.Identity`` where it was.

    Args:
        net: in evaluation mode.
        inputs: what it is called with, to see which layer's result each norm takes.

    Returns:
        Of each norm that was folded the layer that it is now a part of, and of each other one the reason.
    """
    names = {module: name for name, module in net.named_modules()}
    norms = {module: name for module, name in names.items() if isinstance(module, NORMS) and module is not net}
    layers = [module for module in names if type(module) in (*CONVOLUTIONS, *TRANSPOSED, *LINEAR)]
    if not norms:
        return {}, {}
    watched = {module for module in (*layers, *norms) if is_watched(module)}
    trace = _traced(net, inputs, layers, norms)
    folded: dict[str, str] = {}
    left: dict[str, str] = {}
    for norm, name in norms.items():
        layer, reason = _layer_before(norm, trace, watched)
        if layer is None:
            left[name] = reason
            continue
        _fold(layer, norm)
        folded[name] = names[layer]
        replace_module(net, norm, nn.Identity())
    return folded, left


def replace_module(net: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module at every place where another one stands within a network."""
    places = [name for name, module in net.named_modules(remove_duplicate=False) if module is old]
    for name in places:
        parent, _, own = name.rpartition(".")
        setattr(net.get_submodule(parent), own, new)


def _traced(net: nn.Module, inputs: Sequence[Any], layers: Sequence[nn.Module], norms: Iterable[nn.Module]) -> _Trace:
    """Run a forward pass under observation."""
    trace = _Trace()
    with torch.no_grad():
        hooks = [layer.register_forward_hook(trace.returned) for layer in layers]
        hooks += [norm.register_forward_pre_hook(trace.entered) for norm in norms]
        hooks += [norm.register_forward_hook(trace.left) for norm in norms]
        try:
            with trace:
                outputs = net(*inputs)
        finally:
            for hook in hooks:
                hook.remove()
    for tensor in tensors_in(outputs):
        if id(tensor) in trace.results:
            trace.results[id(tensor)].others += 1
    return trace


def _layer_before(norm: nn.Module, trace: _Trace, watched: set[nn.Module]) -> tuple[nn.Module | None, str]:
    """Return the layer that a norm can be folded into, or None and why there is none."""
    before = trace.inputs.get(norm, [])
    layer = before[0] if before else None
    results = [result for result in trace.results.values() if result.layer is layer]
    reason = ""
    if type(norm) not in NORMS:
        reason = f"a {type(norm).__name__} may do more than a batch norm"
    elif not before:
        reason = "not called"
    elif getattr(norm, "running_var", None) is None or norm.training:
        reason = "depends on the batch"
    elif layer is None or any(item is not layer for item in before):
        reason = "no layer of its own before it"
    elif any(result.norms != {norm} or result.others for result in results) or len(results) != trace.calls[layer]:
        reason = "something else takes its layer's result too"
    elif type(layer) in TRANSPOSED and layer.groups != 1:
        reason = "its transposed convolution has groups"
    elif type(layer) in LINEAR and any(result.tensor.ndim != 2 for result in results):
        reason = "normalises another dimension than its linear layer's features"
    elif watched.intersection((norm, layer)):
        reason = "a hook waits for it or for its layer"
    elif hasattr(layer, "parametrizations"):
        reason = "its layer's weight is computed"
    return (None, reason) if reason else (layer, "")


def _fold(layer: Any, norm: Any) -> None:
    """Put a norm into a layer; computed in float64, rounded once."""
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    scale = torch.ones_like(mean) if norm.weight is None else norm.weight.detach().double()
    shift = torch.zeros_like(mean) if norm.bias is None else norm.bias.detach().double()
    weight = layer.weight.detach().double()
    bias = None if layer.bias is None else layer.bias.detach().double()
    if type(layer) in LINEAR:
        both = fuse_linear_bn_weights(weight, bias, mean, variance, norm.eps, scale, shift)
    else:
        turned = type(layer) in TRANSPOSED
        both = fuse_conv_bn_weights(weight, bias, mean, variance, norm.eps, scale, shift, turned)
    dtype = layer.weight.dtype
    layer.weight, layer.bias = (nn.Parameter(value.detach().to(dtype), requires_grad=False) for value in both)
