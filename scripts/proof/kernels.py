"""Part 5: lab's kernels: their time, and their throughput as a share of the device's bandwidth.

The layer norm, and the addition before it, beside PyTorch's own operators and what ``torch.compile`` makes of them. A
new kernel needs a line in ``KERNELS``. On a CPU, where the kernel does not run, PyTorch's operators stand in for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from proof import clock
from proof.runner import Proof
from torch import Tensor
from torch.nn import functional as F

from lab.ops.layer_norm import fused

Made = tuple[Callable[[], Any], int]
"""A call, and the least number of bytes that it must read and write."""


def norm(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """PyTorch's layer norm alone."""
    return F.layer_norm(x, x.shape[-1:], weight, bias)


def add_norm(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """PyTorch's addition and layer norm."""
    total = x + residual
    return F.layer_norm(total, x.shape[-1:], weight, bias), total


def lab_norm(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Our layer norm alone."""
    return fused(x, None, None, weight, bias, 1e-5)[0] if x.is_cuda else norm(x, residual, weight, bias)


def lab_add_norm(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Our addition and layer norm."""
    return fused(x, residual, None, weight, bias, 1e-5) if x.is_cuda else add_norm(x, residual, weight, bias)


def call_of(
    function: Callable[..., Any],
    added: bool,
    rows: int,
    width: int,
    dtype: torch.dtype,
    device: torch.device,
    train: bool,
) -> Made:
    """Return a call on (rows, width), forward only or with backward, and the bytes that a perfect kernel moves."""
    x, residual = (torch.randn(rows, width, device=device, dtype=dtype, requires_grad=train) for _ in range(2))
    weight, bias = (torch.randn(width, device=device, dtype=dtype, requires_grad=train) for _ in range(2))
    grad, grad_total = (torch.randn(rows, width, device=device, dtype=dtype) for _ in range(2))

    def call() -> None:
        found = function(x, residual, weight, bias)
        if train:
            x.grad = residual.grad = weight.grad = bias.grad = None
            torch.autograd.backward(found, (grad, grad_total) if added else grad)

    forward, backward = (
        (4, 4) if added else (2, 3)
    )  # read and written: x, residual, total, out; total, grads, grad of x
    return call, x.nbytes * (forward + (backward if train else 0))


KERNELS: dict[str, tuple[Callable[..., Any], Callable[..., Any], bool]] = {
    "layer norm": (lab_norm, norm, False),
    "addition and layer norm": (lab_add_norm, add_norm, True),
}
"""Ours, PyTorch's, and whether it adds first."""


def run(proof: Proof) -> None:
    """Measure the bandwidth, then each kernel at the widths of BERT and ViT, at a wide one and at an odd one."""
    device = torch.device(proof.device)
    megabytes = 8 if proof.tiny else 1024
    source = torch.empty(megabytes << 18, device=device)
    target = torch.empty_like(source)
    seconds = clock.seconds_of({"copy": lambda: target.copy_(source)}, device, 3 if proof.tiny else 20)["copy"]
    bandwidth = 2 * source.nbytes / seconds
    proof.say("bandwidth", gb_per_s=bandwidth / 1e9, megabytes=megabytes)
    shapes = [(256, 768)] if proof.tiny else [(16384, 768), (16384, 1024), (16384, 4096), (4096, 14336), (16384, 767)]
    for name in KERNELS:
        for rows, width in shapes:
            for dtype in (torch.float32, torch.bfloat16):
                for train in (False, True):
                    kind = f"{name}, {rows}x{width}, {str(dtype).removeprefix('torch.')}"
                    work = partial(_time, name, (rows, width, dtype, device, train), bandwidth, 3 if proof.tiny else 50)
                    proof.item(kind + (", with backward" if train else ""), work)


def _time(name: str, where: tuple[Any, ...], bandwidth: float, runs: int, found: dict[str, Any]) -> None:
    """Time ours, PyTorch's and the compiled one in turns; check ours against float64."""
    ours, torchs, added = KERNELS[name]
    _, width, dtype, device, _ = where
    functions = {"ours": ours, "torch": torchs}
    if device.type == "cuda":
        functions["compiled"] = torch.compile(torchs)
    made = {key: call_of(function, added, *where) for key, function in functions.items()}
    taken = clock.seconds_of({key: call for key, (call, _) in made.items()}, device, runs, warm=3)
    found.update({f"{key}_microseconds": 1e6 * seconds for key, seconds in taken.items()})
    found["share_of_bandwidth"] = made["ours"][1] / bandwidth / taken["ours"]
    found["times_as_fast_as_torch"] = taken["torch"] / taken["ours"]
    given = [torch.randn(size, device=device, dtype=dtype) for size in ((64, width), (64, width), (width,), (width,))]
    out, true = (function(*values) for function, values in ((ours, given), (torchs, [v.double() for v in given])))
    if added:
        out, true = out[0], true[0]
    error = float((out.double() - true).abs().max())
    found["worst_difference"] = error
    limit = 1e-5 if dtype == torch.float32 else 0.1  # bfloat16: half a unit in the last place of values of up to 16
    assert error < limit, f"{error:.1e} off"
