"""Part 2: training steps against the peer: samples per second, memory, share of peak FLOPS, host synchronisations.

A step is forward, loss, backward, clipping and AdamW (fused), with dropout as published; for recommenders it is the
step of the benchmark, including data and optimizer. First every architecture runs in bf16-mixed and fp32, then with
torch.compile, then the recommenders with CUDA graphs.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from benchmarks.pairs import Pair, Size, Subject, step_of
from benchmarks.registry import SUBJECTS
from proof import clock
from proof.runner import Proof
from torch import Tensor, nn

PRECISIONS = ("bf16-mixed", "fp32")


def run(proof: Proof) -> None:
    """Measure as many items as the time allows."""
    device = torch.device(proof.device)
    plain = [(key, precision, False) for precision in PRECISIONS for key in SUBJECTS]
    for key, precision, compiled in [*plain, *((key, PRECISIONS[0], True) for key in SUBJECTS)]:
        subject = SUBJECTS[key]
        own = subject.steps is not None
        if subject.train is None or (own and (compiled or precision != "fp32")):
            continue
        if proof.tiny and (compiled or precision != "fp32" or (subject.smoke is None and not own)):
            continue
        name = subject.smoke if proof.tiny and subject.smoke else subject.names[0]
        what = f"{name}, {precision}" + (", compiled" if compiled else "")
        needs = 1 if proof.tiny else 40 if compiled else 8
        proof.item(what, partial(_time, subject, name, device, precision, compiled, proof.tiny), needs)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    for key in ("sasrec", "gru4rec"):
        proof.item(f"{key}, as a CUDA graph", partial(_graph, SUBJECTS[key], device), 0 if proof.tiny else 5)


def _time(
    subject: Subject,
    name: str,
    device: torch.device,
    precision: str,
    compiled: bool,
    tiny: bool,
    found: dict[str, Any],
) -> None:
    assert subject.train is not None
    batch, size = subject.small if tiny else subject.train
    found.update(batch=batch, size=list(size))
    runs = 1 if tiny else 10
    if subject.steps is not None:
        _own_steps(subject, batch, size, device, found, runs)
    else:
        pair = subject.make(name, batch, size, device, training=True, dropout=True)
        _measure(pair, device, precision, compiled, found, runs)


def _own_steps(
    subject: Subject, batch: int, size: Size, device: torch.device, found: dict[str, Any], runs: int
) -> None:
    assert subject.steps is not None
    ours, peer, found["difference"] = subject.steps(batch, size, device)
    times = clock.seconds_of({"ours": ours, "peer": peer}, device, runs)
    steps = subject.steps_per_call
    found["samples_per_s"] = batch * steps / times["ours"]
    found["samples_per_s_of_peer"] = batch * steps / times["peer"]
    found["ratio"] = times["peer"] / times["ours"]
    found.update(clock.waits_of(ours, device))
    if "host_waits" in found:
        found["host_waits"] /= steps


def _measure(
    pair: Pair, device: torch.device, precision: str, compiled: bool, found: dict[str, Any], runs: int
) -> None:
    assert pair.loss is not None
    made = {"ours": (pair.ours, pair.loss)}
    if pair.peer is not None and pair.peer_loss is not None:
        made["peer"] = (pair.peer, pair.peer_loss)
    loss = _under(precision, device, pair.loss)
    found["tflop_per_step"] = clock.operations_of(step_of(pair.ours, loss)) / 1e12
    calls, optimizers = {}, {}
    for who, (model, own_loss) in made.items():
        if compiled:
            model.compile()
        optimizers[who] = _optimizer(model, device)
        calls[who] = _step(model, _under(precision, device, own_loss), optimizers[who])
    times = clock.seconds_of(calls, device, runs, warm=3 if device.type == "cuda" else 1)
    found["samples_per_s"] = pair.samples / times["ours"]
    found["ms_per_step"] = 1e3 * times["ours"]
    peak = clock.peak_of(torch.cuda.get_device_name(device), precision) if device.type == "cuda" else None
    if peak is not None:
        found["peak_tflops"] = peak / 1e12
        found["share_of_peak"] = found["tflop_per_step"] * 1e12 / times["ours"] / peak
    found["memory_gib"] = clock.peak_gib_of(calls["ours"], pair.ours, optimizers["ours"])
    found.update(clock.waits_of(calls["ours"], device))
    if "peer" in times:
        found["samples_per_s_of_peer"] = pair.samples / times["peer"]
        found["ratio"] = times["peer"] / times["ours"]
        found["memory_gib_of_peer"] = clock.peak_gib_of(calls["peer"], made["peer"][0], optimizers["peer"])


def _under(precision: str, device: torch.device, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    def call() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            return loss()

    return call


def _optimizer(model: nn.Module, device: torch.device) -> torch.optim.AdamW:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=1e-6, fused=device.type == "cuda")


def _step(model: nn.Module, loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> Callable[[], Tensor]:
    learn = step_of(model, loss)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def step() -> Tensor:
        value = learn()
        nn.utils.clip_grad_norm_(trained, 0.1)
        optimizer.step()
        return value

    return step


def _graph(subject: Subject, device: torch.device, found: dict[str, Any]) -> None:
    if device.type != "cuda":
        found["not_run"] = "needs CUDA"
        return
    pair = subject.make(subject.names[0], *(subject.train or subject.small), device, training=True)
    assert pair.loss is not None
    loss, trained = pair.loss, [parameter for parameter in pair.ours.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-6, capturable=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    eager = clock.seconds_of({"eager": step}, device, 20, warm=5)["eager"]
    replayed = clock.seconds_of({"graph": clock.graphed(step)}, device, 20, warm=5)["graph"]
    found.update(ms_eager=1e3 * eager, ms_graph=1e3 * replayed, ratio=eager / replayed)
