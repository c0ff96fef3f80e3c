"""What torch keeps private and is used here, for torch 2.11 to 2.15."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

COMPILED = "_orig_mod"
"""Under this name a module that was compiled (``torch.compile``) holds the module itself; keys of states have it."""


# Many tensors in one kernel, as the steps of torch.optim compute; these have no public name.


def foreach_norm(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the norm () of each tensor."""
    return list(torch._foreach_norm(list(tensors)))


def foreach_copy_(tensors: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy each source into its tensor."""
    torch._foreach_copy_(list(tensors), list(sources))


def foreach_lerp_(tensors: Sequence[Tensor], ends: Sequence[Tensor], weight: float) -> None:
    """Move each tensor by ``weight`` of the way to its end."""
    torch._foreach_lerp_(list(tensors), list(ends), weight)


def foreach_add(tensors: Sequence[Tensor], others: Sequence[Tensor] | float, alpha: float = 1) -> list[Tensor]:
    """Return each tensor plus ``alpha`` times the other, or plus a number."""
    if isinstance(others, int | float):
        return list(torch._foreach_add(list(tensors), others))
    return list(torch._foreach_add(list(tensors), list(others), alpha=alpha))


def foreach_add_(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    """Add the others in place."""
    torch._foreach_add_(list(tensors), list(others))


def foreach_mul_(tensors: Sequence[Tensor], factor: float) -> None:
    """Multiply in place."""
    torch._foreach_mul_(list(tensors), factor)


def foreach_sqrt_(tensors: Sequence[Tensor]) -> None:
    """Take the square roots in place."""
    torch._foreach_sqrt_(list(tensors))


def foreach_addcmul_(tensors: Sequence[Tensor], left: Sequence[Tensor], right: Sequence[Tensor]) -> None:
    """Add ``left * right`` in place."""
    torch._foreach_addcmul_(list(tensors), list(left), list(right))


def foreach_addcdiv_(tensors: Sequence[Tensor], left: Sequence[Tensor], right: Sequence[Tensor], value: float) -> None:
    """Add ``value * left / right`` in place."""
    torch._foreach_addcdiv_(list(tensors), list(left), list(right), value)


# oneDNN's fused products, which torch's compiler calls; eager code has no public way to them.


def has_onednn_linear() -> bool:
    """Whether this build of torch has ``onednn_linear``: those of other processors have not."""
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")


def onednn_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, then: str = "none", algorithm: str = "", slope: float = 0.0
) -> Tensor:
    """Return ``x @ weight.T + bias``, through an activation.

    Args:
        x: (..., C), float32 on a CPU.
        weight: (O, C).
        bias: (O,).
        then: ``none``, ``relu``, ``relu6``, ``leaky_relu``, ``gelu``.
        algorithm: of a GELU, ``none`` or ``tanh``.
        slope: of ``leaky_relu`` below zero.
    """
    named, numbers = _onednn_activation(then, slope)
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, named, numbers, algorithm)
    return out


def _onednn_activation(name: str, slope: float) -> tuple[str, list[float]]:
    """Return oneDNN's name of an activation, and its numbers."""
    if name == "relu6":
        return "hardtanh", [0.0, 6.0]
    return name, [slope] if name == "leaky_relu" else []


def onednn_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: nn.Conv2d,
    add: Tensor | None,
    activation: str,
    slope: float,
    reuse: bool,
) -> Tensor:
    """Return a convolution plus ``add``, through an activation.

    Args:
        x: (B, C, H, W), float32 on a CPU.
        weight: (O, C, kH, kW).
        bias: (O,).
        geometry: padding, stride, dilation and groups.
        add: of the output's shape.
        activation: ``none``, ``relu``, without ``add`` also ``relu6`` and ``leaky_relu``.
        slope: of ``leaky_relu`` below zero.
        reuse: write into the memory of ``add``.
    """
    where = (geometry.padding, geometry.stride, geometry.dilation, geometry.groups)
    onednn = torch.ops.mkldnn
    then = None if activation == "none" else activation
    if add is None:
        named, numbers = _onednn_activation(activation, slope)
        fused: Tensor = onednn._convolution_pointwise(x, weight, bias, *where, named, numbers, "")
    elif reuse:
        fused = onednn._convolution_pointwise_.binary(add, x, weight, bias, *where, "add", None, then, [], None)
    else:
        fused = onednn._convolution_pointwise.binary(x, add, weight, bias, *where, "add", None, then, [], None)
    return fused


# What is going on.


def in_function_transform() -> bool:
    """Whether ``torch.func`` is transforming what runs (vmap, grad): kernels of one's own must stand aside then."""
    return torch._C._functorch.maybe_current_level() is not None


def has_forward_hooks(module: nn.Module) -> bool:
    """Whether somebody has registered a forward hook, who must see the output unchanged."""
    return bool(module._forward_hooks)


def has_forward_pre_hooks(module: nn.Module) -> bool:
    """Whether somebody has registered a hook that is called before the forward pass."""
    return bool(module._forward_pre_hooks)


def version_of(tensor: Tensor) -> int:
    """Return the number that each change in place raises: whether a copy is still good, without comparing values."""
    return tensor._version


def storage_id(tensor: Tensor) -> int:
    """Return what two views of one memory share; fake tensors, which have no address, have it too.

    It is given anew when the storage is freed.

    Raises:
        NotImplementedError: a sparse tensor, which has no storage.
    """
    return tensor.untyped_storage()._cdata


def scale_on_device(scaler: torch.amp.GradScaler) -> Tensor | None:
    """Return a gradient scaler's scale () where it lies, None before its first use.

    ``get_scale`` waits for the device.
    """
    return scaler._scale


# Beneath modules, batches and meshes.


def own_parameters(module: nn.Module) -> dict[str, Any]:
    """Return the table of a module's own parameters, to be changed: it may hold plain tensors in their place.

    ``register_parameter`` and ``setattr`` refuse a plain tensor where a parameter stood.
    """
    return module._parameters


def tree_leaves(tree: Any) -> list[Any]:
    """Return what stands in nested lists, tuples and dicts, as torch.func takes arguments apart."""
    from torch.utils._pytree import tree_leaves

    return tree_leaves(tree)


def fake_tensors() -> Any:
    """Return the context in which tensors have shapes, types and devices and no values; real ones may come in."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode(allow_non_fake_inputs=True)


READS_VALUES = (
    ".numpy() is not supported for tensor subclasses",
    "Cannot copy out of meta tensor",
    "can't convert meta device type tensor to numpy",
    "cannot be called on meta tensors",
    "a correct data-independent implementation does not exist",
)
"""What torch says, in errors of general classes, where values of fake or meta tensors are asked for."""


def reads_values(error: BaseException) -> bool:
    """Whether an error only says that a computation read the values of tensors that have none: fake or meta ones."""
    from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

    if isinstance(error, (DataDependentOutputException, DynamicOutputShapeException)):
        return True
    return isinstance(error, (RuntimeError, TypeError)) and any(words in str(error) for words in READS_VALUES)


def flatten_mesh(mesh: DeviceMesh, name: str) -> None:
    """Join a mesh's dimensions in one, so that a norm of DTensors is one sum over all ranks, alike to the last bit."""
    mesh._flatten(name)


def local_shape_and_offset(
    shape: Sequence[int], mesh: DeviceMesh, placements: Sequence[Any]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shape of this rank's part of a DTensor and its corner, for checkpoints; shards may be uneven."""
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    local, offset = compute_local_shape_and_global_offset(tuple(shape), mesh, tuple(placements))
    return tuple(local), tuple(offset)
