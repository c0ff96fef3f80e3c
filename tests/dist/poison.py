"""Trainings of which chosen optimizer steps have a loss or a gradient that is not finite, on one rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from lab.tasks.base import Task

TERM = "loss_bbox"


class _NaNGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * float("nan")


@contextmanager
def poisoned(steps: Mapping[int, str], rank: int = 0, micro_batch: int = 0) -> Iterator[None]:
    """Within this context these optimizer steps go wrong on a rank, at one of their micro-batches.

    Args:
        steps: ``loss`` (the loss is infinite, its gradients are not) or ``gradient`` (the other way round).
        rank: whose loss it is.
        micro_batch: of the step.
    """
    original = Task.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Tensor:
        kind = steps.get(self.trainer.global_step + 1)
        here = self.trainer.global_rank == rank and batch_idx % self.trainer.accumulate_grad_batches == micro_batch
        if kind is None or not here:
            return original(self, batch, batch_idx)
        plain = self.net.loss

        def loss(*args: Any) -> dict[str, Tensor]:
            terms = dict(plain(*args))
            name = TERM if TERM in terms else next(iter(terms))
            terms[name] = terms[name] + float("inf") if kind == "loss" else _NaNGradient.apply(terms[name])
            return terms

        with mock.patch.object(self.net, "loss", loss):
            return original(self, batch, batch_idx)

    with mock.patch.object(Task, "training_step", training_step):
        yield
