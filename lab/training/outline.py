"""A task's ``terms`` where tensors have no values: on the meta device, or while the planner counts memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn

from lab.compat.torch import reads_values
from lab.structures import Term
from lab.training.terms import divided


class Learner(Protocol):
    """What is run, a ``lab.training.task.Task``."""

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
        The outputs and the terms. Where the loss reads values, as a matching does, there are no terms (None), and the
        outputs are those of the network's last forward pass.

    Raises:
        ConfigError: a term names a normaliser that ``task.totals`` does not give.
        RuntimeError: the network itself reads values (``reads_values`` says so), or something is wrong.
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
