"""Optimizers and schedules from plain settings; every schedule is counted in optimizer steps."""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lab.checkpoint.access import is_dtensor
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


class Adagrad(torch.optim.Optimizer):
    """Adagrad with the epsilon inside the root: ``v = momentum v - lr g / sqrt(sum g^2 + eps)``, ``p += v``.

    Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", JMLR 2011,
    as GRU4Rec's authors have it: of a table only the rows that a step has touched move, so that momentum does not carry
    the others on. Which rows those are a network says by an attribute of the table, ``touched`` (int64 row numbers,
    none twice); where it does not, they are the rows whose gradient is not zero.

    Two attributes are set on every parameter, for networks that can make use of them: ``row_updates``: of a table with
    ``touched`` just those rows of the gradient are read, and gradients are left as they are; ``private_gradients``: a
    network may give the rows' gradients as a list ``row_gradients`` of (rows, values) in the place of ``grad``.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        momentum: 0 for none.
        eps: added to the sum of squares.
        weight_decay: times the parameter, added to its gradient; of a table in the rows that move only.
        tables: the parameters of which single rows are looked up.
        private: nobody else reads or changes gradients: no other rank, no clipping, no gradient scaler.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 0.05,
        momentum: float = 0.0,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        tables: Iterable[Tensor] = (),
        private: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "eps": eps, "weight_decay": weight_decay})
        self._tables = {id(table) for table in tables}
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.row_updates, parameter.private_gradients, parameter.row_gradients = True, private, []

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.row_gradients = []
                if set_to_none:
                    parameter.grad = None
        if not set_to_none:
            super().zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Make one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            matrices: list[Any] = []
            parameter: Any
            for parameter in group["params"]:
                if not getattr(parameter, "row_gradients", None) and parameter.grad is None:
                    continue
                state = self.state[parameter]
                for key in ("sum", "momentum") if group["momentum"] else ("sum",):
                    if key not in state:
                        state[key] = torch.zeros_like(parameter)
                touched = getattr(parameter, "touched", None)
                if touched is not None and type(parameter) is nn.Parameter:
                    _adagrad_rows(parameter, *_rows_of(parameter, touched), state, group)
                    parameter.row_gradients = []  # type: ignore[attr-defined]
                elif id(parameter) in self._tables:
                    own = {key: _local(value) for key, value in state.items()}
                    _adagrad_table(_local(parameter), _local(parameter.grad), own, group)
                else:
                    matrices.append(parameter)
            if matrices:
                states = [{key: _local(value) for key, value in self.state[each].items()} for each in matrices]
                grads = [_local(each.grad) for each in matrices]
                _adagrad_matrices([_local(each) for each in matrices], grads, states, group)
        return loss


def _local(tensor: Tensor) -> Tensor:
    """Return what this rank holds of a tensor, to be read and written in place."""
    plain = type(tensor) in (Tensor, nn.Parameter) or not is_dtensor(tensor)
    return tensor if plain else tensor.to_local()  # type: ignore[attr-defined]


def _adagrad_matrices(
    parameters: list[Tensor], grads: list[Tensor], states: list[dict[str, Tensor]], group: Mapping[str, Any]
) -> None:
    if group["weight_decay"]:
        grads = list(torch._foreach_add(grads, parameters, alpha=group["weight_decay"]))
    sums = [state["sum"] for state in states]
    torch._foreach_addcmul_(sums, grads, grads)
    roots = torch._foreach_add(sums, group["eps"])
    torch._foreach_sqrt_(roots)
    if not group["momentum"]:
        torch._foreach_addcdiv_(parameters, grads, roots, -group["lr"])
        return
    momenta = [state["momentum"] for state in states]
    torch._foreach_mul_(momenta, group["momentum"])
    torch._foreach_addcdiv_(momenta, grads, roots, -group["lr"])
    torch._foreach_add_(parameters, momenta)


def _adagrad_table(parameter: Tensor, grad: Tensor, state: Mapping[str, Tensor], group: Mapping[str, Any]) -> None:
    """Move the rows that have a gradient, without asking which they are: nothing waits for a device."""
    moves = (grad != 0).any(dim=-1, keepdim=True)
    if group["weight_decay"]:
        grad = grad + parameter * group["weight_decay"] * moves
    change = grad / state["sum"].addcmul_(grad, grad).add(group["eps"]).sqrt_() * -group["lr"]
    if group["momentum"]:
        change.add_(state["momentum"], alpha=group["momentum"])
        state["momentum"].copy_(torch.where(moves, change, state["momentum"]))
    parameter.add_(change * moves)


def _rows_of(parameter: Any, touched: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient of a table's touched rows, and their numbers."""
    given = getattr(parameter, "row_gradients", [])
    if parameter.grad is None and len(given) == 1:
        rows, values = given[0]
        return values, rows
    grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    for rows, values in given:  # micro-batches
        grad = grad.index_add(0, rows, values)
    return grad.index_select(0, touched), touched


