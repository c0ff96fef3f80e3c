"""The watch over steps: what counts under a gradient scaler, what is allowed, put back and refused; what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lab.callbacks.divergence import Divergence, _Step
from lab.callbacks.run_state import RunState
from lab.callbacks.steps import StepLog
from lab.checkpoint.format import CheckpointReader
from lab.errors import Diverged
from lab.experiment.assembly import QUIET

NAN = float("nan")


class Toy(pl.LightningModule):
    """Loss is the mean square of a linear layer's outputs, times a factor for each step."""

    weights_kind = "raw"

    def __init__(self, factors: list[float]) -> None:
        super().__init__()
        self.factors, self.step_terms = factors, dict[str, Tensor]()
        self.outputs_are_finite = True
        self.net = nn.Sequential(nn.Linear(3, 1), nn.BatchNorm1d(1))
        self.net.register_buffer("mask", torch.tensor([0.0, -float("inf")]))
        self.net.register_buffer("seen", torch.zeros(()))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.net.seen += self.factors[batch_idx]
        loss = self.net[0](batch).square().mean()
        self.step_terms = {"loss": loss.detach() * self.factors[batch_idx], "loss_a": loss.detach()}
        return loss * self.factors[batch_idx]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Watch(pl.Callback):
    """Does what ``RunCheckpoint`` does with the watch, and notes scales and weights after each step."""

    def __init__(self, divergence: Divergence) -> None:
        self.divergence, self.scales, self.weights = divergence, list[float](), list[Tensor]()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self.scales.append(scaler.get_scale() if scaler else 1.0)
        self.weights.append(pl_module.net[0].weight.detach().clone())
        if self.divergence.has_found(trainer):
            self.divergence.act(trainer, pl_module)
        else:
            self.divergence.pass_on()


def fit(
    factors: list[float], policy: str = "stop", max_skips: int = 10, scale: float | None = None, *more: pl.Callback
) -> tuple[Toy, Divergence, Watch]:
    torch.manual_seed(0)
    module, log = Toy(factors), StepLog(100, 4, 100)
    divergence = Divergence(policy, max_skips, log)
    watch = Watch(divergence)
    plugins: list[Any] = []
    if scale is not None:
        plugins.append(MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale)))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[log, divergence, watch, *more],
        logger=False,
        plugins=plugins,
        **QUIET,
    )
    samples = torch.linspace(-1, 1, 12 * len(factors)).view(-1, 3)
    try:
        trainer.fit(module, DataLoader(samples, batch_size=4))
    except Diverged as error:
        module.stopped = error  # type: ignore[assignment]
    return module, divergence, watch


def stopped(module: Toy) -> Diverged | None:
    return getattr(module, "stopped", None)


def test_a_finite_training_is_left_alone() -> None:
    module, divergence, _ = fit([1.0] * 4)
    assert stopped(module) is None
    assert divergence.state_dict() == {"total": 0, "in_a_row": 0}


def test_it_stops_at_the_step_and_says_what_to_try() -> None:
    module, _, watch = fit([1.0, 1.0, NAN, 1.0])
    error = stopped(module)
    assert error is not None
    assert (error.step, error.term) == (3, "loss")
    assert len(watch.weights) == 3
    assert "diverged at step 3: loss is not finite; try a smaller optimizer.lr (it was 0.01)" in str(error)
    assert "trainer.gradient_clip_val=1.0" in str(error)
    assert "\n" not in str(error)


def test_skipped_steps_change_nothing_that_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    module, divergence, watch = fit([1.0, NAN, NAN, 1.0, NAN, 1.0], "skip", 3)
    assert stopped(module) is None
    assert divergence.state_dict() == {"total": 3, "in_a_row": 0}
    assert torch.equal(watch.weights[0], watch.weights[2])
    assert not torch.equal(watch.weights[2], watch.weights[3])
    assert module.net.seen == 3  # the three good steps: what the others did to the buffer was undone
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "warning: step 3 was skipped, loss is not finite (2 so far, 2 in a row of at most 2)"
    assert len(lines) == 3


def test_so_many_skips_in_a_row_stop_it() -> None:
    module, divergence, watch = fit([1.0, NAN, 1.0, NAN, NAN, 1.0], "skip", 2)
    error = stopped(module)
    assert error is not None
    assert error.step == 5
    assert "number 2 in a row (trainer.max_skips=2)" in str(error)
    assert divergence.skipped == 3
    assert torch.equal(watch.weights[2], watch.weights[4])


