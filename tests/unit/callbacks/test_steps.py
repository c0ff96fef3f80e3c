"""The gradients' norm in the log: torch's own, before clipping, without a gradient scaler's factor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lab.callbacks.divergence import Divergence
from lab.callbacks.steps import StepLog
from lab.experiment.assembly import QUIET
from lab.training.gradients import gradient_norm


class Module(pl.LightningModule):
    """Loss is the mean square of a linear layer's outputs; notes the norm of its gradients when clipping begins."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.step_terms, self.norms = nn.Linear(3, 2), dict[str, Tensor](), list[float]()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.net(batch).square().mean()
        self.step_terms = {"loss": loss.detach()}
        return loss

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        self.norms.append(float(torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1e-3)))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.5)


class Kept(DummyLogger):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, Mapping[str, float]] = {}

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:  # type: ignore[override]
        self.rows[step] = metrics


@pytest.mark.parametrize(("every", "scale", "accumulated"), [(1, None, 1), (1, 1024.0, 1), (3, None, 2)])
def test_the_norm_of_the_gradients_is_logged(every: int, scale: float | None, accumulated: int) -> None:
    torch.manual_seed(0)
    module, log, kept = Module(), StepLog(every, 4, 100), Kept()
    plugins: list[Any] = []
    if scale is not None:
        plugins.append(MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale)))
    callbacks = [log, Divergence("stop", 10, log)]
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=callbacks,
        logger=kept,
        plugins=plugins,
        accumulate_grad_batches=accumulated,
        **QUIET,
    )
    trainer.fit(module, DataLoader(torch.linspace(-1, 1, 72).view(-1, 3), batch_size=4 // accumulated))
    assert len(module.norms) == 6
    assert list(kept.rows) == [step for step in range(1, 7) if step == 1 or step % every == 0]
    for step, row in kept.rows.items():
        assert row["train/grad_norm"] == pytest.approx(module.norms[step - 1], rel=1e-5)
        assert row["train/grad_norm"] > 1e-2  # clipping leaves 1e-3


def test_a_norm_that_is_not_finite_is_not_defined() -> None:
    module, log, kept = Module(), StepLog(1, 4, 100), Kept()
    module.step_terms = {"loss": torch.tensor(1.0)}
    trainer = pl.Trainer(accelerator="cpu", logger=kept, callbacks=[log], **QUIET)
    trainer.state.fn = "fit"  # type: ignore[assignment]
    module.net.weight.grad = torch.full((2, 3), float("inf"))
    log.gradient_norm = gradient_norm(torch.optim.SGD(module.parameters(), lr=0.5))
    log._log_step(trainer, module, 1)
    assert str(kept.rows[0]["train/grad_norm"]) == "nan"
