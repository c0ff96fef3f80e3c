"""Lightning behaves as its undocumented side is relied on: each test has the name of its function or class."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torchmetrics import MeanMetric

from lab.compat import lightning as compat
from lab.strategies.environment import ManagedEnvironment
from lab.structures import ImageBatch
from lab.structures.detection3d import MultiviewBatch
from lab.system.ranks import Place
from lab.tasks.classification.metrics import CalibrationError


class Module(pl.LightningModule):
    """A number that is trained, and what was called."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1, bias=False)
        self.metric = MeanMetric()
        self.seen: list[Any] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.seen.append(("train", self.trainer.global_step, self.trainer.current_epoch))
        return self.net(batch).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.seen.append(("val", self.trainer.global_step, torch.is_inference_mode_enabled()))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    "logger": False,
    "num_sanity_val_steps": 0,
}
STEPS: dict[str, Any] = {"max_epochs": 1, "max_steps": 4, "val_check_interval": 1, "check_val_every_n_epoch": None}


def make_trainer(*callbacks: pl.Callback, **more: Any) -> pl.Trainer:
    return pl.Trainer(callbacks=list(callbacks), **QUIET, **STEPS, **more)


def data(number: int) -> Any:
    return torch.utils.data.DataLoader(torch.ones(number, 1))


def place() -> ManagedEnvironment:
    return ManagedEnvironment(Place(0, 0, 1, 1))


def fit(module: Module, trainer: pl.Trainer) -> None:
    with pytest.warns():  # of few workers
        trainer.fit(module, data(8), data(1))


class Steps(pl.Callback):
    """Validates after the second step only, and names the epoch."""

    def __init__(self) -> None:
        self.said: list[bool] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        compat.set_epoch(trainer, 10 + trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        compat.validate_next(trainer, trainer.global_step == 2)
        self.said.append(compat.validates_next(trainer))


def test_set_epoch_and_validate_next() -> None:
    module, steps = Module(), Steps()
    fit(module, make_trainer(steps))
    trained = [("train", step, 10 + step) for step in range(4)]
    assert module.seen == [*trained[:2], ("val", 2, False), *trained[2:]]
    assert steps.said == [False, True, False, False]


def test_start_at() -> None:
    module, trainer = Module(), make_trainer(Steps())
    compat.start_at(trainer, 1)
    fit(module, trainer)
    assert [step for kind, step, _ in module.seen if kind == "train"] == [1, 2, 3]
    assert trainer.global_step == 4


def test_strategy_of() -> None:
    module = Module()
    assert compat.strategy_of(module) is None
    trainer = make_trainer(Steps())
    fit(module, trainer)
    assert compat.strategy_of(module) is trainer.strategy


def test_set_device() -> None:
    module = Module()
    compat.set_device(module, torch.device("meta"))
    assert (module.device, module.net.weight.device) == (torch.device("meta"), torch.device("cpu"))


class Splitting(compat.SplittingStrategy):
    """Notes when it is asked to split."""

    def split_model(self, model: nn.Module) -> nn.Module:
        assert isinstance(model, Module)
        assert self.optimizers == []
        model.seen.append(("split", self.device_mesh.shape, self.device_mesh.mesh_dim_names))
        return model


@pytest.mark.parametrize("kept", [False, True])
def test_keep_gradients_possible(kept: bool) -> None:
    module, trainer = Module(), make_trainer()
    if kept:
        compat.keep_gradients_possible(trainer)
    with pytest.warns():  # of few workers
        trainer.validate(module, data(1), verbose=False)
    assert module.seen == [("val", 0, not kept)]


def test_splitting_strategy(one_rank: None) -> None:
    strategy, module = Splitting(), Module()
    strategy.lay_out(1, 1)
    fit(module, make_trainer(Steps(), strategy=strategy, plugins=[place()]))
    assert module.seen[0] == ("split", (1, 1), ("data_parallel", "tensor_parallel"))
    assert ("val", 2, False) in module.seen
    assert [step for kind, step, _ in module.seen if kind == "train"] == [0, 1, 2, 3]


def test_hooked_ddp(one_rank: None) -> None:
    rounded: list[torch.dtype] = []

    def hook(state, bucket):  # torch wants its own classes as annotations, or none
        rounded.append(bucket.buffer().dtype)
        return bf16_compress_hook(state, bucket)

    fit(Module(), make_trainer(Steps(), strategy=compat.HookedDDP(ddp_comm_hook=hook), plugins=[place()]))
    assert rounded == [torch.float32] * 4


class Ours(Precision):
    """A precision that is known again."""


class OwnEngine(compat.OwnEngineStrategy):
    """Notes what Lightning asks for, without deepspeed's engine."""

    def __init__(self) -> None:
        super().__init__(config={"zero_optimization": {"stage": 3}})
        self.asked: list[str] = []

    def choose_precision(self, plugin: Precision) -> Precision:
        return Ours()

    def own_settings(self) -> dict[str, Any]:
        return {"of": "the precision"}

    def prepare_model(self, model: nn.Module) -> nn.Module:
        self.asked.append("model")
        return model

    def make_engine(self, model: nn.Module, optimizer: Any, lr_scheduler: Any) -> tuple[Any, Any]:
        self.asked.append("engine")
        return model, optimizer

    def make_evaluation_engine(self, model: nn.Module) -> Any:
        self.asked.append("evaluation")
        return model

    def setup_environment(self) -> None:
        self.setup_accelerator()

    def setup_distributed(self) -> None:
        self.set_world_ranks()


@pytest.mark.parametrize(("stage", "asked"), [("fit", ["model", "engine"]), ("validate", ["model", "evaluation"])])
def test_own_engine_strategy(stage: str, asked: list[str], one_rank: None) -> None:
    pytest.importorskip("deepspeed")
    from lab.compat.deepspeed import load_deepspeed

    load_deepspeed("cpu")
    strategy, module = OwnEngine(), Module()
    trainer = make_trainer(Steps(), strategy=strategy, plugins=[place()])
    assert isinstance(strategy.precision_plugin, Ours)
    with suppress(AttributeError):  # of a training: there is no engine that could step
        getattr(trainer, stage)(module, data(1))
    assert strategy.asked == asked
    assert strategy.config["of"] == "the precision"
    assert strategy.config["train_micro_batch_size_per_gpu"] == 1


def test_keep_exact() -> None:
    """Boxes keep their numbers and metrics their sums, whatever the network's type; other batches are cast."""
    trainer = pl.Trainer(accelerator="cpu", precision="bf16-true", logger=False, barebones=True)
    compat.keep_exact(trainer)
    plugin = trainer.precision_plugin
    task = nn.ModuleDict({"net": nn.Linear(2, 1), "error": CalibrationError(4)})
    assert plugin.convert_module(task)["net"].weight.dtype == torch.bfloat16
    task["error"].update(torch.randn(3, 2).bfloat16(), torch.tensor([0, 1, 1]))
    task["error"].reset()
    assert task["error"].confidence.dtype == torch.float64
    boxes = torch.tensor([[259.0, 176, 491, 376]])
    assert plugin.convert_input(boxes).dtype == torch.bfloat16

    class Exact:
        exact = True

    batch = Exact()
    assert plugin.convert_input(batch) is batch
    assert ImageBatch.exact
    assert MultiviewBatch.exact
