"""Detection in 3-D: any network that finds boxes in the pictures of calibrated cameras is trained and measured.

Colours are changed, pictures normalised and masked on the device; the loss is the network's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor

from lab.errors import ConfigError, DataError
from lab.run_record import Direction
from lab.structures import Term
from lab.structures.detection3d import (
    Detection3dPredictions,
    Detection3dSpec,
    Detections3d,
    Detector3d,
    MultiviewBatch,
    MultiviewSample,
)
from lab.tasks.detection3d.augmentation import distorted, grid_masked, normalized
from lab.tasks.detection3d.data.collate import PAD_DIVISOR, collate_multiview
from lab.tasks.detection3d.data.frames import FrameFiles
from lab.tasks.detection3d.metrics import NuScenesMetric, band_rows, best_of, class_ranges, class_rows, distance_rows
from lab.tasks.detection3d.scoring import ERRORS, FIGURES
from lab.training.classes import ClassTask


class Detection3dTask(ClassTask):
    """Train and measure a detector in 3-D; see ``Task`` for the arguments.

    ``model.learning`` sets ``grid_mask`` and ``photometric``; ``eval.monitor`` what ``best.ckpt`` is the best of.
    """

    kind = "detection3d"
    protocol = Detector3d
    shown = ("map", "nds")
    spec: Detection3dSpec

    def make_metrics(self) -> None:
        """Make nuScenes' metrics for validation and test."""
        monitor = self.eval_settings["monitor"]
        self.monitor = f"val/{monitor}"
        self.monitor_mode: Direction = "min" if monitor == "loss" else "max"
        errors = tuple(f"m{name}" for name in ERRORS)
        self.directions = {**dict.fromkeys(FIGURES, "max"), **dict.fromkeys(("loss", *errors), "min")}
        self.ranges = class_ranges(self.class_names, self.eval_settings["class_ranges"])
        self.val_score, self.test_score = (NuScenesMetric(*self.names, self.ranges) for _ in range(2))
        self.counted: dict[str, int] = {}

    @property
    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of the classes and of the attributes."""
        return self.class_names, self.spec.attribute_names

    def _metric(self, split: str) -> NuScenesMetric:
        return self.val_score if split == "val" else self.test_score

    def reset_metrics(self, split: str) -> None:
        """Forget all frames."""
        self._metric(split).reset()

    def network_input(self, batch: MultiviewBatch) -> Tensor:
        """Return the pictures (B, N, 3, H, W) float32 as the network reads them.

        In training batches with ``chances`` are augmented as ``model.learning`` says.
        """
        learning, chances = self.learning, batch.chances if self.training else None
        images = batch.images
        if chances is not None and learning["photometric"]:
            images = distorted(images, chances, learning["photometric"])
        images = normalized(images, batch.image_sizes, self.net.pixels)
        if chances is not None and learning["grid_mask"]:
            images = grid_masked(images, chances, learning["grid_mask"])
        return images

    def forward(self, batch: MultiviewBatch) -> Any:
        """Return the network's outputs for a batch."""
        return self.net(self.network_input(batch), batch.projections)

    def evaluate(self, split: str, outputs: Any, batch: MultiviewBatch) -> None:
        """Add the predictions of a batch."""
        if batch.truth is None:
            raise ConfigError("the dataset has no truth to evaluate against")
        self._metric(split).update(self.net.predict(outputs), batch.truth, batch)

    def compute_metrics(self, split: str) -> dict[str, float]:
        """Return nuScenes' metrics; a test also fills ``tables``."""
        metric = self._metric(split)
        sides = metric.sides(metric.compute())
        found = metric.score(sides)
        self.counted[split] = int((found.counts > 0).sum())
        if split == "test":
            self.tables["classes"] = class_rows(found, self.class_names, self.ranges)
            self.tables["distances"] = distance_rows(found, self.class_names)
            scores = {band: metric.score(sides, band) for band in pairwise(self.eval_settings["bands"])}
            if measured := {band: score for band, score in scores.items() if score.counts.any()}:
                self.tables["bands"] = band_rows(measured, self.class_names)
        return found.figures()

    def classes_measured(self, split: str) -> dict[str, int]:
        """Return the number of classes that the truth has."""
        return {"map": self.counted[split]}

    def describe_evaluation(self) -> str:
        """Return which classes are in the means."""
        counted = [int(value) for key, value in self.results.items() if key.endswith("map_classes_measured")]
        classes = self.spec.num_classes
        if not counted or counted[0] == classes:
            return f"map and nds as nuscenes-devkit has them, over {classes} classes"
        return (
            f"map and nds as nuscenes-devkit has them: the truth has boxes of {counted[0]} of {classes} classes, "
            "and the others count as not found"
        )

    def predict_step(
        self, batch: MultiviewBatch, batch_idx: int
    ) -> tuple[Tensor, list[tuple[MultiviewBatch, Detection3dPredictions]]]:
        """Return the ids (b,) of frames, and of each the frame and its best candidates, without those that fill up."""
        found = best_of(self.net.predict(self(batch)))
        rows = [slice(row, row + 1) for row in batch.valid.nonzero().flatten().tolist()]
        return batch.frame_ids[batch.valid], [(batch.rows(row), found.rows(row)) for row in rows]

    def predict(self, inputs: Any, batch_size: int = 4) -> Any:
        """Return the ``Detections3d`` of a frame, or a list of them for several, in the frame of the rig.

        Args:
            inputs: a ``MultiviewSample``, or a list of them; or the path of a json file of frames (``FrameFiles``).
            batch_size: frames in one forward pass.

        Raises:
            DataError: the file, or an input, cannot be used.
        """
        if isinstance(inputs, str | Path):
            files = FrameFiles(Path(inputs), self.spec)
            inputs = [files[0, index] for index in range(len(files))]
        several, found = isinstance(inputs, list), list[Detections3d]()
        samples = [self._to_predict(one) for one in (inputs if several else [inputs])]
        with self.evaluating():
            for first in range(0, len(samples), batch_size):
                batch = collate_multiview(samples[first : first + batch_size], PAD_DIVISOR)
                best = best_of(self.net.predict(self(batch.to(self.device))))
                found += best.to("cpu").named(self.class_names)
        return found if several else found[0]

    def describe_pass(self, batch: MultiviewBatch, outputs: Any, terms: Mapping[str, Term] | None) -> str:
        """Return the shapes of pictures and boxes."""
        return f"pictures {tuple(batch.images.shape)} -> boxes {tuple(self.net.predict(outputs).boxes.shape)}"

    def _to_predict(self, sample: Any) -> MultiviewSample:
        """Return a frame without truth and chances.

        Raises:
            DataError: it is no frame of the network's cameras.
        """
        cameras = self.spec.camera_names
        if not isinstance(sample, MultiviewSample):
            raise DataError(
                f"a {type(sample).__name__} is no frame: give a MultiviewSample, a list of them, or the path of a json "
                "file of frames"
            )
        counts = (len(sample.images), len(sample.projections))
        if counts != (len(cameras), len(cameras)):
            raise DataError(
                f"frame {sample.token} has {counts[0]} pictures and {counts[1]} projections; the network reads "
                f"{len(cameras)} cameras: {', '.join(cameras)}"
            )
        return replace(sample, truth=None, chances=None)
