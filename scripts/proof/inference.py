"""Part 3: inference: latency against the peer, with and without torch.compile; ranking among a million items."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from benchmarks.pairs import Pair, Size, Subject
from benchmarks.registry import SUBJECTS
from proof import clock
from proof.runner import Proof
from torch import Tensor

from lab.tasks.recommendation.ranks import rank_targets


def run(proof: Proof) -> None:
    """Measure as many items as the time allows."""
    device = torch.device(proof.device)
    for subject in SUBJECTS.values():
        if proof.tiny:
            if subject.smoke is not None and subject.serve:
                work = partial(_serve, subject, subject.smoke, 1, subject.small[1], device, 1)
                proof.item(f"{subject.smoke}, batch 1", work, 1)
            continue
        for batch, size in subject.serve:
            what, name = f"{subject.names[0]}, batch {batch}", subject.names[0]
            proof.item(what, partial(_serve, subject, name, batch, size, device, 20), 5)
            proof.item(f"{what}, compiled", partial(_serve_compiled, subject, name, batch, size, device), 40)
    items, queries = (10_000, 64) if proof.tiny else (1_000_000, 4096)
    proof.item("ranking among all items", partial(_rank, items, queries, device), 1)


def _serve(
    subject: Subject, name: str, batch: int, size: Size, device: torch.device, runs: int, found: dict[str, Any]
) -> None:
    calls = _calls(subject.make(name, batch, size, device), device)
    times = clock.seconds_of(calls, device, runs, warm=min(runs, 5))
    found.update(size=list(size), ms={who: 1e3 * seconds for who, seconds in times.items()})
    found["samples_per_s"] = batch / times["ours, bf16"]
    found.update(clock.waits_of(calls["ours, bf16"], device))


def _serve_compiled(
    subject: Subject, name: str, batch: int, size: Size, device: torch.device, found: dict[str, Any]
) -> None:
    pair = subject.make(name, batch, size, device)
    for model in (pair.ours, pair.peer):
        if model is not None:
            model.compile()
    calls = {who: call for who, call in _calls(pair, device).items() if who.endswith("bf16")}
    times = clock.seconds_of(calls, device, 20, warm=5)
    found.update(size=list(size), ms={who: 1e3 * seconds for who, seconds in times.items()})


def _calls(pair: Pair, device: torch.device) -> dict[str, Callable[[], Tensor]]:
    calls = {}
    for who, outputs in (("ours", pair.outputs), ("peer", pair.peer_outputs)):
        if outputs is not None:
            calls[f"{who}, bf16"] = _inference(outputs, device, True)
            calls[f"{who}, fp32"] = _inference(outputs, device, False)
    return calls


def _inference(outputs: Callable[[], Tensor], device: torch.device, rounded: bool) -> Callable[[], Tensor]:
    def call() -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=rounded):
            return outputs()

    return call


def _rank(num_items: int, num_queries: int, device: torch.device, found: dict[str, Any], dim: int = 64) -> None:
    """Rank each query's target among all items, with the best 20."""
    items, states = torch.randn(num_items, dim, device=device), torch.randn(num_queries, dim, device=device)
    targets = torch.randint(1, num_items + 1, (num_queries,), device=device)

    def score(rows: slice | Tensor, part: slice) -> Tensor:
        return states[rows] @ items[part.start - 1 : part.stop - 1].T

    def rank() -> None:
        rank_targets(score, targets, num_items, top=20)

    seconds = clock.seconds_of({"rank": rank}, device, 3, warm=1)["rank"]
    found.update(items=num_items, queries=num_queries, queries_per_s=num_queries / seconds)
