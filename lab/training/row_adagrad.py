"""Adagrad, of whose tables only the rows of a step move."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lab.checkpoint.access import is_dtensor
from lab.compat.torch import (
    foreach_add,
    foreach_add_,
    foreach_addcdiv_,
    foreach_addcmul_,
    foreach_mul_,
    foreach_sqrt_,
)


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
        grads = foreach_add(grads, parameters, alpha=group["weight_decay"])
    sums = [state["sum"] for state in states]
    foreach_addcmul_(sums, grads, grads)
    roots = foreach_add(sums, group["eps"])
    foreach_sqrt_(roots)
    if not group["momentum"]:
        foreach_addcdiv_(parameters, grads, roots, -group["lr"])
        return
    momenta = [state["momentum"] for state in states]
    foreach_mul_(momenta, group["momentum"])
    foreach_addcdiv_(momenta, grads, roots, -group["lr"])
    foreach_add_(parameters, momenta)


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
