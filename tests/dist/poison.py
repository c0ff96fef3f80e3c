"""Trainings of which chosen optimizer steps have a loss or a gradient that is not finite, on one rank."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from lab.structures import Term
from lab.tasks.detection.task import DetectionTask
from lab.training.task import Task

NAN = float("nan")
TERM = "loss_bbox"


class _NaNGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * NAN


@contextmanager
def poisoned(steps: Mapping[int, str], rank: int = 0, micro_batch: int = 0) -> Iterator[None]:
    """Within this context these optimizer steps go wrong on a rank, at one of their micro-batches.

    Args:
        steps: ``loss`` (the loss is infinite, its gradients are not), ``gradient`` (the other way round), ``states``
            (all that GRU4Rec makes is NaN), or ``validation`` (the outputs of that step's validation are NaN).
        rank: whose loss it is.
        micro_batch: of the step.
    """
    original, validate = Task.training_step, DetectionTask.validation_step

    def kind_of(task: Any, step: int) -> str | None:
        return steps.get(step) if task.trainer.global_rank == rank else None

    def training_step(self: Any, batch: Any, batch_idx: int) -> Tensor:
        kind = kind_of(self, self.trainer.global_step + 1)
        if kind in (None, "validation") or batch_idx % self.trainer.accumulate_grad_batches != micro_batch:
            return original(self, batch, batch_idx)
        if kind == "states":
            layers = self.net._layers
            with mock.patch.object(self.net, "_layers", lambda *args: [state * NAN for state in layers(*args)]):
                return original(self, batch, batch_idx)
        plain = self.net.loss

        def loss(*args: Any) -> dict[str, Term]:
            terms = dict(plain(*args))
            name = TERM if TERM in terms else next(iter(terms))
            value = terms[name].sum
            spoiled: Tensor = value + float("inf") if kind == "loss" else _NaNGradient.apply(value)
            terms[name] = dataclasses.replace(terms[name], sum=spoiled)
            return terms

        with mock.patch.object(self.net, "loss", loss):
            return original(self, batch, batch_idx)

    def validation_step(self: Any, batch: Any, batch_idx: int) -> Any:
        if kind_of(self, self.trainer.global_step) != "validation":
            return validate(self, batch, batch_idx)
        forward = self.forward

        def spoiled(*args: Any) -> Any:
            outputs = forward(*args)
            return dataclasses.replace(outputs, all_logits=outputs.all_logits * NAN)

        with mock.patch.object(self, "forward", spoiled):
            return validate(self, batch, batch_idx)

    with (
        mock.patch.object(Task, "training_step", training_step),
        mock.patch.object(DetectionTask, "validation_step", validation_step),
    ):
        yield
