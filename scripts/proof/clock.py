"""Measures time, memory, operations and host synchronisations of a call on a device."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

PEAKS = {
    "H100 PCIe": {"bf16": 756e12, "fp32": 51e12},
    "H100": {"bf16": 989e12, "fp32": 67e12},
    "H200": {"bf16": 989e12, "fp32": 67e12},
    "A100": {"bf16": 312e12, "fp32": 19.5e12},
}
"""Dense operations per second from the manufacturers' data sheets; fp32 without TF32."""


def peak_of(device_name: str, precision: str) -> float | None:
    """Return the device's peak in operations per second; None if it is not known."""
    kind = "bf16" if precision == "bf16-mixed" else "fp32"
    return next(
        (peaks[kind] for name, peaks in PEAKS.items() if all(part in device_name for part in name.split())), None
    )


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(calls: dict[str, Callable[[], Any]], device: torch.device, runs: int, warm: int = 2) -> dict[str, float]:
    """Return the median seconds of each call; calls take turns, in another order each round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(warm):
            call()
    for number in range(runs):
        for name in list(calls) if number % 2 else list(calls)[::-1]:
            synchronize(device)
            start = time.perf_counter()
            calls[name]()
            synchronize(device)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def operations_of(call: Callable[[], Any]) -> int:
    """Return the floating-point operations of a call, a multiplication and an addition counted as two."""
    from benchmarks.counting import FORMULAS
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
        call()
    return int(counter.get_total_flops())


def peak_gib_of(call: Callable[[], Any], model: nn.Module, optimizer: torch.optim.Optimizer | None) -> float | None:
    """Return the peak device memory of the model, its optimizer states and the call; None on a CPU."""
    parameter = next(model.parameters())
    if not parameter.is_cuda:
        return None
    held = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    for states in (optimizer.state if optimizer else {}).values():
        held += sum(value.nbytes for value in states.values() if isinstance(value, torch.Tensor) and value.is_cuda)
    model.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return round((torch.cuda.max_memory_allocated() - before + held) / 2**30, 3)


def waits_of(call: Callable[[], Any], device: torch.device) -> dict[str, Any]:
    """Return how often the host waits for the device in a call, and the first place; empty on a CPU."""
    if device.type != "cuda":
        return {}
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found = [warning for warning in caught if "synchronizing" in str(warning.message)]
    places = [f"{warning.filename.rpartition('/')[2]}:{warning.lineno}" for warning in found]
    return {"host_waits": len(found), "host_waits_at": list(dict.fromkeys(places))[:8]}


def graphed(step: Callable[[], Any]) -> Callable[[], None]:
    """Capture a step as a CUDA graph and return its replay; the step must not wait for the device."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay
