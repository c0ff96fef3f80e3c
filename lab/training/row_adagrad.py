"""Adagrad that updates only those rows of an embedding table that a step has used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lab.checkpoint.access import local_part
from lab.compat.torch import (
    foreach_add,
    foreach_add_,
    foreach_addcdiv_,
    foreach_addcmul_,
    foreach_mul_,
    foreach_sqrt_,
)
from lab.layers.row_table import TableRows


class Adagrad(torch.optim.Optimizer):
    """Adagrad with the epsilon inside the root: ``v = momentum v - lr g / sqrt(sum g^2 + eps)``, ``p += v``.

    Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", JMLR 2011,
    in the variant of GRU4Rec's authors: a step updates only the rows of a table that it has used, so that momentum does
    not move the others. The ``TableRows`` of a table names these rows, and only they are read of its gradient. For a
    table without ``TableRows`` they are the rows with a nonzero gradient. Gradients are not changed.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        momentum: 0 for none.
        eps: added to the sum of squares.
        weight_decay: this factor times the parameter is added to its gradient; in a table only in the updated rows.
        tables: the parameters that are tables, of which single rows are looked up.
        rows: for the parameter of a ``RowTable``, the ``TableRows`` object that it shares with the table.
        private: nothing else reads or changes gradients: no other rank, no clipping, no gradient scaler.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 0.05,
        momentum: float = 0.0,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        tables: Iterable[Tensor] = (),
        rows: Mapping[Tensor, TableRows] | None = None,
        private: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "eps": eps, "weight_decay": weight_decay})
        self._tables = {id(table) for table in tables}
        self.rows = dict(rows or {})
        for weight, shared in self.rows.items():
            shared.serve(weight, private)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for shared in self.rows.values():
            shared.forget()
        if not set_to_none:
            super().zero_grad(set_to_none)
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Make one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            matrices: list[Any] = []
            for parameter in group["params"]:
                shared = self.rows.get(parameter)
                found = shared.gradient() if shared is not None else None
                if found is None and parameter.grad is None:
                    continue
                state = self.state[parameter]
                for key in ("sum", "momentum") if group["momentum"] else ("sum",):
                    if key not in state:
                        state[key] = torch.zeros_like(parameter)
                if shared is not None and found is not None:
                    _adagrad_rows(parameter, *found, state, group)
                    shared.forget()
                elif id(parameter) in self._tables:
                    own = {key: local_part(value) for key, value in state.items()}
                    _adagrad_table(local_part(parameter), local_part(parameter.grad), own, group)
                else:
                    matrices.append(parameter)
            if matrices:
                states = [{key: local_part(value) for key, value in self.state[each].items()} for each in matrices]
                grads = [local_part(each.grad) for each in matrices]
                _adagrad_matrices([local_part(each) for each in matrices], grads, states, group)
        return loss


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
    """Update the rows with a nonzero gradient. No row indices are computed, so nothing waits for the device."""
    moves = (grad != 0).any(dim=-1, keepdim=True)
    if group["weight_decay"]:
        grad = grad + parameter * group["weight_decay"] * moves
    change = grad / state["sum"].addcmul_(grad, grad).add(group["eps"]).sqrt_() * -group["lr"]
    if group["momentum"]:
        change.add_(state["momentum"], alpha=group["momentum"])
        state["momentum"].copy_(torch.where(moves, change, state["momentum"]))
    parameter.add_(change * moves)


def _adagrad_rows(
    parameter: Tensor, rows: Tensor, grad: Tensor, state: Mapping[str, Tensor], group: Mapping[str, Any]
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
