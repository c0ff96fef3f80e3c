"""BERT's optimizer: Adam without bias correction, with decoupled weight decay."""

from __future__ import annotations

from typing import Any

import torch

from lab.checkpoint.access import local_part
from lab.compat.torch import foreach_add, foreach_addcdiv_, foreach_addcmul_, foreach_lerp_, foreach_mul_, foreach_sqrt_


class BertAdam(torch.optim.Optimizer):
    """``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g^2``, ``p -= lr (m / (sqrt(v) + eps) + decay p)``.

    ``AdamWeightDecayOptimizer`` of google-research/bert, optimization.py. The averages begin at zero and are not
    corrected for that, so the first steps are larger than AdamW's.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: of the averages of the gradient and of its square.
        eps: added to the root.
        weight_decay: of each parameter, times the learning rate.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Make one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            for parameter in parameters:
                state = self.state[parameter]
                for key in ("exp_avg", "exp_avg_sq"):
                    if key not in state:
                        state[key] = torch.zeros_like(parameter)
            weights = [local_part(parameter) for parameter in parameters]
            grads = [local_part(parameter.grad) for parameter in parameters]
            means, squares = (
                [local_part(self.state[parameter][key]) for parameter in parameters]
                for key in ("exp_avg", "exp_avg_sq")
            )
            first, second = group["betas"]
            foreach_lerp_(means, grads, 1 - first)
            foreach_mul_(squares, second)
            foreach_addcmul_(squares, grads, grads, 1 - second)
            roots = foreach_add(squares, 0.0)
            foreach_sqrt_(roots)
            roots = foreach_add(roots, group["eps"])
            foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            foreach_addcdiv_(weights, means, roots, -group["lr"])
        return loss
