"""A loss or gradient that is not finite stops a training at that step, or skips it; no checkpoint keeps such a tensor.

Each optimizer step leaves two numbers on the device: the loss and the norm of the gradients. On a CPU they are read at
once; on a GPU they are copied while the device works on and read one step later, so that nothing waits. Whether a rank
has found something goes with the host numbers on which the ranks agree after each step (``RunCheckpoint``).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import lightning.pytorch as pl
import torch
from torch import Tensor

from lab.callbacks.steps import StepLog
from lab.checkpoint.access import StateAccess, parameter_names, tensors_of
from lab.checkpoint.finite import not_finite
from lab.compat.torch import scale_on_device
from lab.errors import Diverged
from lab.strategies import collectives
from lab.training.gradients import drop_gradients, gradient_norm

GRADIENT = "the gradient's norm"

NotFinite = tuple[int, int, str]
"""Optimizer step, order among what is found at one step (what says more comes first), name."""


@dataclass
class _Step:
    """What an optimizer step has left: ``values`` are its loss and the gradients' norm, on the host once ``copied``."""

    step: int
    values: list[Tensor]
    terms: Mapping[str, Tensor]
    scale: float
    copied: torch.cuda.Event | None = None

    def found(self, skipped: bool) -> NotFinite | None:
        """Return what is not finite; waits for the device if it must."""
        if self.copied is not None:
            self.copied.synchronize()
        loss, norm = map(float, self.values)
        if not math.isfinite(loss):
            terms = [name for name, value in self.terms.items() if not math.isfinite(float(value))]
            return self.step, 0, next((name for name in terms if name != "loss"), "loss")
        if not math.isfinite(norm) or (skipped and self.scale <= 1):
            return self.step, 1, GRADIENT
        return None


