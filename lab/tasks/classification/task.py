"""Image classification: any network that maps images to logits is trained by a cross-entropy and measured.

The loss is the task's own, so a network of torchvision's or timm's manner fits as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from lab.compat.lightning import strategy_of
from lab.errors import ConfigError
from lab.metrics.confusion import class_columns, confusion_table
from lab.ops.images import normalize_images
from lab.report.confusion import draw_confusion
from lab.run_record import Direction
from lab.strategies import collectives
from lab.structures import Term
from lab.structures.classification import ClassificationBatch, ClassificationSpec, Classified, Classifier
from lab.tasks.classification import multilabel
from lab.tasks.classification.criterion import make_criterion
from lab.tasks.classification.data.augmentation import augmented_pixels, erased_and_mixed, mixed_targets
from lab.tasks.classification.data.collate import collate_classification
from lab.tasks.classification.data.files import ClassificationFolder
from lab.tasks.classification.data.transforms import EvalTransform
from lab.tasks.classification.explain import explain
from lab.tasks.classification.metrics import (
    ClassificationMetrics,
    ConfidentMistakes,
)
from lab.tasks.classification.multilabel import MultilabelMetrics, labels_above
from lab.tasks.classification.pictures import draw_inputs, draw_mistakes
from lab.tasks.classification.semi.choose import make_method
from lab.training.classes import ClassTask, class_table
from lab.training.inputs import predict_images

MONITORS = {
    False: ("top_1", "top_5", "macro_accuracy", "macro_f1", "ece", "loss"),
    True: multilabel.MONITORS,
}
"""What best.ckpt can be the best of, the default first: of one label an image, and of several."""
MOST_MISTAKES = 16
"""Of a test: how many of the most confident mistakes are drawn."""


class ClassificationTask(ClassTask):
    """Train and measure a classifier; see ``Task`` for the arguments.

    ``model.learning`` says what it learns from (``method``, ``loss``, ``label_smoothing``, ...), the group ``eval``
    what ``best.ckpt`` is the best of (``monitor``).

    Raises:
        ConfigError: the settings do not fit the number of classes.
    """

    kind = "classification"
    protocol = Classifier
    spec: ClassificationSpec

    def make_metrics(self) -> None:
        """Make loss and metrics."""
        monitor = self._monitor()
        self.monitor = f"val/{monitor}"
        self.monitor_mode: Direction = "min" if monitor in ("ece", "loss") else "max"
        scores = ("top_1", "top_5", "macro_accuracy", "macro_f1", "map", "micro_f1", "exact_match")
        self.directions = {"loss": "min", "ece": "min", **dict.fromkeys(scores, "max")}
        self.shown = tuple(dict.fromkeys((MONITORS[self.spec.multilabel][0], monitor)))
        self.criterion, self.method = make_criterion(self.learning, self.spec), make_method(self.learning)
        for split in ("val", "test"):
            setattr(self, f"{split}_metrics", self._made_metrics())
        shape = [max(1, length) for length in self.spec.input_shape or (3, 1, 1)]
        self.test_mistakes = ConfidentMistakes(shape, MOST_MISTAKES)
        self.confusion: dict[str, Tensor] = {}
        self.mistakes: list[tuple[float, int, int, Tensor]] = []

    def _monitor(self) -> str:
        """Return the metric that best.ckpt is the best of, without the split.

        Raises:
            ConfigError: this data does not have it.
        """
        asked, known = self.eval_settings["monitor"], MONITORS[self.spec.multilabel]
        if asked is not None and asked not in known:
            of = "several labels" if self.spec.multilabel else "one label"
            raise ConfigError(f"eval.monitor={asked}: images of {of} are measured by {', '.join(known)}")
        if asked == "top_5" and self.spec.num_classes <= 5:
            raise ConfigError(
                f"eval.monitor=top_5: of {self.spec.num_classes} classes the true one is always among the best 5; "
                "take top_1"
            )
        return str(asked or known[0])

    def _made_metrics(self) -> ClassificationMetrics | MultilabelMetrics:
        if self.spec.multilabel:
            return MultilabelMetrics(self.spec.num_classes, self.threshold)
        return ClassificationMetrics(
            self.spec.num_classes, self.eval_settings["calibration_bins"], self.criterion.binary
        )

    @property
    def threshold(self) -> float:
        """The probability above which one of several labels counts as predicted."""
        return float(self.eval_settings.get("threshold", 0.5))  # older checkpoints have none

    def _metrics(self, split: str) -> ClassificationMetrics | MultilabelMetrics:
        found: ClassificationMetrics | MultilabelMetrics = getattr(self, f"{split}_metrics")
        return found

    def reset_metrics(self, split: str) -> None:
        """Forget all images."""
        self._metrics(split).reset()
        if split == "test":
            self.test_mistakes.reset()

    def forward(self, batch: ClassificationBatch) -> Tensor:
        """Return the logits (B, K) of a batch of uint8 images, which are augmented as the batch says.

        Raises:
            ConfigError: the network's outputs are no logits of the classes.
        """
        return self.logits(self.inputs(batch))

    def inputs(self, batch: ClassificationBatch) -> Tensor:
        """Return the images (B, 3, H, W) of a batch as the network reads them, augmented as the batch says."""
        return erased_and_mixed(self.normalized(augmented_pixels(batch)), batch)

    @property
    def data_rank(self) -> int:
        """The number of this rank among those that train together; 0 outside of a training."""
        return 0 if strategy_of(self) is None else collectives.rank()

    @property
    def num_data_ranks(self) -> int:
        """How many they are; 1 outside of a training, where the planner runs on one rank alone."""
        return 1 if strategy_of(self) is None else collectives.world_size()

    def everywhere(self, tensor: Tensor) -> Tensor:
        """Return a tensor (...) of every rank that trains, as (R, ...); no gradient passes."""
        return collectives.gather(tensor) if self.num_data_ranks > 1 else tensor.detach()[None]

    def normalized(self, images: Tensor) -> Tensor:
        """Return uint8 images (B, 3, H, W) as the network reads them."""
        return normalize_images(images, mean=self.spec.mean, std=self.spec.std)

    def logits(self, images: Tensor) -> Tensor:
        """Return the network's logits (B, K) of normalised images.

        Raises:
            ConfigError: the network's outputs are no logits of the classes.
        """
        logits = self.net(images)
        if not isinstance(logits, Tensor) or logits.shape != (len(images), self.spec.num_classes):
            what = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            raise ConfigError(
                f"{type(self.net).__name__} gives {what} for {len(images)} images, and a classifier logits "
                f"{(len(images), self.spec.num_classes)}: see lab.structures.classification.Classifier"
            )
        return logits

    def terms(self, batch: ClassificationBatch) -> tuple[Tensor, Mapping[str, Term]]:
        """Return the logits and the loss, as a sum over the batch: what the method of learning makes of it."""
        return self.method.terms(self, batch)

    def totals(self, batch: ClassificationBatch) -> Mapping[str, float]:
        """Return the number of images, and of views of unlabelled ones."""
        return self.method.totals(self, batch)

    def evaluate(self, split: str, outputs: Tensor, batch: ClassificationBatch) -> None:
        """Add the predictions of a batch."""
        outputs, labels = outputs[batch.valid], batch.targets.labels[batch.valid]
        self._metrics(split).update(outputs, labels)
        if split == "test" and not self.spec.multilabel:
            self.test_mistakes.update(self.scores(outputs), labels, batch.images[batch.valid])

    def compute_metrics(self, split: str) -> dict[str, float]:
        """Return the figures of the metrics; a test also fills ``tables``."""
        values, self.confusion[split] = self._metrics(split).compute()
        if split == "test" and self.spec.multilabel:
            self.tables["classes"] = class_table(multilabel.class_columns(self.confusion[split]), self.class_names)
        elif split == "test":
            self.mistakes = self.test_mistakes.compute()
            self.tables["classes"] = class_table(class_columns(self.confusion[split], "images"), self.class_names)
            self.tables |= confusion_table(self.confusion[split], self.class_names, "images")
        return values

    @torch.no_grad()
    def draw_inputs(self, batch: ClassificationBatch, count: int) -> Image | None:
        """Return the first images of a training batch, augmented, with the shares of their classes."""
        labels = mixed_targets(batch, self.spec.num_classes).labels
        return draw_inputs(self.inputs(batch)[:count], labels[:count], self.spec)

    def confusion_matrix(self, split: str) -> Tensor | None:
        """Return the confusion matrix of images of one label."""
        return None if self.spec.multilabel else self.confusion.get(split)

    def drawings(self, split: str) -> Mapping[str, Image]:
        """Return the confusion matrix, and of a test the most confident mistakes, if there is one; of one label."""
        if self.spec.multilabel:
            return {}
        pictures = {"confusion": draw_confusion(self.confusion[split], self.class_names)}
        if split == "test" and self.mistakes:
            pictures["mistakes"] = draw_mistakes(self.mistakes, self.class_names, self._explain_mistakes())
        return pictures

    def _explain_mistakes(self) -> Tensor | None:
        """Return heat maps of the mistakes, for the wrong classes; of one rank alone, since others do not call this."""
        if collectives.world_size() > 1:
            return None
        images = torch.stack([image for *_, image in self.mistakes]).to(self.device)
        labels = torch.tensor([found for _, _, found, _ in self.mistakes], device=self.device)
        with self.evaluating():
            return self._heat(images, labels)

    def _heat(self, images: Tensor, labels: Tensor) -> Tensor | None:
        """Return what uint8 images (B, 3, H, W) were taken for these classes for, if ``eval.explain`` asks for it."""
        asked = self.eval_settings.get("explain", "none") != "none"  # checkpoints of before this setting lack it
        return explain(self.net, self.normalized(images), labels, self.eval_settings) if asked else None

    def classes_measured(self, split: str) -> dict[str, int]:
        """Return over how many classes the macro means are."""
        if self.spec.multilabel:
            return multilabel.classes_measured(self.confusion[split])
        counts = self.confusion[split]
        present = int((counts.sum(0) + counts.sum(1) > 0).sum())
        return {"macro_accuracy": present, "macro_f1": present}

    def predict_step(self, batch: ClassificationBatch, batch_idx: int) -> tuple[Tensor, list[Classified]]:
        """Return image numbers (b,) and what each shows, on the host, without images that only fill up.

        That are its best classes; of several labels those whose probability is above ``eval.threshold``.
        """
        scores = self.scores(self(batch))
        heat = self._heat(batch.images, scores.argmax(1))
        if self.spec.multilabel:
            found = labels_above(scores[batch.valid], self.threshold, self.class_names)
        else:
            found = self._best(scores[batch.valid])
        if heat is not None:
            found = [replace(one, heat=each) for one, each in zip(found, heat[batch.valid].cpu(), strict=True)]
        return batch.image_ids[batch.valid], found

    def _best(self, scores: Tensor) -> list[Classified]:
        """Return the ``eval.top_k`` best classes for each row of probabilities (b, K)."""
        scores, labels = (part.cpu() for part in scores.topk(min(self.eval_settings["top_k"], self.spec.num_classes)))
        return [
            Classified(row, score, tuple(self.class_names[label] for label in row.tolist()))
            for row, score in zip(labels, scores, strict=True)
        ]

    def scores(self, logits: Tensor) -> Tensor:
        """Return the probabilities (B, K) float32 that logits (B, K) stand for."""
        return logits.float().sigmoid() if self.criterion.binary else logits.float().softmax(1)

    def predict(self, inputs: Any, batch_size: int = 16) -> Any:
        """Return the ``Classified`` of an image, or a list of them for several, as ``stage=predict`` finds them.

        Args:
            inputs: a path, PIL image, array (h, w, 3) or tensor (3, h, w), uint8 or floats from 0 to 1; or a folder, a
                list or a batch of them.
            batch_size: images that the network reads at once.

        Raises:
            DataError: an image cannot be used.
        """
        transform = EvalTransform(self.spec.input_shape[1:], self.spec.resize, self.spec.interpolation)
        dataset = partial(ClassificationFolder, transform=transform)
        found, several = predict_images(self, inputs, batch_size, dataset, collate_classification)
        return found if several else found[0]

    def describe_pass(self, batch: ClassificationBatch, outputs: Tensor, terms: Mapping[str, Term] | None) -> str:
        """Return the shapes of images and logits."""
        return f"images {tuple(batch.images.shape)} -> logits {tuple(outputs.shape)}"
