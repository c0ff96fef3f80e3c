"""LAMB: "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes" (You et al., ICLR 2020)."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lab.checkpoint.access import is_dtensor, local_part
from lab.compat.torch import foreach_lerp_


class Lamb(torch.optim.Optimizer):
    """Adam's direction for each parameter, scaled to the norm of the parameter itself (algorithm 2).

    With m and v as in Adam, corrected for their beginning at zero: ``u = m / (sqrt(v) + eps) + decay p`` and
    ``p -= lr |p| / |u| u``. The quotient of the norms is 1 where one of them is 0. The norms are those of whole
    parameters, also where ranks hold parts of them.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: of the averages of the gradient and of its square.
        eps: added to the root.
        weight_decay: of each parameter.
        adapt_all: scale the step of every parameter, as the algorithm is written; False: not that of parameters
            without weight decay, as in its authors' code.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        adapt_all: bool = True,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "adapt_all": adapt_all}
        super().__init__(params, options)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Make one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            updates = [self._update(parameter, group) for parameter in parameters]
            if parameters and (group["adapt_all"] or group["weight_decay"]):
                of_weights, of_updates = _norms(parameters, updates)
                ratios = torch.where((of_weights > 0) & (of_updates > 0), of_weights / of_updates, 1.0)
                for update, ratio in zip(updates, ratios.unbind(), strict=True):
                    update.mul_(ratio.to(update.device, update.dtype))
            for parameter, update in zip(parameters, updates, strict=True):
                local_part(parameter).sub_(update, alpha=group["lr"])
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """Advance the averages; return this rank's part of the step before it is scaled."""
        state = self.state[parameter]
        for key in ("exp_avg", "exp_avg_sq"):
            if key not in state:
                state[key] = torch.zeros_like(parameter)
        if "step" not in state:
            state["step"] = torch.zeros(())
        state["step"] += 1
        count, (first, second) = float(state["step"]), group["betas"]
        assert parameter.grad is not None
        grad, mean, square = (local_part(item) for item in (parameter.grad, state["exp_avg"], state["exp_avg_sq"]))
        foreach_lerp_([mean], [grad], 1 - first)
        square.mul_(second).addcmul_(grad, grad, value=1 - second)
        root = (square / (1 - second**count)).sqrt_().add_(group["eps"])
        update = (mean / (1 - first**count)).div_(root)
        return update.add_(local_part(parameter), alpha=group["weight_decay"])


def _norms(parameters: list[Tensor], updates: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the norms (n,) of whole parameters and of their updates; one collective for each way of splitting."""
    sums = torch.stack(
        [
            torch.stack([part.to(torch.float64).square().sum() for part in (local_part(parameter), update)])
            for parameter, update in zip(parameters, updates, strict=True)
        ]
    )
    split: dict[tuple[Any, ...], list[int]] = {}
    for number, parameter in enumerate(parameters):
        if is_dtensor(parameter):
            for dim, placement in enumerate(parameter.placements):  # type: ignore[attr-defined]
                if placement.is_shard():
                    mesh = parameter.device_mesh  # type: ignore[attr-defined]
                    split.setdefault((dim, mesh), []).append(number)
    for (dim, mesh), numbers in sorted(split.items(), key=lambda item: item[1]):
        chosen = sums[numbers]
        dist.all_reduce(chosen, group=mesh.get_group(dim))
        sums[numbers] = chosen
    of_weights, of_updates = sums.sqrt().unbind(1)
    return of_weights, of_updates