class Divergence(pl.Callback):
    """Watch loss and gradients at every optimizer step, and every tensor that goes into a checkpoint.

    In a skipped step the optimizer does nothing on any rank: step count, schedule, average (EMA) and the position in
    the data go on as after any other, and what the forward pass has changed (buffers, hidden states) is put back. Under
    ``precision=16-mixed`` the gradient scaler skips steps by itself while it looks for its scale: there a gradient
    counts only where the scale is 1 or below, so that it cannot be the scale's doing.

    Args:
        policy: ``stop`` at the first such step, or ``skip`` it, for which the ranks agree before each optimizer step.
        max_skips: stop when so many steps in a row were skipped.
        steps: where skipped steps are logged.

    Attributes:
        skipped: how many steps of the whole training were skipped.
        in_a_row: how many of the latest steps were.
    """

    def __init__(self, policy: str, max_skips: int, steps: StepLog) -> None:
        self.policy, self.max_skips, self.step_log = policy, max_skips, steps
        self.skipped = self.in_a_row = 0
        self._steps: list[_Step] = []
        self._undo: Callable[[], None] | None = None
        self._allowed: set[str] | None = None  # None until the training begins

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume must know, to stop where the training would have stopped."""
        return {"total": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped, self.in_a_row = int(state_dict["total"]), int(state_dict["in_a_row"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Allow buffers that are not finite by intention, a mask of -inf for instance."""
        parameters = parameter_names(pl_module)
        buffers = {name: tensor for name, tensor in tensors_of(pl_module).items() if name not in parameters}
        self._allowed = {f"model/{name}" for name in not_finite(buffers)}

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Keep what the forward passes of a step change, where it may have to be put back."""
        if self.policy == "skip" and batch_idx % trainer.accumulate_grad_batches == 0:
            self._undo = _remember(pl_module.net)

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Take loss and norm; under ``skip`` agree with the other ranks, and leave the optimizer nothing to do."""
        loss: Tensor = pl_module.step_terms["loss"].detach()
        by_strategy, scale = _skipped_by_strategy(trainer) is not None, _scale(trainer)
        norm = torch.zeros_like(loss) if by_strategy else gradient_norm(optimizer).to(loss.device)
        if isinstance(scale, Tensor):
            norm, scale = torch.where(scale.to(loss.device) > 1, 0.0, norm), 1.0
        values, copied = [loss, norm], None
        if loss.is_cuda:
            host = torch.empty(2, dtype=torch.float64, pin_memory=True)
            host.copy_(torch.stack([loss.double(), norm.double()]), non_blocking=True)
            values, copied = list(host.unbind()), torch.cuda.Event()
            copied.record()
        self._steps.append(_Step(trainer.global_step + 1, values, dict(pl_module.step_terms), scale, copied))
        if self.policy == "skip" and not by_strategy:
            found = self._steps[-1].found(skipped=False)
            (any_found,) = collectives.largest(int(found is not None))
            if any_found:
                drop_gradients(optimizer)

    def has_found(self, trainer: pl.Trainer, now: bool = False) -> bool:
        """Whether this rank has found something in the steps that it has not looked at yet.

        Args:
            trainer: whose strategy may skip steps itself.
            now: do not leave the latest step to the next call where it takes a wait for the device.
        """
        if not self._steps:
            return False
        skipped = _skipped_by_strategy(trainer) or False
        while self._steps:
            latest = len(self._steps) == 1
            if latest and self._steps[0].copied is not None and not now and self.policy == "stop" and not skipped:
                return False
            if self._steps[0].found(latest and skipped) is not None:
                return True
            del self._steps[0]
        return False

    def act(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Stop or skip, since some rank has found something; all ranks call it after the same step.

        Raises:
            Diverged: the policy is to stop, or the last of the steps that may be skipped was.
        """
        step, _, term = self._first(trainer)
        if self.policy == "stop":
            self._stop(trainer, step, f"{term} is not finite", term)
        self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        if self._undo is not None:
            self._undo()
        self.step_log.write(trainer, {"train/skipped_steps": self.skipped})
        if self.in_a_row >= self.max_skips:
            what = f"{term} is not finite, and this is the skipped step number {self.in_a_row} in a row"
            self._stop(trainer, step, f"{what} (trainer.max_skips={self.max_skips})", term)
        if trainer.is_global_zero:
            counted = f"{self.skipped} so far, {self.in_a_row} in a row of at most {self.max_skips - 1}"
            print(f"warning: step {step} was skipped, {term} is not finite ({counted})", file=sys.stderr)

    def pass_on(self) -> None:
        """Take note that no rank has found anything in the latest step."""
        self.in_a_row = 0

    def confirm(self, trainer: pl.Trainer, tensors: Mapping[str, Tensor]) -> None:
        """Look at everything up to now, and at these tensors; all ranks call it together.

        Raises:
            Diverged: something is not finite.
        """
        if self._allowed is None:
            return
        names = [name for name in not_finite(tensors) if name not in self._allowed]
        (any_found,) = collectives.largest(int(self.has_found(trainer, now=True) or bool(names)))
        if any_found:
            step, _, term = self._first(trainer, [(trainer.global_step, 2, _describe(name)) for name in names[:1]])
            self._stop(trainer, step, f"{term} is not finite", term)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate no weights that are not finite: metrics have errors of their own for what comes of them."""
        access: StateAccess = getattr(trainer.strategy, "state_access", None) or StateAccess()
        self.confirm(trainer, {f"model/{name}": tensor for name, tensor in access.weights(pl_module).items()})

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Stop before metrics are made of outputs that are not finite."""
        if self._allowed is None:
            return
        (any_found,) = collectives.largest(int(not pl_module.outputs_are_finite))
        if any_found:
            term = "what the network makes of the validation set"
            self._stop(trainer, trainer.global_step, f"{term} is not finite, though its weights are", term)

    def _first(self, trainer: pl.Trainer, more: list[NotFinite] = []) -> NotFinite:  # noqa: B006 - it is only read
        """Return the first of what the ranks have found; known to all of them."""
        skipped = _skipped_by_strategy(trainer) or False
        own = [found for step in self._steps if (found := step.found(skipped and step is self._steps[-1]))]
        self._steps.clear()
        everywhere = collectives.from_rank_zero(sorted(collectives.collect([*own, *more])))
        return everywhere[0]

    def _stop(self, trainer: pl.Trainer, step: int, what: str, term: str) -> NoReturn:
        rates = " and ".join(f"{rate:.3g}" for rate in dict.fromkeys(self.step_log.rates.values()))
        tries = [f"a smaller optimizer.lr (it was {rates}) or a longer scheduler.warmup_steps"]
        if not trainer.gradient_clip_val:
            tries.append("trainer.gradient_clip_val=1.0")
        if "16" in str(trainer.precision):
            tries.append("trainer.precision=32")
        if self.policy == "stop":
            tries.append("trainer.on_nonfinite=skip where it is a rare sample")
        raise Diverged(f"diverged at step {step}: {what}; try {', '.join(tries)}", step, term)


def _skipped_by_strategy(trainer: pl.Trainer) -> bool | None:
    """Return whether a strategy that looks at gradients itself has not taken the last step; None for the others."""
    skipped: bool | None = getattr(trainer.strategy, "skipped_step", None)
    return skipped


def _scale(trainer: pl.Trainer) -> float | Tensor:
    """Return by what the loss is scaled for float16, without a wait for the device; 1 where it is not."""
    scaler: Any = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None:
        return 1.0
    own = isinstance(scaler, torch.amp.GradScaler)
    scale: float | Tensor | None = scale_on_device(scaler) if own else scaler.cur_scale
    return 1.0 if scale is None else scale


def _remember(net: Any) -> Callable[[], None]:
    """Return what puts a network's buffers back, and what else it carries from step to step (its ``remember``)."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in net.buffers()]
    own: Any = getattr(net, "remember", None)
    others: list[Callable[[], None]] = [] if own is None else [own()]

    @torch.no_grad()
    def undo() -> None:
        for buffer, kept in buffers:
            buffer.copy_(kept)
        for other in others:
            other()

    return undo


def _describe(name: str) -> str:
    """Return what a tensor of a checkpoint is in words."""
    kind, _, rest = name.partition("/")
    return {"optimizer": "the optimizer's state ", "average": "the average of "}.get(kind, "") + rest
