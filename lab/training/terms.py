"""Divide the terms of a loss, which are sums, by their normalisers: for a step, and for a whole set of samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lab.errors import ConfigError
from lab.structures import Term


def divided(terms: Mapping[str, Term], totals: Mapping[str, float]) -> dict[str, Tensor]:
    """Return the terms, each divided by its normaliser. A normaliser of 0 counts as 1, since its sum is empty.

    Args:
        terms: the terms of a batch, from an architecture's ``loss``.
        totals: the normalisers of the batch, or of the whole step or set that the batch is a part of.

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
    """Return the terms of a network's loss for a batch on its own: divided by the totals of this batch.

    Args:
        net: an architecture, a ``lab.structures.Detector`` for instance.
        outputs: the result of its ``forward``.
        targets: the targets of the batch.
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
            f"return: it returns {known}"
        )
    return term.normalizer


class SetLoss:
    """The loss of a whole set of samples: sums and normalisers are added up over batches and ranks, then divided."""

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
            terms: the terms of its loss.
            totals: its share of every normaliser.
            valid: (B,) see ``ImageBatch.valid``; a batch without valid samples is not counted.

        Returns:
            Whether all terms are finite; True if there are none.

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
        """Return the loss of all samples since ``reset``, over all ranks of ``trainer``."""
        names, keys = list(self.sums), list(self.totals)
        sums = torch.stack([self.sums[name] for name in names])
        both = torch.cat([sums, torch.tensor([self.totals[key] for key in keys], dtype=sums.dtype, device=sums.device)])
        if trainer.world_size > 1:
            both = trainer.strategy.reduce(both, reduce_op="sum")
        values = both.tolist()
        totals = dict(zip(keys, values[len(names) :], strict=True))
        parts = zip(names, values, strict=False)
        return sum(value / (totals[self.normalizers[name]] or 1.0) for name, value in parts)
