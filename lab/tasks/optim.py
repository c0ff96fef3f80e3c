"""Optimizers and schedules from plain settings; every schedule is counted in optimizer steps."""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from lab.errors import ConfigError

_NORMS = (
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
)


def parameter_groups(module: nn.Module, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Sort the trainable parameters into groups of equal learning rate and weight decay.

    Args:
        module: whose parameters are trained.
        settings: ``lr``, ``weight_decay``, ``no_decay_norm_bias`` and ``groups`` (``pattern``, ``lr``,
            ``weight_decay``: the first pattern found in a parameter's name wins; what it leaves out is as without it).

    Raises:
        ConfigError: a pattern matches no parameter, or is no regular expression.
    """
    patterns = [_compile(group["pattern"]) for group in settings["groups"]]
    norms = {id(p) for part in module.modules() if isinstance(part, _NORMS) for p in part.parameters(recurse=False)}
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    used = set()
    for name, parameter in module.named_parameters():
        rate, decay = settings["lr"], settings["weight_decay"]
        number = next((i for i, pattern in enumerate(patterns) if pattern.search(name)), None)
        if number is not None:
            used.add(number)
            group = settings["groups"][number]
            rate = rate if group.get("lr") is None else group["lr"]
            decay = decay if group.get("weight_decay") is None else group["weight_decay"]
        if settings["no_decay_norm_bias"] and (id(parameter) in norms or name.endswith("bias")):
            decay = 0.0
        if parameter.requires_grad:
            found.setdefault((rate, decay), []).append(parameter)
    for number, group in enumerate(settings["groups"]):
        if number not in used:
            raise ConfigError(f"optimizer.groups.{number}.pattern={group['pattern']}: no parameter has such a name")
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in found.items()]


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"optimizer.groups: pattern {pattern!r} is no regular expression: {error}") from None


def make_optimizer(module: nn.Module, settings: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Return AdamW, Adam or SGD over ``parameter_groups``."""
    groups = parameter_groups(module, settings)
    if settings["name"] == "sgd":
        return torch.optim.SGD(
            groups, lr=settings["lr"], momentum=settings["momentum"], nesterov=settings["nesterov"], foreach=True
        )
    kind = torch.optim.AdamW if settings["name"] == "adamw" else torch.optim.Adam
    return kind(groups, lr=settings["lr"], betas=tuple(settings["betas"]), eps=settings["eps"], foreach=True)


def make_schedule(settings: Mapping[str, Any], max_steps: int) -> Callable[[int], float]:
    """Return the factor of the learning rate at each optimizer step (0 is the first).

    A linear warm-up multiplies the schedule: step s of ``warmup_steps`` w trains at ``(s + 1) / w`` of it.
    """
    warmup = settings["warmup_steps"]
    if warmup >= max_steps > 1 and warmup:
        raise ConfigError(f"scheduler.warmup_steps={warmup} must be below the {max_steps} steps of the training")
    kind = settings["name"]
    span = max(1, max_steps - warmup)

    def after_warmup(step: int) -> float:
        share = min(1.0, max(0.0, (step - warmup) / span))
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

    return lambda step: after_warmup(step) * (min(1.0, (step + 1) / warmup) if warmup else 1.0)


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return ``lr`` of the first group and ``lr_1``, ``lr_2``, ... of those whose schedule peaks at another rate."""
    rates: dict[float, float] = {}
    for group in optimizer.param_groups:
        rates.setdefault(group.get("initial_lr", group["lr"]), group["lr"])
    return {f"lr_{i}" if i else "lr": rate for i, rate in enumerate(rates.values())}
