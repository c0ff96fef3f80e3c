"""The loss of a whole set of samples, the same however the set is split into batches and ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

SAMPLES = "samples"


class SetLoss:
    """Add up a network's loss over batches, as if all samples were one batch.

    A term is a sum divided by one of the normalisers (``Detector.loss``), so with normalisers of one it is the sum,
    and sums add up. Which normaliser a term has is found by doubling each, once. A term that has none counts as its
    mean over the samples.
    """

    def __init__(self) -> None:
        self.normalizers: dict[str, str] = {}
        self.reset()

    def reset(self) -> None:
        """Forget the samples, not the normalisers."""
        self.sums: dict[str, Tensor] = {}
        self.totals: Counter[str] = Counter()

    def update(self, net: Any, outputs: Any, batch: Any) -> bool:
        """Add a batch; one that only fills up (see ``ImageBatch.valid``) counts nothing.

        Returns:
            Whether the batch's loss is finite; a network without a loss has none that is not.
        """
        shares = {**net.totals(batch.targets), SAMPLES: batch.num_samples}
        ones = dict.fromkeys(shares, 1.0)
        terms = net.loss(outputs, batch.targets, ones)
        if terms.keys() - self.normalizers.keys():
            self._find_normalizers(net, outputs, batch, ones, terms)
        counts = bool(batch.valid.any())
        for name, value in terms.items():
            share = value.detach().double() * counts
            if self.normalizers.get(name) == SAMPLES:
                share = share * shares[SAMPLES]
            self.sums[name] = self.sums[name] + share if name in self.sums else share
        self.totals.update({name: share * counts for name, share in shares.items()})
        if not terms:
            return True
        return bool(torch.stack([value.detach().double() for value in terms.values()]).isfinite().all())

    def _find_normalizers(self, net: Any, outputs: Any, batch: Any, ones: Mapping[str, float], terms: Any) -> None:
        doubled = {key: net.loss(outputs, batch.targets, {**ones, key: 2.0}) for key in ones}
        for name, value in terms.items():
            if value != 0:  # else it is looked for in the next batch
                halved = (key for key in ones if torch.isclose(doubled[key][name] * 2, value, rtol=1e-3))
                self.normalizers[name] = next(halved, SAMPLES)

    def _share_normalizers(self, trainer: Any, names: list[str], keys: list[str]) -> None:
        """Learn from the other ranks: where all batches of a rank lack a term it has found no normaliser for it."""
        known = [keys.index(self.normalizers[name]) + 1 if name in self.normalizers else 0 for name in names]
        numbers = torch.tensor(known, device=self.sums[names[0]].device)
        found = trainer.strategy.reduce(numbers, reduce_op="max").tolist()
        self.normalizers |= {name: keys[number - 1] for name, number in zip(names, found, strict=True) if number}

    def compute(self, trainer: Any) -> float:
        """Return the loss of all samples since ``reset``, of all ranks of ``trainer``."""
        names, keys = list(self.sums), list(self.totals)
        sums = torch.stack([self.sums[name] for name in names])
        both = torch.cat([sums, torch.tensor([self.totals[key] for key in keys], dtype=sums.dtype, device=sums.device)])
        if trainer.world_size > 1:
            both = trainer.strategy.reduce(both, reduce_op="sum")
            self._share_normalizers(trainer, names, [*keys, SAMPLES])
        values = both.tolist()
        totals = dict(zip(keys, values[len(names) :], strict=True))
        parts = zip(names, values, strict=False)
        return sum(value / (totals[self.normalizers.get(name, SAMPLES)] or 1.0) for name, value in parts)
