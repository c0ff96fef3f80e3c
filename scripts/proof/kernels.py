"""Part 5: lab's kernels: their time, and their throughput as a share of the device's bandwidth.

There are none for GPUs yet; a new one needs a line in ``KERNELS``. PyTorch's own layer norm, forward and with backward,
is measured as the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from proof import clock
from proof.runner import Proof
from torch.nn import functional as F

Made = tuple[Callable[[], Any], int]
"""A call, and the least number of bytes that it must read and write."""


def layer_norm(rows: int, width: int, dtype: torch.dtype, device: torch.device, train: bool) -> Made:
    """PyTorch's layer norm of (rows, width), forward only or with backward."""
    x = torch.randn(rows, width, device=device, dtype=dtype, requires_grad=train)
    weight, bias = (torch.randn(width, device=device, dtype=dtype, requires_grad=train) for _ in range(2))
    grad = torch.randn(rows, width, device=device, dtype=dtype)

    def call() -> None:
        out = F.layer_norm(x, (width,), weight, bias)
        if train:
            x.grad = weight.grad = bias.grad = None
            out.backward(grad)

    return call, x.nbytes * (5 if train else 2)  # forward: x, out; backward: x, grad, grad of x


KERNELS: dict[str, Callable[[int, int, torch.dtype, torch.device, bool], Made]] = {"torch's layer norm": layer_norm}


def run(proof: Proof) -> None:
    """Measure the bandwidth, then each kernel at BERT's and at a wide shape."""
    device = torch.device(proof.device)
    megabytes = 8 if proof.tiny else 1024
    source = torch.empty(megabytes << 18, device=device)
    target = torch.empty_like(source)
    seconds = clock.seconds_of({"copy": lambda: target.copy_(source)}, device, 3 if proof.tiny else 20)["copy"]
    bandwidth = 2 * source.nbytes / seconds
    proof.say("bandwidth", gb_per_s=bandwidth / 1e9, megabytes=megabytes)
    shapes = [(256, 768)] if proof.tiny else [(16384, 768), (16384, 4096)]
    for name, make in KERNELS.items():
        for rows, width in shapes:
            for dtype in (torch.float32, torch.bfloat16):
                for train in (False, True):
                    kind = f"{name}, {rows}x{width}, {str(dtype).removeprefix('torch.')}"
                    call, size = make(rows, width, dtype, device, train)
                    work = partial(_time, call, size / bandwidth, device, 3 if proof.tiny else 50)
                    proof.item(kind + (", with backward" if train else ""), work)


def _time(call: Callable[[], Any], least: float, device: torch.device, runs: int, found: dict[str, Any]) -> None:
    """Time a call whose bytes take ``least`` seconds at the device's bandwidth."""
    taken = clock.seconds_of({"call": call}, device, runs, warm=3)["call"]
    found.update(microseconds=1e6 * taken, share_of_bandwidth=least / taken)
