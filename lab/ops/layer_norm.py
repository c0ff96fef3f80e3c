"""Layer norm, alone or fused with the addition before it, by one kernel on a GPU (``lab.ops.kernels.layer_norm``).

Two custom operators, so that ``torch.compile``, FSDP and autograd treat a kernel like any operator. On a CPU, and
wherever the kernel would not save memory traffic, PyTorch's own operators compute the same.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op
from torch.nn import functional as F

from lab.compat.torch import in_function_transform

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MOST = 65_536
"""The most values of a row."""
DEVICES = {"cuda"}
"""Where the kernels run; tests add the CPU, on which Triton interprets them."""


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float = 1e-5) -> Tensor:
    """Normalise each row to mean 0 and variance 1, then scale and shift it (Ba et al., 2016, equations 3 and 4).

    Args:
        x: (..., N).
        weight: (N,) or None.
        bias: (N,) or None.
        eps: added to the variance.

    Returns:
        (..., N), of the dtype of ``x``; float32 under autocast.
    """
    if fuses(x, weight, bias) and pays(x, weight, adds=False):
        return fused(x, None, None, weight, bias, eps)[0]
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def add_layer_norm(
    x: Tensor, residual: Tensor, shift: Tensor | None, weight: Tensor | None, bias: Tensor | None, eps: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """Add and normalise: ``total = x + shift + residual``, then ``layer_norm(total)``.

    Args:
        x: (..., N), what a branch has computed.
        residual: (..., N), what it is added to.
        shift: (N,), the bias of the branch's last product if that has not added it; None: nothing.
        weight: (N,) or None.
        bias: (N,) or None.
        eps: added to the variance.

    Returns:
        The norm and the total, both (..., N).
    """
    if fuses(x, residual, shift, weight, bias):
        return fused(x, residual, shift, weight, bias, eps)
    total = residual + (x if shift is None else x + shift)
    return F.layer_norm(total, total.shape[-1:], weight, bias, eps), total


def fuses(x: Tensor, *others: Tensor | None) -> bool:
    """Whether the kernels can compute with these: on a GPU, in a dtype and of a width that they know."""
    given = [x, *(other for other in others if other is not None)]
    if x.device.type not in DEVICES or not 0 < x.shape[-1] <= MOST or in_function_transform():
        return False
    plain = all(type(other) in (Tensor, torch.nn.Parameter) for other in given)
    return plain and all(other.dtype in DTYPES and other.shape[-1] == x.shape[-1] for other in given)


def pays(x: Tensor, weight: Tensor | None, adds: bool) -> bool:
    """Whether the kernels move fewer bytes than PyTorch's own.

    With an addition they move 4 instead of 7 times the input. Without one they win in the backward pass, which PyTorch
    does in two kernels, and in rows whose width is no multiple of 4, which PyTorch reads value by value. By count; the
    times are measured by ``scripts/prove_on_gpu.py``.
    """
    trains = torch.is_grad_enabled() and (x.requires_grad or (weight is not None and weight.requires_grad))
    return adds or trains or x.shape[-1] % 4 != 0


def fused(
    x: Tensor, residual: Tensor | None, shift: Tensor | None, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """Run the kernel; see ``add_layer_norm``. Without an addition the second result is ``x`` itself.

    Raises:
        ValueError: shapes do not fit, or rows are empty or longer than ``MOST``.
    """
    width = x.shape[-1]
    if not 0 < width <= MOST:
        raise ValueError(f"rows of {width} values: the kernel of layer norm takes 1 to {MOST}")
    if residual is not None and residual.shape != x.shape:
        raise ValueError(f"residual {tuple(residual.shape)} is not of the shape {tuple(x.shape)} of x")
    for name, vector in (("shift", shift), ("weight", weight), ("bias", bias)):
        if vector is not None and vector.shape != (width,):
            raise ValueError(f"{name} {tuple(vector.shape)} is not of the width ({width},) of x")
    dtype = x.dtype if residual is None else torch.promote_types(x.dtype, residual.dtype)
    out_dtype = torch.float32 if torch.is_autocast_enabled(x.device.type) else dtype
    rows = x.reshape(-1, width)
    others = None if residual is None else residual.reshape(-1, width)
    out, total, _, _ = add_layer_norm_op(rows, others, shift, weight, bias, eps, dtype, out_dtype)
    added = residual is not None or shift is not None
    return out.view(x.shape), total.view(x.shape) if added else x


@functools.cache
def _programs(device: torch.device) -> int:
    from lab.ops.kernels.layer_norm import PROGRAMS

    if device.type != "cuda":
        return PROGRAMS
    return PROGRAMS * torch.cuda.get_device_properties(device).multi_processor_count


@custom_op("lab::add_layer_norm", mutates_args=())
def add_layer_norm_op(
    x: Tensor,
    residual: Tensor | None,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    total_dtype: torch.dtype,
    out_dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return norm (M, N), total (M, N), which is (0, N) if nothing is added, means (M,) and 1 / deviations (M,)."""
    from lab.ops.kernels.layer_norm import normalize

    out, total, means, scales = _results(x, residual, shift, weight, bias, eps, total_dtype, out_dtype)
    if len(x):
        inputs = [None if part is None else part.contiguous() for part in (residual, shift, weight, bias)]
        normalize(x.contiguous(), inputs, eps, total if len(total) else x, out, means, scales)
    return out, total, means, scales


