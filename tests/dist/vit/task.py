"""Training of the small vision transformer: the loss parts of ranks add up to the loss of the global batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

BATCH = 8


class Task(pl.LightningModule):
    def __init__(self, net: nn.Module, optimizer: str) -> None:
        super().__init__()
        self.net, self.optimizer = net, optimizer
        self.step_terms: dict[str, Tensor] = {}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        patches, labels = batch
        loss = F.cross_entropy(self.net(patches), labels, reduction="sum") / BATCH
        self.step_terms = {"loss": loss.detach()}
        return loss * getattr(self.trainer.strategy, "num_data_ranks", self.trainer.world_size)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self.optimizer == "adamw":
            return torch.optim.AdamW(self.net.parameters(), lr=1e-3, foreach=True)
        return torch.optim.SGD(self.net.parameters(), lr=1e-1, momentum=0.9, foreach=True)


class Patches(IterableDataset):
    """Random patches and labels, the same global batches on any number of ranks."""

    def __init__(self, steps: int, rank: int, ranks: int) -> None:
        self.steps, self.rank, self.ranks = steps, rank, ranks

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        generator = torch.Generator().manual_seed(1)
        for _ in range(self.steps):
            patches = torch.randn(BATCH, 16, 12, generator=generator).to(torch.get_default_dtype())
            labels = torch.randint(5, (BATCH,), generator=generator)
            yield patches.chunk(self.ranks)[self.rank], labels.chunk(self.ranks)[self.rank]


def batches(steps: int, rank: int = 0, ranks: int = 1) -> DataLoader[Any]:
    return DataLoader(Patches(steps, rank, ranks), batch_size=None)
