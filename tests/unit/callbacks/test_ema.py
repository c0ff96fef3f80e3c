"""The average against a loop by hand; who uses which weights."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lab.callbacks.ema import EMA
from lab.experiment.assembly import QUIET


class Toy(pl.LightningModule):
    """Linear regression that notes its weight after each optimizer step and in each validation."""

    weights_kind = "raw"

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1, bias=False)
        nn.init.constant_(self.layer.weight, 0.5)
        self.after_steps: list[Tensor] = []
        self.validated: list[tuple[int, str, Tensor]] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.layer(batch) - batch.sum(1, keepdim=True)).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validated.append((self.global_step, self.weights_kind, self.layer.weight.detach().clone()))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Watch(pl.Callback):
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        if trainer.global_step > len(pl_module.after_steps):
            pl_module.after_steps.append(pl_module.layer.weight.detach().clone())


def fit(ema: EMA, accumulate: int) -> Toy:
    toy = Toy()
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(4, 3, generator=generator) for _ in range(6 * accumulate)]
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[Watch(), ema],
        logger=False,
        accumulate_grad_batches=accumulate,
        val_check_interval=2 * accumulate,
        num_sanity_val_steps=0,
        **QUIET,
    )
    trainer.fit(toy, DataLoader(batches, batch_size=None), DataLoader([torch.zeros(1, 3)], batch_size=None))
    return toy


@pytest.mark.parametrize("accumulate", [1, 2])
def test_average_is_that_of_a_loop_by_hand(accumulate: int) -> None:
    ema = EMA(decay=0.25, start=1)
    toy = fit(ema, accumulate)
    assert len(toy.after_steps) == 6
    average = toy.after_steps[0]  # the weights at step `start`
    averages = [average]
    for update, weight in enumerate(toy.after_steps[1:]):
        decay = min(0.25, (1 + update) / (10 + update))
        average = decay * average + (1 - decay) * weight
        averages.append(average)
    torch.testing.assert_close(ema.average[0], averages[-1], rtol=1e-6, atol=1e-7)
    assert ema.updates == 5
    assert torch.equal(toy.layer.weight, toy.after_steps[-1])  # training ends on the raw weights
    assert [(step, kind) for step, kind, _ in toy.validated] == [(2, "averaged"), (4, "averaged"), (6, "averaged")]
    for step, _, weight in toy.validated:
        torch.testing.assert_close(weight, averages[step - 1], rtol=1e-6, atol=1e-7)


def test_before_its_start_the_raw_weights_are_evaluated() -> None:
    toy = fit(EMA(decay=0.9, start=3), 1)
    assert [(step, kind) for step, kind, _ in toy.validated] == [(2, "raw"), (4, "averaged"), (6, "averaged")]
    assert torch.equal(toy.validated[0][2], toy.after_steps[1])


def test_averaged_puts_the_raw_weights_back_after_an_error() -> None:
    ema, toy = EMA(decay=0.5), Toy()
    ema.average, ema.updates = [torch.full((1, 3), 2.0)], 1

    def fail() -> None:
        with ema.averaged(toy):
            assert (toy.weights_kind, toy.layer.weight[0, 0].item()) == ("averaged", 2.0)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert (toy.weights_kind, toy.layer.weight[0, 0].item()) == ("raw", 0.5)
