"""The segmentation task: trains any ``lab.structures.Segmenter`` with its own loss; measures mIoU, PQ and mask AP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from lab.errors import ConfigError
from lab.ops.images import normalize_images
from lab.structures import (
    Instances,
    MaskSegmenter,
    SegmentationBatch,
    SegmentationSpec,
    Segmenter,
    Segments,
    Term,
)
from lab.tasks.segmentation.data.collate import collate_segmentation
from lab.tasks.segmentation.data.files import SegmentationFolder
from lab.tasks.segmentation.data.transforms import SegmentationTransform
from lab.tasks.segmentation.mask_ap import MaskMAP
from lab.tasks.segmentation.metrics import PanopticQuality, SemanticMetrics
from lab.training.classes import ClassTask, class_table
from lab.training.inputs import predict_images, resize_of

_MEANS = {"semantic": "miou", "panoptic": "pq", "instances": "map_segm"}
"""The main metric of each kind of evaluation."""


@dataclass
class Segmented:
    """The predictions for one image, in its stored pixels.

    Attributes:
        semantic: (h, w) int16 classes.
        panoptic: segments; None if the network does not separate objects.
        instances: objects; None if the network does not separate objects, or if ``eval`` does not ask for them.
        class_names: the name of each class.
    """

    semantic: Tensor
    panoptic: Segments | None = None
    instances: Instances | None = None
    class_names: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes that have a pixel in ``semantic``, in label order."""
        return tuple(self.class_names[label] for label in self.semantic.unique().tolist() if label >= 0)

    @property
    def segment_names(self) -> tuple[str, ...]:
        """The class name of each segment in ``panoptic``; empty without ``panoptic``."""
        return (
            () if self.panoptic is None else tuple(self.class_names[label] for label in self.panoptic.labels.tolist())
        )


