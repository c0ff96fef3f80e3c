"""Private parts of torch that are used, for torch 2.11 to 2.15."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

COMPILED = "_orig_mod"
"""The attribute under which a compiled module (``torch.compile``) holds the original one; keys of states contain it."""


# Operations on many tensors in one kernel, as in the steps of torch.optim; they have no public names.


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
    """Return each tensor plus ``alpha`` times the other one, or plus a number."""
    if isinstance(others, int | float):
        return list(torch._foreach_add(list(tensors), others))
    return list(torch._foreach_add(list(tensors), list(others), alpha=alpha))


def foreach_add_(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    """Add the others in place."""
    torch._foreach_add_(list(tensors), list(others))


def foreach_mul(tensors: Sequence[Tensor], factors: Sequence[Tensor]) -> list[Tensor]:
    """Return each tensor times its factor, of a shape that it can be broadcast from."""
    return list(torch._foreach_mul(list(tensors), list(factors)))


def foreach_mul_(tensors: Sequence[Tensor], factor: float) -> None:
    """Multiply in place."""
    torch._foreach_mul_(list(tensors), factor)


def foreach_sqrt_(tensors: Sequence[Tensor]) -> None:
    """Take the square roots in place."""
    torch._foreach_sqrt_(list(tensors))


def foreach_addcmul_(
    tensors: Sequence[Tensor], left: Sequence[Tensor], right: Sequence[Tensor], value: float = 1
) -> None:
    """Add ``left * right`` in place."""
    torch._foreach_addcmul_(list(tensors), list(left), list(right), value)


def foreach_addcdiv_(tensors: Sequence[Tensor], left: Sequence[Tensor], right: Sequence[Tensor], value: float) -> None:
    """Add ``value * left / right`` in place."""
    torch._foreach_addcdiv_(list(tensors), list(left), list(right), value)


def addmm_relu(bias: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return ``relu(bias + left @ right)``."""
    return torch._addmm_activation(bias, left, right)


# oneDNN's fused products, which torch's compiler uses; eager code has no public API for them.


def has_onednn_linear() -> bool:
    """Whether this build of torch has ``onednn_linear``; builds for other processors lack it."""
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")


def onednn_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, then: str = "none", algorithm: str = "", slope: float = 0.0
) -> Tensor:
    """Return ``x @ weight.T + bias``, followed by an activation.

    Args:
        x: (..., C), float32 on a CPU.
        weight: (O, C).
        bias: (O,).
        then: ``none``, ``relu``, ``relu6``, ``leaky_relu``, ``gelu``.
        algorithm: for GELU, ``none`` or ``tanh``.
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
    """Return a convolution plus ``add``, followed by an activation.

    Args:
        x: (B, C, H, W), float32 on a CPU.
        weight: (O, C, kH, kW).
        bias: (O,).
        geometry: padding, stride, dilation and groups.
        add: a tensor of the output's shape.
        activation: ``none``, ``relu``, without ``add`` also ``relu6`` and ``leaky_relu``.
        slope: of ``leaky_relu`` below zero.
        reuse: write the result into the memory of ``add``.
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


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN holds a CPU's weights of this type in its own layout: bfloat16 only where the processor has it."""
    return weight.dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def onednn_packed_convolution(weight: Tensor, geometry: nn.Conv2d, input_size: Sequence[int] | None) -> Tensor:
    """Return a weight in the layout that oneDNN computes in, which ``onednn_convolution`` takes as well.

    It has no storage that others can see: it cannot be copied deeply, pickled or changed in place.

    Args:
        weight: (O, C, kH, kW), float32 or bfloat16 on a CPU.
        geometry: padding, stride, dilation and groups.
        input_size: (B, C, H, W) for which the layout is chosen; others are computed as well.
    """
    where = (geometry.padding, geometry.stride, geometry.dilation, geometry.groups)
    packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(weight, *where, input_size)
    return packed


