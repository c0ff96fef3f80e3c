"""Run a task's ``terms`` on tensors without values: on the meta device, or while the planner counts memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn

from lab.compat.torch import reads_values
from lab.structures import Term
from lab.training.terms import divided


class Learner(Protocol):
    """The part of ``lab.training.task.Task`` that is needed here."""

    net: nn.Module

    def terms(self, batch: Any) -> tuple[Any, Mapping[str, Term]]:
        """Return the network's outputs for a batch and the terms of its loss."""
        ...

    def totals(self, batch: Any) -> Mapping[str, float]:
        """Return the batch's share of the normalisers."""
        ...


def outline(task: Learner, batch: Any) -> tuple[Any, Mapping[str, Term] | None]:
    """Run ``task.terms`` on a batch whose tensors may have no values.

    Returns:
        The outputs and the terms. The terms are None if the loss reads values, as a matching does; the outputs are then
        those of the network's last forward pass.

    Raises:
        ConfigError: a term names a normaliser that ``task.totals`` does not return.
        RuntimeError: the network itself reads values (``reads_values`` tells), or something else is wrong.
    """
    passes: list[Any] = []
    hook = task.net.register_forward_hook(lambda net, arguments, outputs: passes.append(outputs))
    try:
        outputs, terms = task.terms(batch)
    except (RuntimeError, TypeError) as error:
        if not passes or not reads_values(error):
            raise
        return passes[-1], None
    finally:
        hook.remove()
    divided(terms, batch.totals or task.totals(batch))
    return outputs, terms