class Event:
    """Stands for a copy from a GPU, which takes a wait to be complete."""

    waits = 0

    def synchronize(self) -> None:
        Event.waits += 1


def test_nothing_waits_for_the_latest_step_of_a_gpu() -> None:
    """It is looked at when the next one is under way, or at once where somebody must know."""
    divergence = Divergence("stop", 1, StepLog(1, 1, 1))
    trainer: Any = pl.Trainer(accelerator="cpu", logger=False, **QUIET)
    good, bad = ([torch.tensor(value), torch.tensor(1.0)] for value in (1.0, NAN))
    Event.waits = 0
    divergence._steps = [_Step(1, good, {}, 1.0, Event())]  # type: ignore[arg-type]
    assert not divergence.has_found(trainer)
    assert Event.waits == 0
    divergence._steps.append(_Step(2, bad, {}, 1.0, Event()))  # type: ignore[arg-type]
    assert not divergence.has_found(trainer)
    assert Event.waits == 1
    assert [step.step for step in divergence._steps] == [2]
    assert divergence.has_found(trainer, now=True)
    divergence._steps.append(_Step(3, bad, {}, 1.0, Event()))  # type: ignore[arg-type]
    assert divergence.has_found(trainer)
    with pytest.raises(Diverged, match="at step 2: loss is"):
        divergence.act(trainer, None)


def test_counts_go_on_after_a_resume() -> None:
    divergence = Divergence("skip", 3, StepLog(1, 1, 1))
    divergence.load_state_dict({"total": 7, "in_a_row": 2})
    assert divergence.state_dict() == {"total": 7, "in_a_row": 2}


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_a_scaler_that_looks_for_its_scale_is_no_divergence(policy: str) -> None:
    module, divergence, watch = fit([1.0] * 8, policy, 1, scale=2.0**22)
    assert watch.scales[:2] == [2.0**21, 2.0**20]  # float16 holds no gradient at the first scales
    assert watch.scales[-1] == watch.scales[-2]
    assert stopped(module) is None
    assert divergence.skipped == 0


class Steep(pl.Callback):
    """Makes every gradient infinite, whatever the scale."""

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        pl_module.net[0].weight.grad.fill_(float("inf"))

    def on_after_backward(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.net[0].weight.grad.fill_(float("inf"))


def test_a_scale_of_one_excuses_nothing() -> None:
    module, _, watch = fit([1.0] * 6, "stop", 1, 4.0, Steep())
    error = stopped(module)
    assert watch.scales == [2.0, 1.0, 0.5]
    assert error is not None
    assert (error.step, error.term) == (3, "the gradient's norm")


def test_a_loss_that_is_not_finite_counts_at_any_scale() -> None:
    module, divergence, watch = fit([1.0, NAN, 1.0], "skip", 5, scale=1024.0)
    assert divergence.skipped == 1
    assert torch.equal(watch.weights[0], watch.weights[1])
    module, _, _ = fit([1.0, NAN, 1.0], "stop", 5, scale=1024.0)
    assert stopped(module) is not None


class Spoil(pl.Callback):
    """After a step, sets something to infinity and writes a checkpoint."""

    def __init__(self, path: Path, what: str) -> None:
        self.path, self.what = path, what

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        state = RunState(None, next(item for item in trainer.callbacks if isinstance(item, Divergence)))
        if trainer.global_step == 1:
            state.write(self.path, trainer, pl_module, None, None)
        if trainer.global_step == 2:
            tensors = {"weight": pl_module.net[0].weight.data, "statistics": pl_module.net[1].running_var}
            (optimizer,) = trainer.optimizers
            if self.what == "state":
                optimizer.state[pl_module.net[0].weight] = {"momentum_buffer": torch.full((1, 3), NAN)}
            else:
                tensors[self.what][0] = float("inf")
            state.write(self.path, trainer, pl_module, None, None)


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("weight", "net.0.weight"),
        ("statistics", "net.1.running_var"),
        ("state", "the optimizer's state net.0.weight/momentum_buffer"),
    ],
)
def test_no_checkpoint_keeps_what_is_not_finite(tmp_path: Path, what: str, name: str) -> None:
    path = tmp_path / "last.ckpt"
    module, _, _ = fit([1.0] * 3, "stop", 1, None, Spoil(path, what))
    error = stopped(module)
    assert error is not None
    assert (error.step, error.term) == (2, name)
    assert CheckpointReader(path).step == 1  # which held a mask of -inf: that is what it is meant to be
    assert [item.name for item in tmp_path.iterdir()] == ["last.ckpt"]