def _adagrad_rows(
    parameter: Tensor, grad: Tensor, rows: Tensor, state: Mapping[str, Tensor], group: Mapping[str, Any]
) -> None:
    if group["weight_decay"]:
        grad = grad.add(parameter.index_select(0, rows), alpha=group["weight_decay"])
    squares = state["sum"].index_select(0, rows).addcmul_(grad, grad)
    state["sum"].index_copy_(0, rows, squares)
    change = squares.add_(group["eps"]).rsqrt_().mul_(grad).mul_(-group["lr"])
    if group["momentum"]:
        change.add_(state["momentum"].index_select(0, rows), alpha=group["momentum"])
        state["momentum"].index_copy_(0, rows, change)
    parameter.index_add_(0, rows, change)


def make_optimizer(module: nn.Module, settings: Mapping[str, Any], private: bool = False) -> torch.optim.Optimizer:
    """Return AdamW, Adam, SGD or Adagrad over ``parameter_groups``.

    Args:
        module: whose parameters are trained.
        settings: the config's group ``optimizer``.
        private: nobody but the optimizer reads or changes gradients (see ``Adagrad``).
    """
    groups = parameter_groups(module, settings)
    each: Any
    for each in module.parameters():
        each.row_updates = each.private_gradients = False  # whatever an earlier optimizer said
    if settings["name"] == "adagrad":
        tables = [part.weight for part in module.modules() if isinstance(part, nn.Embedding)]
        return Adagrad(groups, settings["lr"], settings["momentum"], settings["eps"], tables=tables, private=private)
    if settings["name"] == "sgd":
        return torch.optim.SGD(
            groups, lr=settings["lr"], momentum=settings["momentum"], nesterov=settings["nesterov"], foreach=True
        )
    kind = torch.optim.AdamW if settings["name"] == "adamw" else torch.optim.Adam
    return kind(groups, lr=settings["lr"], betas=tuple(settings["betas"]), eps=settings["eps"], foreach=True)


def make_schedule(settings: Mapping[str, Any], max_steps: int) -> Callable[[int], float]:
    """Return the factor of the learning rate at each optimizer step (0 is the first).

    A linear warm-up multiplies the schedule: step s of ``warmup_steps`` w trains at ``(s + 1) / w`` of it. One that
    is longer than the training never reaches the peak; ``warmup_note`` says so.
    """
    warmup = settings["warmup_steps"]
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


def warmup_note(settings: Mapping[str, Any], max_steps: int, lr: float) -> str | None:
    """Return what a training that ends within its warm-up reaches, in words; None where it goes on after it.

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
    """Return ``lr`` of the first group and ``lr_1``, ``lr_2``, ... of those whose schedule peaks at another rate."""
    rates: dict[float, float] = {}
    for group in optimizer.param_groups:
        rates.setdefault(group.get("initial_lr", group["lr"]), group["lr"])
    return {f"lr_{i}" if i else "lr": rate for i, rate in enumerate(rates.values())}