def onednn_packed_linear(weight: Tensor, rows: int | None = None) -> Tensor:
    """Return a weight (O, C) in oneDNN's layout, which ``onednn_linear`` takes as well; ``rows`` as expected."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return packed


def convolution_gradients(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Sequence[tuple[int, int]], wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """Return the gradients of a convolution's input and weight; what is not wanted is None.

    Args:
        grad: of the output, (B, O, H', W').
        x: (B, C, H, W).
        weight: (O, C, kH, kW).
        geometry: stride, padding, dilation.
        wanted: which of the two.
    """
    stride, padding, dilation = geometry
    where = (stride, padding, dilation, False, (0, 0), 1)
    by_x, by_weight, _ = torch.ops.aten.convolution_backward(grad, x, weight, None, *where, (*wanted, False))
    return by_x, by_weight


# Questions about the present state.


def in_function_transform() -> bool:
    """Whether a ``torch.func`` transform (vmap, grad) is active; custom kernels must not be used then."""
    return torch._C._functorch.maybe_current_level() is not None


def has_forward_hooks(module: nn.Module) -> bool:
    """Whether a forward hook is registered, which must see the unchanged output."""
    return bool(module._forward_hooks)


def has_forward_pre_hooks(module: nn.Module) -> bool:
    """Whether a hook is registered that is called before the forward pass."""
    return bool(module._forward_pre_hooks)


def is_watched(module: nn.Module) -> bool:
    """Whether a hook is registered that is called before or after the forward pass."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def are_watched(modules: Sequence[nn.Module]) -> bool:
    """Whether ``is_watched`` any of many modules; a call for each takes three times as long."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in modules)


def are_in_place(places: Sequence[tuple[nn.Module, str, nn.Module]]) -> bool:
    """Whether each parent still has its child under its name; asking for each as an attribute takes far longer."""
    return all(parent._modules.get(name) is child for parent, name, child in places)


def is_compiled_in_place(module: nn.Module) -> bool:
    """Whether ``module.compile()`` was called, after which a call runs compiled code, hooks included."""
    return module._compiled_call_impl is not None


def in_backward() -> bool:
    """Whether this thread is in a backward pass, in which activation checkpointing runs modules again."""
    return torch._C._current_graph_task_id() != -1


def version_of(tensor: Tensor) -> int:
    """Return the counter of in-place changes, which tells whether a copy is up to date without comparing values."""
    return tensor._version


def in_one_pass(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Make up, in an optimizer that was made with ``fused=True``, for what torch's own kernels leave out.

    They do not count their changes of parameters (``version_of``). And a gradient scaler would leave the unscaling to
    them, which forbids clipping: told otherwise, it unscales the gradients itself.
    """

    def count(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
        torch.autograd.graph.increment_version([each for each in parameters if each.grad is not None])

    optimizer.register_step_post_hook(count)
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer


def storage_id(tensor: Tensor) -> int:
    """Return an id that views of the same memory share; it also exists for fake tensors, which have no address.

    The id may be used again after the storage is freed.

    Raises:
        NotImplementedError: a sparse tensor, which has no storage.
    """
    return tensor.untyped_storage()._cdata


def scale_on_device(scaler: torch.amp.GradScaler) -> Tensor | None:
    """Return a gradient scaler's scale () on its device; None before its first use.

    ``get_scale`` would wait for the device.
    """
    return scaler._scale


# Internals of modules, batches and meshes.


def children_of(module: nn.Module) -> dict[str, nn.Module]:
    """Return a module's children by name; unlike ``named_children`` one that is there twice stands under both names."""
    return {name: child for name, child in module._modules.items() if child is not None}


def parts_of(module: nn.Module) -> list[nn.Module]:
    """Return all modules within a module; ``modules`` also builds their names and takes twice as long."""
    found = [child for child in module._modules.values() if child is not None]
    for part in found:  # which grows
        if part._modules:
            found.extend(child for child in part._modules.values() if child is not None)
    return found


def own_tensors(module: nn.Module) -> dict[str, Any]:
    """Return a module's own parameters and buffers by name; asking for each as an attribute takes far longer."""
    return {**module._parameters, **module._buffers}


def own_parameters(module: nn.Module) -> dict[str, Any]:
    """Return the dict of a module's own parameters, which may be changed to hold plain tensors.

    ``register_parameter`` and ``setattr`` refuse to replace a parameter by a plain tensor.
    """
    return module._parameters


def tree_leaves(tree: Any) -> list[Any]:
    """Return the leaves of nested lists, tuples and dicts, in the way that torch.func flattens arguments."""
    from torch.utils._pytree import tree_leaves

    return tree_leaves(tree)


def fake_tensors() -> Any:
    """Return the context in which tensors have shapes, dtypes and devices but no values; real ones may be mixed in."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode(allow_non_fake_inputs=True)


READS_VALUES = (
    ".numpy() is not supported for tensor subclasses",
    "Cannot copy out of meta tensor",
    "can't convert meta device type tensor to numpy",
    "cannot be called on meta tensors",
    "a correct data-independent implementation does not exist",
)
"""Messages of torch's errors (of general classes) when code reads values of fake or meta tensors."""


def reads_values(error: BaseException) -> bool:
    """Whether an error only says that code read the values of fake or meta tensors, which have none."""
    from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

    if isinstance(error, (DataDependentOutputException, DynamicOutputShapeException)):
        return True
    return isinstance(error, (RuntimeError, TypeError)) and any(words in str(error) for words in READS_VALUES)


def flatten_mesh(mesh: DeviceMesh, name: str) -> None:
    """Flatten a mesh into one dimension, so that a norm of DTensors is one sum and equal to the bit on all ranks."""
    mesh._flatten(name)


def local_shape_and_offset(
    shape: Sequence[int], mesh: DeviceMesh, placements: Sequence[Any]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shape and the offset of this rank's part of a DTensor, for checkpoints; shards may be uneven."""
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    local, offset = compute_local_shape_and_global_offset(tuple(shape), mesh, tuple(placements))
    return tuple(local), tuple(offset)


class ToldWhenMoved(nn.Module):
    """A module that is told when its tensors were moved or changed their dtype; ``nn.Module`` tells nobody."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self.was_moved()
        return self

    def was_moved(self) -> None:
        """Called behind ``to``, ``cuda``, ``double`` and the like."""


def fixed_dimensions(program: Any, axes: Mapping[str, int]) -> tuple[dict[str, str], dict[str, str]]:
    """Tell the dimensions of an exported program's first input apart: those left open, those that its code has fixed.

    What fixed a dimension is only known to the symbols' environment, which has no public name.

    Args:
        program: of ``torch.export``.
        axes: dimensions that were to be open, by name.

    Returns:
        The symbol of each one that is open, and of each other one its size and the line of code that has fixed it.
    """
    name = program.graph_signature.user_inputs[0]
    tensor = next(node for node in program.graph.nodes if node.name == name).meta["val"]
    environment = tensor.fake_mode.shape_env
    symbols, fixed = {}, {}
    for label, axis in axes.items():
        size = tensor.shape[axis]
        known = None if isinstance(size, int) else environment.replace(size.node.expr)
        if known is not None and not known.is_number:
            symbols[label] = str(size)
            continue
        mine = {
            symbol for symbol, sources in environment.var_to_sources.items() if f".size()[{axis}]" in sources[0].name
        }
        places = [place for symbol, place in environment.replacements_slocs.items() if symbol in mine]
        fixed[label] = f"fixed at {size if known is None else known}" + "".join(
            f" by {_place(place.framework_loc)}" for place in places[:1]
        )
    return symbols, fixed


def _place(frame: Any) -> str:
    """Return file, line and code of a frame."""
    parts = Path(frame.filename).parts
    start = next((number for number, part in enumerate(parts) if part in ("lab", "site-packages")), -1)
    return f"{'/'.join(parts[start:])}:{frame.lineno} ({frame.line})"
