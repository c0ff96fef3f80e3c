"""From the terms of a loss, which are sums, to numbers: the loss of a step, and that of a whole set of samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lab.errors import ConfigError
from lab.structures import Term


def divided(terms: Mapping[str, Term], totals: Mapping[str, float]) -> dict[str, Tensor]:
    """Return the terms, each divided by its normaliser; one that is 0 has nothing to divide and counts as 1.

    Args:
        terms: of a batch, as an architecture's ``loss`` names them.
        totals: the normalisers: of the batch, or of everything that it is a part of.

    Raises:
        ConfigError: a term names a normaliser that is not in ``totals``.
    """
    groups: dict[str, list[str]] = {}
    for name, term in terms.items():
        groups.setdefault(normalizer_of(name, term, totals), []).append(name)
    values: dict[str, Tensor] = {}
    for normalizer, names in groups.items():
        total = totals[normalizer] or 1.0
        if len(names) == 1:
            values[names[0]] = terms[names[0]].sum / total
        else:  # one division for the terms of all layers
            together = torch.stack([terms[name].sum for name in names]) / total
            values |= zip(names, together.unbind(), strict=True)
    return {name: values[name] for name in terms}


def batch_terms(net: Any, outputs: Any, targets: Any) -> dict[str, Tensor]:
    """Return the terms of a network's loss of a batch that is a part of nothing: divided by its own totals.

    Args:
        net: an architecture, a ``lab.structures.Detector`` for instance.
        outputs: of its ``forward``.
        targets: of the batch.
    """
    return divided(net.loss(outputs, targets), net.totals(targets))


def normalizer_of(name: str, term: Term, totals: Mapping[str, float]) -> str:
    """Return the name of a term's normaliser.

    Raises:
        ConfigError: it is not in ``totals``.
    """
    if term.normalizer not in totals:
        known = ", ".join(totals) or "none"
        raise ConfigError(
            f"the loss's term {name!r} names the normaliser {term.normalizer!r}, which the network's totals() does not "
            f"give: it gives {known}"
        )
    return term.normalizer


class SetLoss:
    """The loss of a whole set of samples: terms and totals are added up over batches and ranks, then divided."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self.sums: dict[str, Tensor] = {}
        self.normalizers: dict[str, str] = {}
        self.totals: Counter[str] = Counter()

    def update(self, terms: Mapping[str, Term], totals: Mapping[str, float], valid: Tensor) -> bool:
        """Add a batch.

        Args:
            terms: of its loss.
            totals: its share of every normaliser.
            valid: (B,) see ``ImageBatch.valid``; a batch that only fills up counts nothing.

        Returns:
            Whether the terms are finite; where there are none, none is not.

        Raises:
            ConfigError: a term names a normaliser that is not in ``totals``.
        """
        if not terms:
            return True
        counts = bool(valid.any())
        for name, term in terms.items():
            self.normalizers[name] = normalizer_of(name, term, totals)
            share = term.sum.detach().double() * counts
            self.sums[name] = self.sums[name] + share if name in self.sums else share
        self.totals.update({name: share * counts for name, share in totals.items()})
        return bool(torch.stack([term.sum.detach().double() for term in terms.values()]).isfinite().all())

    def compute(self, trainer: Any) -> float:
        """Return the loss of all samples since ``reset``, of all ranks of ``trainer``."""
        names, keys = list(self.sums), list(self.totals)
        sums = torch.stack([self.sums[name] for name in names])
        both = torch.cat([sums, torch.tensor([self.totals[key] for key in keys], dtype=sums.dtype, device=sums.device)])
        if trainer.world_size > 1:
            both = trainer.strategy.reduce(both, reduce_op="sum")
        values = both.tolist()
        totals = dict(zip(keys, values[len(names) :], strict=True))
        parts = zip(names, values, strict=False)
        return sum(value / (totals[self.normalizers[name]] or 1.0) for name, value in parts)
