"""A Trainer that takes up a checkpoint goes on as the one that wrote it: gradient scaler and schedule included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lab.callbacks.run_state import RunState
from lab.checkpoint.format import CheckpointReader
from lab.compat.lightning import start_at
from lab.errors import CheckpointError
from lab.experiment.assembly import QUIET
from lab.registry import migrations


class Toy(pl.LightningModule):
    weights_kind = "raw"

    def __init__(self, width: int = 3, groups: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.net(batch).square().mean() + 0 * torch.rand(())

    def configure_optimizers(self) -> Any:
        first, *others = self.net.parameters()
        groups = [{"params": [first]}, {"params": others, "lr": 0.2}][: self.hparams["groups"]]
        if len(groups) == 1:
            groups[0]["params"] += others
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Save(pl.Callback):
    """Write at a step, or restore before the first; note what the next step begins with."""

    def __init__(self, path: Path, at: int | None) -> None:
        self.path, self.at, self.state = path, at, RunState(None)
        self.steps: dict[int, Any] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.at is None:
            self.state.restore(self.path, trainer, pl_module)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        (optimizer,) = trainer.optimizers
        self.steps[trainer.global_step] = {
            "scaler": trainer.precision_plugin.state_dict(),
            "rates": [group["lr"] for group in optimizer.param_groups],
            "momentum": [value["momentum_buffer"].clone() for value in optimizer.state.values()],
            "weights": [parameter.detach().clone() for parameter in pl_module.parameters()],
        }

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        if trainer.global_step == self.at:
            self.state.write(self.path, trainer, pl_module, 0.5, None)


def fit(path: Path, at: int | None, start: int = 0, module: Toy | None = None) -> dict[int, Any]:
    torch.manual_seed(0)
    save = Save(path, at)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        max_steps=6,
        callbacks=[save],
        logger=False,
        plugins=[MixedPrecision("16-mixed", "cpu", scaler)],
        **QUIET,
    )
    start_at(trainer, start)
    batches = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(1))[start:]
    trainer.fit(module or Toy(), DataLoader(list(batches), batch_size=None))
    return save.steps


def test_it_goes_on_as_the_one_that_wrote(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    whole = fit(path, at=3)
    assert [whole[step]["scaler"]["scale"] for step in range(6)] == [2**10, 2**10, 2**11, 2**11, 2**12, 2**12]
    rest = fit(path, at=None, start=3)
    assert list(rest) == [3, 4, 5]
    for step, found in rest.items():
        expected = whole[step]
        assert found["scaler"] == expected["scaler"]
        assert found["rates"] == expected["rates"] == pytest.approx([0.1 * 0.9**step, 0.2 * 0.9**step])
        for key in ("momentum", "weights"):
            assert len(found[key]) == len(expected[key]) == 4
            assert all(torch.equal(one, other) for one, other in zip(found[key], expected[key], strict=True))
    state = CheckpointReader(path).state
    assert (state["task"], state["hyper_parameters"], state["best"]) == ("Toy", {"width": 3, "groups": 2}, 0.5)
    assert state["optimizer_groups"][1]["params"] == ["net.0.bias", "net.2.weight", "net.2.bias"]


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        (Toy(width=4), r"last\.ckpt does not fit: model/net\.0\.weight is \[3, 3\] there and \[4, 3\] here"),
        (Toy(groups=1), "groups of parameters are not those of the checkpoint"),
    ],
    ids=["another shape", "other groups"],
)
def test_what_does_not_fit_is_named(tmp_path: Path, module: Toy, problem: str) -> None:
    fit(tmp_path / "last.ckpt", at=3)
    with pytest.raises(CheckpointError, match=problem):
        fit(tmp_path / "last.ckpt", at=None, start=3, module=module)


def test_versions_of_weights_are_recorded_and_an_older_layout_is_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(tmp_path / "first.ckpt", at=3)
    assert CheckpointReader(tmp_path / "first.ckpt").state["weights_versions"] == {}
    monkeypatch.setattr(Toy, "weights_version", 2, raising=False)
    monkeypatch.setattr(migrations, "_registered", {})
    path = f"{Toy.__module__}.Toy"
    migrations.migrates(path, 1)(dict)
    fit(tmp_path / "second.ckpt", at=3)
    assert CheckpointReader(tmp_path / "second.ckpt").state["weights_versions"] == {path: 2}
    assert list(fit(tmp_path / "second.ckpt", at=None, start=3)) == [3, 4, 5]
    with pytest.raises(CheckpointError, match=r"are of version 1\. Weights are migrated, but optimizer states are not"):
        fit(tmp_path / "first.ckpt", at=None, start=3)