class SegmentationTask(ClassTask):
    """Train and measure a segmenter; see ``Task`` for the arguments.

    The group ``eval`` selects what is measured: ``semantic``, ``panoptic``, ``instances``. The last two need a network
    that separates objects (``MaskSegmenter``).

    Raises:
        ConfigError: the network cannot do what ``eval`` asks for, or nothing is asked for.
    """

    kind = "segmentation"
    protocol = Segmenter
    spec: SegmentationSpec

    def make_metrics(self) -> None:
        """Make the metrics that ``eval`` asks for, for validation and test."""
        settings = self.eval_settings
        asked = [name for name in ("semantic", "panoptic", "instances") if settings[name]]
        if not asked:
            raise ConfigError("eval: none of semantic, panoptic, instances is true: there is nothing to measure")
        for name in asked:
            if name != "semantic" and not isinstance(self.net, MaskSegmenter):
                kind = type(self.net).__name__
                raise ConfigError(f"eval.{name}=true: {kind} labels pixels and tells no objects apart; use maskformer")
        self.monitor = f"val/{_MEANS[asked[-1]]}"
        self.shown = tuple(_MEANS[name] for name in asked)
        for split in ("val", "test"):
            if settings["semantic"]:
                setattr(self, f"{split}_semantic", SemanticMetrics(self.class_names))
            if settings["panoptic"]:
                setattr(self, f"{split}_panoptic", PanopticQuality(self.class_names, self.spec.thing_labels))
            if settings["instances"]:
                setattr(self, f"{split}_instances", MaskMAP(self.class_names, self.spec.thing_labels))

    def _metric(self, split: str, name: str) -> Any:
        return getattr(self, f"{split}_{name}", None)

    def reset_metrics(self, split: str) -> None:
        """Reset the metrics."""
        for name in ("semantic", "panoptic", "instances"):
            metric = self._metric(split, name)
            if metric is not None:
                metric.reset()

    def forward(self, batch: SegmentationBatch) -> Any:
        """Return the network's outputs for a batch of uint8 images."""
        return self.net(normalize_images(batch.images, batch.padding_mask), batch.padding_mask)

    def evaluate(self, split: str, outputs: Any, batch: SegmentationBatch) -> None:
        """Add the predictions of a batch, at the sizes of the stored images."""
        if batch.truth is None:
            raise ConfigError("the dataset has no truth to evaluate against")
        where = (outputs, batch.targets.sizes, batch.original_sizes)
        things = self.spec.thing_labels
        if (semantic := self._metric(split, "semantic")) is not None:
            semantic.update(self.net.semantic(*where), batch.truth, batch.valid)
        if (panoptic := self._metric(split, "panoptic")) is not None:
            panoptic.update(self.net.panoptic(*where, things), batch.truth, batch.valid)
        if (instances := self._metric(split, "instances")) is not None:
            instances.update(self.net.instances(*where, things), batch.truth, batch.image_ids, batch.valid)

    def confusion_matrix(self, split: str) -> Tensor | None:
        """Return the confusion matrix of pixels, if classes of pixels are measured."""
        metric = self._metric(split, "semantic")
        return None if metric is None else metric.counted

    def compute_metrics(self, split: str) -> dict[str, float]:
        """Return the selected metrics; a test also fills ``tables`` with a row for each class."""
        values: dict[str, float] = {}
        for name in ("semantic", "panoptic", "instances"):
            metric = self._metric(split, name)
            if metric is not None:
                values |= metric.compute()
        if split == "test" and (columns := self.test_columns()):
            self.tables["classes"] = class_table(columns, self.class_names)
        return values

    def classes_measured(self, split: str) -> dict[str, int]:
        """Return the number of classes in the means of each kind of evaluation."""
        found = {mean: self._metric(split, name) for name, mean in _MEANS.items()}
        return {mean: metric.classes_measured for mean, metric in found.items() if metric is not None}

    def test_columns(self) -> dict[str, Tensor]:
        """Return the test's metrics of each class, (K,) each, NaN where not defined; all ranks must call this."""
        columns: dict[str, Tensor] = {}
        for name, keys in (("semantic", ("iou", "accuracy")), ("panoptic", ("pq", "sq", "rq"))):
            if (metric := self._metric("test", name)) is not None:
                with metric.sync_context():  # otherwise they would cover only this rank's images
                    columns |= zip(keys, metric.of_classes(), strict=True)
        return columns

    def predict_step(self, batch: SegmentationBatch, batch_idx: int) -> tuple[Tensor, list[Segmented]]:
        """Return image ids (b,) and predictions on the host, without images that only pad the batch."""
        where = (self(batch), batch.targets.sizes, batch.original_sizes)
        maps = self.net.semantic(*where)
        panoptic: list[Segments | None] = [None] * len(maps)
        instances: list[Instances | None] = [None] * len(maps)
        if isinstance(self.net, MaskSegmenter):
            panoptic = [item.to("cpu") for item in self.net.panoptic(*where, self.spec.thing_labels)]
            if self.eval_settings["instances"]:
                instances = [item.to("cpu") for item in self.net.instances(*where, self.spec.thing_labels)]
        rows = batch.valid.nonzero().flatten().tolist()
        found = [Segmented(maps[row].cpu(), panoptic[row], instances[row], tuple(self.class_names)) for row in rows]
        return batch.image_ids[batch.valid], found

    def predict(self, inputs: Any, batch_size: int = 16) -> Any:
        """Return the ``Segmented`` of an image, or a list of them for several, the same as ``stage=predict``.

        Args:
            inputs: a path, PIL image, array (h, w, 3) or tensor (3, h, w), uint8 or floats from 0 to 1; or a folder, a
                list or a batch of them. Maps have the size of the image as given.
            batch_size: images in one forward pass.

        Raises:
            DataError: an image cannot be used.
        """
        size, scales, longest = resize_of(self)
        transform = SegmentationTransform(train=False, scales=scales, max_size=longest, size=size)
        dataset = partial(SegmentationFolder, transform=transform)
        found, several = predict_images(self, inputs, batch_size, dataset, collate_segmentation)
        return found if several else found[0]

    def describe_pass(self, batch: SegmentationBatch, outputs: Any, terms: Mapping[str, Term] | None) -> str:
        """Return the shapes of images and the network's outputs."""
        shapes = [
            f"{name} {tuple(value.shape)}"
            for name in ("class_logits", "mask_logits", "logits")
            if isinstance(value := getattr(outputs, name, None), Tensor)
        ]
        if isinstance(outputs, Tensor):
            shapes = [f"logits {tuple(outputs.shape)}"]
        return f"images {tuple(batch.images.shape)} -> {', '.join(shapes)}"
