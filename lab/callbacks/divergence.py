"""Stops a training, or skips a step, when a loss or gradient is not finite; keeps such tensors out of checkpoints.

Each optimizer step leaves two numbers on the device: the loss and the norm of the gradients. On a CPU they are read at
once. On a GPU they are copied in the background and read one step later, so that nothing waits. The ranks tell each
other what they found when they agree on host numbers after each step (``RunCheckpoint``).
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
"""Optimizer step, order among the findings of one step (the most telling first), name."""


@dataclass
class _Step:
    """The two numbers of an optimizer step: ``values`` are loss and gradient norm, on the host once ``copied``."""

    step: int
    values: list[Tensor]
    terms: Mapping[str, Tensor]
    scale: float
    copied: torch.cuda.Event | None = None

    def found(self, skipped: bool) -> NotFinite | None:
        """Return the value that is not finite, if any; waits for the device if necessary."""
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

    In a skipped step the optimizer does nothing on any rank. Step count, schedule, average (EMA) and position in the
    data advance as usual, and changes made by the forward pass (buffers, hidden states) are undone. Under
    ``precision=16-mixed`` the gradient scaler itself skips steps while it looks for its scale. There a gradient counts
    as divergence only where the scale is 1 or below, since a larger scale may have caused the overflow.

    Args:
        policy: ``stop`` at the first such step, or ``skip`` it; to skip, the ranks agree before each optimizer step.
        max_skips: stop when this many steps in a row were skipped.
        steps: where skipped steps and the gradients' norm are logged.

    Attributes:
        skipped: the number of skipped steps in the whole training.
        in_a_row: the number of latest steps in a row that were skipped.
    """

    def __init__(self, policy: str, max_skips: int, steps: StepLog) -> None:
        self.policy, self.max_skips, self.step_log = policy, max_skips, steps
        self.skipped = self.in_a_row = 0
        self._steps: list[_Step] = []
        self._undo: Callable[[], None] | None = None
        self._allowed: set[str] | None = None  # None until the training begins

    def state_dict(self) -> dict[str, Any]:
        """Return the counts, so that a resumed training stops where an uninterrupted one would."""
        return {"total": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the counts."""
        self.skipped, self.in_a_row = int(state_dict["total"]), int(state_dict["in_a_row"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Allow buffers that are not finite on purpose, a mask of -inf for instance."""
        parameters = parameter_names(pl_module)
        buffers = {name: tensor for name, tensor in tensors_of(pl_module).items() if name not in parameters}
        self._allowed = {f"model/{name}" for name in not_finite(buffers)}

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Save the state that the forward passes of a step change, in case the step is skipped."""
        if self.policy == "skip" and batch_idx % trainer.accumulate_grad_batches == 0:
            self._undo = _remember(pl_module.net)

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Record loss and norm; under ``skip`` agree with the other ranks, and drop the gradients of a skipped step."""
        loss: Tensor = pl_module.step_terms["loss"].detach()
        by_strategy, scale = _skipped_by_strategy(trainer) is not None, _scale(trainer)
        norm = torch.zeros_like(loss)
        if not by_strategy:
            norm = self.step_log.gradient_norm = gradient_norm(optimizer, trainer.world_size).to(loss.device)
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
        """Whether this rank finds something in the steps that it has not checked yet.

        Args:
            trainer: the Trainer; its strategy may skip steps itself.
            now: check the latest step too, even if that means waiting for the device.
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
        """Stop or skip because some rank has found something; all ranks call this after the same step.

        Raises:
            Diverged: the policy is to stop, or too many steps in a row were skipped.
        """
        step, _, term = self._first(trainer)
        if self.policy == "stop":
            self._stop(trainer, step, f"{term} is not finite", term)
        self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        if self._undo is not None:
            self._undo()
        self.step_log.write(trainer, {"train/skipped_steps": self.skipped})
        if self.in_a_row >= self.max_skips:
            what = f"{term} is not finite, and this is skipped step number {self.in_a_row} in a row"
            self._stop(trainer, step, f"{what} (trainer.max_skips={self.max_skips})", term)
        if trainer.is_global_zero:
            counted = f"{self.skipped} so far, {self.in_a_row} in a row of at most {self.max_skips - 1}"
            print(f"warning: step {step} was skipped, {term} is not finite ({counted})", file=sys.stderr)

    def pass_on(self) -> None:
        """Note that no rank has found anything in the latest step."""
        self.in_a_row = 0

    def confirm(self, trainer: pl.Trainer, tensors: Mapping[str, Tensor]) -> None:
        """Check all steps up to now, and these tensors; all ranks call this together.

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
        """Refuse to evaluate weights that are not finite: metrics would raise errors of their own."""
        access: StateAccess = getattr(trainer.strategy, "state_access", None) or StateAccess()
        self.confirm(trainer, {f"model/{name}": tensor for name, tensor in access.weights(pl_module).items()})

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Stop before metrics are computed from outputs that are not finite."""
        if self._allowed is None:
            return
        (any_found,) = collectives.largest(int(not pl_module.outputs_are_finite))
        if any_found:
            term = "an output of the network for the validation set"
            self._stop(trainer, trainer.global_step, f"{term} is not finite, though its weights are", term)

    def _first(self, trainer: pl.Trainer, more: list[NotFinite] = []) -> NotFinite:  # noqa: B006 - it is only read
        """Return the earliest finding of all ranks; the same on every rank."""
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
            tries.append("trainer.on_nonfinite=skip if a rare sample causes it")
        raise Diverged(f"diverged at step {step}: {what}; try {', '.join(tries)}", step, term)


def _skipped_by_strategy(trainer: pl.Trainer) -> bool | None:
    """Return whether a strategy that checks gradients itself skipped the last step; None for other strategies."""
    skipped: bool | None = getattr(trainer.strategy, "skipped_step", None)
    return skipped


def _scale(trainer: pl.Trainer) -> float | Tensor:
    """Return the factor by which the loss is scaled for float16, without waiting for the device; 1 without scaling."""
    scaler: Any = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None:
        return 1.0
    own = isinstance(scaler, torch.amp.GradScaler)
    scale: float | Tensor | None = scale_on_device(scaler) if own else scaler.cur_scale
    return 1.0 if scale is None else scale


def _remember(net: Any) -> Callable[[], None]:
    """Return a function that restores a network's buffers and its other state between steps (its ``remember``)."""
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
    """Return in words what a tensor of a checkpoint is."""
    kind, _, rest = name.partition("/")
    return {"optimizer": "the optimizer's state ", "average": "the average of "}.get(kind, "") + rest