@add_layer_norm_op.register_fake
def _results(
    x: Tensor,
    residual: Tensor | None,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    total_dtype: torch.dtype,
    out_dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    added = residual is not None or shift is not None
    out = torch.empty(x.shape, dtype=out_dtype, device=x.device)
    total = torch.empty(x.shape if added else (0, x.shape[1]), dtype=total_dtype, device=x.device)
    means, scales = (torch.empty(x.shape[:1], dtype=torch.float32, device=x.device) for _ in range(2))
    return out, total, means, scales


@custom_op("lab::layer_norm_backward", mutates_args=())
def layer_norm_backward_op(
    total: Tensor,
    grad: Tensor,
    grad_total: Tensor | None,
    weight: Tensor | None,
    means: Tensor,
    scales: Tensor,
    has_bias: bool,
    has_shift: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of total (M, N), and of weight, bias and shift, (N,) float32 each, (0,) if there is none."""
    from lab.ops.kernels.layer_norm import differentiate

    num_rows, width = total.shape
    grad_x = torch.empty_like(total, memory_format=torch.contiguous_format)
    wanted = (weight is not None, has_bias, has_shift)
    programs = max(1, min(num_rows, _programs(total.device)))
    parts = [total.new_zeros((programs, width), dtype=torch.float32) if want else None for want in wanted]
    if num_rows:
        above = None if grad_total is None else grad_total.contiguous()
        scale = None if weight is None else weight.contiguous()
        differentiate(total.contiguous(), grad.contiguous(), above, scale, means, scales, grad_x, parts)
    sums = [total.new_empty(0, dtype=torch.float32) if part is None else part.sum(0) for part in parts]
    return grad_x, sums[0], sums[1], sums[2]


@layer_norm_backward_op.register_fake
def _gradients(
    total: Tensor,
    grad: Tensor,
    grad_total: Tensor | None,
    weight: Tensor | None,
    means: Tensor,
    scales: Tensor,
    has_bias: bool,
    has_shift: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    wanted = (weight is not None, has_bias, has_shift)
    vectors = [total.new_empty(total.shape[1] if want else 0, dtype=torch.float32) for want in wanted]
    return torch.empty(total.shape, dtype=total.dtype, device=total.device), vectors[0], vectors[1], vectors[2]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, residual, shift, weight, bias, *_ = inputs
    _, total, means, scales = output
    ctx.save_for_backward(x if residual is None and shift is None else total, weight, means, scales)
    ctx.dtypes = [None if part is None else part.dtype for part in (x, residual, shift, weight, bias)]
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor | None, grad_total: Tensor | None, *_: Tensor | None) -> tuple[Any, ...]:
    total, weight, means, scales = ctx.saved_tensors
    dtypes = ctx.dtypes
    if grad_total is not None and not len(grad_total):
        grad_total = None
    if grad is None:
        grad = torch.zeros_like(total)
    has_bias, has_shift = dtypes[4] is not None, dtypes[2] is not None
    grad_x, *vectors = layer_norm_backward_op(total, grad, grad_total, weight, means, scales, has_bias, has_shift)
    found = (grad_x, grad_x, vectors[2], vectors[0], vectors[1])
    cast = (None if dtype is None else value.to(dtype) for value, dtype in zip(found, dtypes, strict=True))
    return *cast, None, None, None


add_layer_norm_op.register_autograd(_backward, setup_context=_keep)


def _refuse(*_: Any) -> Any:
    raise RuntimeError("the kernel of layer norm has no vmap: it takes any number of rows, so call it on all at once")


add_layer_norm_op.register_vmap(_refuse)
layer_norm_backward_op.register_vmap(_refuse)
