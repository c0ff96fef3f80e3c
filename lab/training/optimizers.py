"""Optimizers and schedules from plain settings. Schedules count optimizer steps."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lab.checkpoint.access import is_dtensor
from lab.compat.torch import foreach_mul_, in_one_pass
from lab.errors import ConfigError
from lab.layers.row_table import RowTable, TableRows
from lab.training.bert_adam import BertAdam
from lab.training.lamb import Lamb
from lab.training.layer_decay import layer_scales, norm_parameters
from lab.training.row_adagrad import Adagrad

_OURS: dict[str, Callable[..., torch.optim.Optimizer]] = {"bert": BertAdam, "lamb": Lamb}


class DecayLast(torch.optim.Adam):
    """Adam after whose step each weight loses ``lr * decay`` of itself, as MixMatch's authors train.

    AdamW does so before its step. A parameter without a gradient stays as it is. Groups have ``decay`` of their own.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Make one step."""
        loss = super().step(closure)
        for group in self.param_groups:
            weights = [parameter for parameter in group["params"] if parameter.grad is not None]
            if weights and group["decay"]:
                foreach_mul_(weights, 1 - group["lr"] * group["decay"])
        return loss


def parameter_groups(module: nn.Module, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Sort the trainable parameters into groups of equal learning rate and weight decay.

    Args:
        module: the module to train.
        settings: ``lr``, ``weight_decay``, ``no_decay_norm_bias``, ``groups`` (``pattern``, ``lr``, ``weight_decay``)
            and ``layer_decay`` (1 if it is missing). The first pattern found in a parameter's name wins; an option that
            a group does not set keeps its general value. ``layer_decay`` then multiplies each rate by the scale of its
            layer (``lab.training.layer_decay``); the groups are in descending order of their rates.

    Raises:
        ConfigError: a pattern matches no parameter, or is not a regular expression; or rates shall decay along the
            layers of a network that names none.
    """
    patterns = [_compile(group["pattern"]) for group in settings["groups"]]
    norms = norm_parameters(module)
    decay_of_layers = settings.get("layer_decay", 1.0)
    scales = layer_scales(module, decay_of_layers) if decay_of_layers != 1 else {}
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
        rate *= scales.get(id(parameter), 1.0)
        if parameter.requires_grad:
            found.setdefault((rate, decay), []).append(parameter)
    for number, group in enumerate(settings["groups"]):
        if number not in used:
            raise ConfigError(f"optimizer.groups.{number}.pattern={group['pattern']}: no parameter has such a name")
    groups = [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in found.items()]
    return sorted(groups, key=lambda group: -group["lr"]) if scales else groups


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"optimizer.groups: pattern {pattern!r} is not a regular expression: {error}") from None


def make_optimizer(module: nn.Module, settings: Mapping[str, Any], private: bool = False) -> torch.optim.Optimizer:
    """Return AdamW, Adam, SGD, Adagrad, BERT's Adam or LAMB over ``parameter_groups``.

    Args:
        module: the module to train.
        settings: the config's group ``optimizer``.
        private: only the optimizer reads and changes gradients (see ``Adagrad``).
    """
    groups = parameter_groups(module, settings)
    row_tables = [part for part in module.modules() if isinstance(part, RowTable)]
    for table in row_tables:
        table.rows.release()  # undo the request of an earlier optimizer
    if settings["name"] == "adagrad":
        tables = [part.weight for part in module.modules() if isinstance(part, nn.Embedding)]
        rows: dict[Tensor, TableRows] = {
            table.weight: table.rows for table in row_tables if type(table.weight) is nn.Parameter
        }
        return Adagrad(
            groups, settings["lr"], settings["momentum"], settings["eps"], tables=tables, rows=rows, private=private
        )
    if settings["name"] == "sgd":
        numbers = {key: settings[key] for key in ("lr", "momentum", "nesterov")}
        return _fast(torch.optim.SGD, groups, **numbers)
    if settings["name"] in _OURS:
        numbers = {"lr": settings["lr"], "betas": tuple(settings["betas"]), "eps": settings["eps"]}
        adapt = {"adapt_all": settings["adapt_all"]} if settings["name"] == "lamb" else {}
        return _OURS[settings["name"]](groups, **numbers, **adapt)
    kind: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW if settings["name"] == "adamw" else torch.optim.Adam
    if settings.get("decay_last"):
        kind, groups = DecayLast, [{**group, "weight_decay": 0.0, "decay": group["weight_decay"]} for group in groups]
    return _fast(kind, groups, lr=settings["lr"], betas=tuple(settings["betas"]), eps=settings["eps"])


def _fast(
    kind: Callable[..., torch.optim.Optimizer], groups: Sequence[Mapping[str, Any]], **settings: Any
) -> torch.optim.Optimizer:
    """Return one of torch's optimizers that steps in one pass over the parameters, or elsewhere operation by operation.

    In one pass on a CPU AdamW takes a fifth of the time and SGD a third. Where AdamW's parameters are DTensors a first
    step takes a second less, since each operation is planned anew; torch has no such SGD for them. On a GPU, where less
    is gained, the gradients of ``16-mixed`` could not be clipped.
    """
    trained = [parameter for group in groups for parameter in group["params"]]
    is_sgd = kind is torch.optim.SGD
    if all(parameter.device.type == "cpu" and not (is_sgd and is_dtensor(parameter)) for parameter in trained):
        return in_one_pass(kind(groups, **settings, fused=True))
    return kind(groups, **settings, foreach=True)
