"""Object detection: any ``lab.structures.Detector`` is trained by its own loss and measured by COCO's mAP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import lightning.pytorch as pl
import torch
from torch import Tensor

from lab.checkpoint.access import StateAccess
from lab.checkpoint.format import CheckpointReader
from lab.errors import CheckpointError, ConfigError
from lab.metrics.detection import DetectionMAP
from lab.ops.images import normalize_images
from lab.registry import build
from lab.structures import DetectionBatch, DetectionPredictions, Detector
from lab.tasks.optim import make_optimizer, make_schedule
from lab.tasks.set_loss import SetLoss


class DetectionTask(pl.LightningModule):
    """Train and measure a detector. All arguments are plain, so that a checkpoint stands alone.

    Args:
        net: what ``lab.build`` makes the network of: ``_target_`` and arguments, without ``num_classes``.
        class_names: the name of each label; their number sizes the network.
        optimizer: settings for ``lab.tasks.optim.make_optimizer``.
        scheduler: settings for ``lab.tasks.optim.make_schedule``.
        max_steps: optimizer steps of the whole training, which the schedule spans.

    Raises:
        ConfigError: what ``net`` names is no detector.
    """

    monitor = "val/map"
    """The metric, higher is better, that ``best.ckpt`` is the best of."""

    def __init__(
        self,
        net: dict[str, Any],
        class_names: Sequence[str],
        optimizer: dict[str, Any],
        scheduler: dict[str, Any],
        max_steps: int,
    ) -> None:
        super().__init__()
        class_names = list(class_names)
        self.save_hyperparameters()
        self.class_names = class_names
        self.net = build(net, where="model.net", num_classes=len(class_names))
        if not isinstance(self.net, Detector):
            raise ConfigError(f"model.net._target_={net.get('_target_')} is no detector: see lab.structures.Detector")
        self.val_map, self.test_map = DetectionMAP(class_names), DetectionMAP(class_names)
        self.step_terms: dict[str, Tensor] = {}
        self.results: dict[str, float] = {}
        self.weights_kind = "raw"
        self.trained_steps = 0
        self.val_loss = SetLoss()

    def forward(self, batch: DetectionBatch) -> Any:
        """Return the network's outputs for a batch of uint8 images."""
        return self.net(normalize_images(batch.images, batch.padding_mask), batch.padding_mask)

    def training_step(self, batch: DetectionBatch, batch_idx: int) -> Tensor:
        """Return the micro-batch's part of the loss of its global batch.

        Lightning divides by the number of accumulated micro-batches and averages over ranks; the parts are already
        divided by the normalisers of the whole step, so both divisions are undone here.
        """
        terms = self.net.loss(self(batch), batch.targets, batch.totals)
        loss = torch.stack(list(terms.values())).sum()
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self.step_terms = {}
        for name, value in {"loss": loss, **terms}.items():
            value = value.detach()
            self.step_terms[name] = self.step_terms[name] + value if name in self.step_terms else value
        ranks = getattr(self.trainer.strategy, "num_data_ranks", self.trainer.world_size)
        return loss * self.trainer.accumulate_grad_batches * ranks

    def on_validation_epoch_start(self) -> None:
        """Forget what a validation that did not end has left."""
        self.val_loss.reset()
        self.val_map.reset()

    def validation_step(self, batch: DetectionBatch, batch_idx: int) -> Any:
        """Collect predictions and the loss; return the network's outputs for whoever draws them."""
        outputs = self(batch)
        self.val_loss.update(self.net, outputs, batch)
        self._update(self.val_map, batch, self.net.predict(outputs, batch.original_sizes))
        return outputs

    def on_validation_epoch_end(self) -> None:
        """Compute ``val/...``."""
        self._finish("val", self.val_map, {"loss": self.val_loss.compute(self.trainer)})

    def test_step(self, batch: DetectionBatch, batch_idx: int) -> Any:
        """Collect predictions; return the network's outputs for whoever draws them."""
        outputs = self(batch)
        self._update(self.test_map, batch, self.net.predict(outputs, batch.original_sizes))
        return outputs

    def on_test_epoch_end(self) -> None:
        """Compute ``test/...``."""
        self._finish("test", self.test_map, {})

    def predict_step(self, batch: DetectionBatch, batch_idx: int) -> tuple[Tensor, DetectionPredictions]:
        """Return image numbers (B,) and what was found, without the images that only fill up."""
        predictions = self.net.predict(self(batch), batch.original_sizes)
        return batch.image_ids[batch.valid], predictions.rows(batch.valid)

    def _update(self, metric: DetectionMAP, batch: DetectionBatch, predictions: DetectionPredictions) -> None:
        if batch.truth is None:
            raise ConfigError("the dataset gives no truth to evaluate against")
        metric.update(predictions, batch.truth, batch.image_ids, batch.valid)

    def _finish(self, stage: str, metric: DetectionMAP, more: Mapping[str, float]) -> None:
        values = {f"{stage}/{key}": value for key, value in {**more, **metric.compute()}.items()}
        metric.reset()
        self.results = values

    @classmethod
    def load_from_checkpoint(cls, path: str | Path) -> Self:  # type: ignore[override]
        """Build the task that a checkpoint is of, with its weights, on the CPU.

        Args:
            path: the folder, of any strategy and number of ranks.

        Raises:
            CheckpointError: it is missing, damaged or of another task.
        """
        reader = CheckpointReader(path)
        reader.verify()
        state = reader.state
        if state.get("task") != cls.__name__:
            raise CheckpointError(f"{path} is of the task {state.get('task')}, not of {cls.__name__}")
        task = cls(**state["hyper_parameters"])
        StateAccess().restore(reader, task, None)
        task.weights_kind, task.trained_steps = state["weights_kind"], reader.step
        return task

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule, which advances at every optimizer step."""
        settings = self.hparams
        optimizer = make_optimizer(self.net, settings["optimizer"])
        schedule = make_schedule(settings["scheduler"], settings["max_steps"])
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
