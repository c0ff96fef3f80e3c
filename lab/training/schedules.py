"""Schedules of the learning rate, and the current rates of an optimizer."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch


def make_schedule(settings: Mapping[str, Any], max_steps: int) -> Callable[[int], float]:
    """Return the factor of the learning rate at each optimizer step (0 is the first).

    A linear warm-up multiplies the schedule: at step s of w ``warmup_steps`` the factor is ``(s + 1) / w``. A warm-up
    longer than the training never reaches the peak; ``warmup_note`` says so.

    ``cosine`` begins when the warm-up ends. With ``stairs`` it begins at step 0 and falls at the beginning of each of
    so many equal parts of the training, and with ``warmup_from`` r the warm-up's factor is ``r + (1 - r) s / w``: that
    is how MMDetection's trainings of so many epochs go.

    ``bert`` is that of google-research/bert (optimization.py): it falls linearly from step 0 to 0 at ``max_steps``, and
    during the warm-up ``s / w`` stands in its place. So the first step has rate 0, and after the warm-up the rate jumps
    down to ``1 - w / max_steps``. Without ``jump`` it falls from the peak at the end of the warm-up, as transformers'.
    """
    warmup = settings["warmup_steps"]
    kind = settings["name"]
    if kind == "bert":
        begin = 0 if settings["jump"] else warmup
        return lambda step: step / warmup if step < warmup else max(0.0, (max_steps - step) / max(1, max_steps - begin))
    span = max(1, max_steps - warmup)
    stairs, least = settings.get("stairs", 0), settings.get("warmup_from", 0.0)
    power = settings.get("warmup_power", 1.0)

    def after_warmup(step: int) -> float:
        share = min(1.0, max(0.0, (step - warmup) / span))
        if stairs:
            share = min(1.0, step * stairs // max(1, max_steps) / stairs)
        if kind == "cosine":
            low = settings["min_factor"]
            return float(low + (1 - low) * 0.5 * (1 + math.cos(math.pi * share)))
        if kind == "poly":
            low = settings["min_factor"]
            return float(low + (1 - low) * (1 - share) ** settings["power"])
        if kind == "step":
            return float(settings["gamma"] ** (step // settings["step_size"]))
        if kind == "multistep":
            return float(settings["gamma"] ** bisect.bisect_right(sorted(settings["milestones"]), step))
        return 1.0

    def of_warmup(step: int) -> float:
        if step >= warmup:
            return 1.0
        return float(least + (1 - least) * step / warmup if least else ((step + 1) / warmup) ** power)

    return lambda step: after_warmup(step) * of_warmup(step)


def warmup_note(settings: Mapping[str, Any], max_steps: int, lr: float) -> str | None:
    """Return a note on the learning rate reached by a training that ends within its warm-up; None for a longer one.

    Args:
        settings: the config's group ``scheduler``.
        max_steps: where the training stops.
        lr: the peak learning rate.
    """
    warmup = settings["warmup_steps"]
    if warmup < max_steps or not warmup:
        return None
    factor = make_schedule(settings, max_steps)
    reached = max(factor(step) for step in range(max_steps))
    if reached == 1:
        return f"scheduler.warmup_steps={warmup}: the learning rate reaches its peak {lr:g} at the last step only"
    return (
        f"scheduler.warmup_steps={warmup} is longer than the training ({max_steps} "
        f"step{'s' if max_steps > 1 else ''}): the learning rate does not reach its peak {lr:g}; it reaches "
        f"{reached * lr:.3g} ({reached:.0%})"
    )


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return ``lr`` of the first group, and ``lr_1``, ``lr_2``, ... of the groups with another peak rate."""
    rates: dict[float, float] = {}
    for group in optimizer.param_groups:
        rates.setdefault(group.get("initial_lr", group["lr"]), group["lr"])
    return {f"lr_{i}" if i else "lr": rate for i, rate in enumerate(rates.values())}
