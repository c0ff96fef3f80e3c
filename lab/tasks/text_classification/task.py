"""Text classification: any network that maps tokens to logits is trained by a cross-entropy and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lab.data.datamodule import DataModule
from lab.errors import ConfigError, DataError
from lab.metrics.confusion import class_columns, confusion_table
from lab.run_record import Direction
from lab.structures import Term
from lab.structures.text_classification import (
    ClassifiedText,
    TextClassificationBatch,
    TextClassificationSpec,
    TextClassifier,
)
from lab.tasks.text_classification.data.encoding import batch_of, encoding_of
from lab.tasks.text_classification.metrics import TextMetrics
from lab.training.class_loss import CrossEntropy, class_weights_of
from lab.training.classes import class_table
from lab.training.task import Task

NUM_TEXTS = "texts"
"""The normaliser of the loss: the number of texts."""
SCORES = ("accuracy", "macro_f1", "f1", "matthews")


class TextClassificationTask(Task):
    """Train and measure a text classifier; see ``Task`` for the arguments.

    The logits of a text that is read in several windows are the mean over its windows, in training too, so that a text
    counts once in loss and metrics. ``model.learning`` sets ``label_smoothing`` and ``class_weights``, ``eval.monitor``
    what ``best.ckpt`` is the best of.

    Raises:
        ConfigError: the settings do not fit the number of classes.
    """

    kind = "text_classification"
    protocol = TextClassifier
    spec: TextClassificationSpec

    def make_metrics(self) -> None:
        """Make loss and metrics."""
        monitor = str(self.eval_settings["monitor"])
        if monitor == "f1" and self.spec.num_classes != 2:
            raise ConfigError(f"eval.monitor=f1 is of two classes, here are {self.spec.num_classes}; take macro_f1")
        self.monitor = f"val/{monitor}"
        self.monitor_mode: Direction = "min" if monitor == "loss" else "max"
        self.directions = {"loss": "min", **dict.fromkeys(SCORES, "max")}
        self.shown = tuple(dict.fromkeys(("accuracy", monitor)))
        weights = class_weights_of(self.learning["class_weights"], self.spec.class_counts, self.spec.num_classes)
        self.criterion = CrossEntropy(self.learning["label_smoothing"], weights)
        self.val_metrics, self.test_metrics = TextMetrics(self.spec.num_classes), TextMetrics(self.spec.num_classes)
        self.confusion: dict[str, Tensor] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each label."""
        return self.spec.class_names

    def _metrics(self, split: str) -> TextMetrics:
        return self.val_metrics if split == "val" else self.test_metrics

    def reset_metrics(self, split: str) -> None:
        """Forget all texts."""
        self._metrics(split).reset()

    def forward(self, batch: TextClassificationBatch) -> Tensor:
        """Return the logits (B, K) of texts: of several windows their mean.

        Raises:
            ConfigError: the network's outputs are no logits of the classes.
        """
        logits = self.net(batch.input_ids, batch.attention_mask, batch.token_type_ids, batch.num_tokens)
        expected = (len(batch.input_ids), self.spec.num_classes)
        if not isinstance(logits, Tensor) or logits.shape != expected:
            what = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            raise ConfigError(
                f"{type(self.net).__name__} gives {what} for {expected[0]} sequences, and a text classifier logits "
                f"{expected}: see lab.structures.text_classification.TextClassifier"
            )
        return mean_over_windows(logits, batch.windows)

    def terms(self, batch: TextClassificationBatch) -> tuple[Tensor, Mapping[str, Term]]:
        """Return the logits and the cross-entropy, as a sum over the texts."""
        logits = self(batch)
        return logits, {"loss_ce": Term(self.criterion.entropy(logits, batch.targets.labels), NUM_TEXTS)}

    def totals(self, batch: TextClassificationBatch) -> Mapping[str, float]:
        """Return the number of texts."""
        return {NUM_TEXTS: float(batch.num_samples)}

    def evaluate(self, split: str, outputs: Tensor, batch: TextClassificationBatch) -> None:
        """Add the predictions of a batch."""
        self._metrics(split).update(outputs[batch.valid], batch.targets.labels[batch.valid])

    def compute_metrics(self, split: str) -> dict[str, float]:
        """Return the figures of the metrics; a test also fills ``tables``."""
        values, self.confusion[split] = self._metrics(split).compute()
        if split == "test":
            columns = class_columns(self.confusion[split], "texts")
            self.tables["classes"] = class_table(columns, self.class_names)
            self.tables |= confusion_table(self.confusion[split], self.class_names, "texts")
        return values

    def confusion_matrix(self, split: str) -> Tensor | None:
        """Return the confusion matrix of texts."""
        return self.confusion.get(split)

    def classes_measured(self, split: str) -> dict[str, int]:
        """Return over how many classes the macro mean is."""
        counts = self.confusion[split]
        return {"macro_f1": int((counts.sum(0) + counts.sum(1) > 0).sum())}

    def memorize(self, data: DataModule) -> None:
        """Pass all training texts to a network without trainable parameters, which fits itself to them.

        Raises:
            ConfigError: the network has no method ``fit_texts``.
        """
        fit = getattr(self.net, "fit_texts", None)
        if fit is None:
            super().memorize(data)
            return
        dataset = data.dataset("train")
        fit(data.collate([dataset[0, row] for row in range(len(dataset))]))

    def predict_step(self, batch: TextClassificationBatch, batch_idx: int) -> tuple[Tensor, list[ClassifiedText]]:
        """Return text numbers (b,) and what each was taken for, on the host, without texts that only fill up."""
        return batch.sample_ids[batch.valid], self._best(self(batch)[batch.valid])

    def _best(self, logits: Tensor) -> list[ClassifiedText]:
        """Return the ``eval.top_k`` best classes for each row of logits (b, K)."""
        most = min(self.eval_settings["top_k"], self.spec.num_classes)
        scores, labels = (part.cpu() for part in logits.float().softmax(1).topk(most))
        return [
            ClassifiedText(row, score, tuple(self.class_names[label] for label in row.tolist()))
            for row, score in zip(labels, scores, strict=True)
        ]

    def predict(self, inputs: Any, batch_size: int = 16) -> Any:
        """Return the ``ClassifiedText`` of a text, or a list of them for several.

        Args:
            inputs: a text, or for data of pairs a tuple of two texts; or a list of them.
            batch_size: texts that the network reads at once.

        Raises:
            DataError: an input is no text, or no pair where the training had pairs.
        """
        several = isinstance(inputs, list)
        texts, seconds = split_pairs(inputs if several else [inputs], self.spec.pairs)
        encoding, found = encoding_of(self.spec), list[ClassifiedText]()
        with self.evaluating():
            for first in range(0, len(texts), batch_size):
                part = slice(first, first + batch_size)
                batch = batch_of(encoding, texts[part], None if seconds is None else seconds[part])
                found += self.predict_step(batch.to(self.device), 0)[1]
        return found if several else found[0]

    def describe_pass(self, batch: TextClassificationBatch, outputs: Tensor, terms: Mapping[str, Term] | None) -> str:
        """Return the shapes of tokens and logits."""
        return f"tokens {tuple(batch.input_ids.shape)} -> logits {tuple(outputs.shape)}"


def mean_over_windows(logits: Tensor, windows: Sequence[int]) -> Tensor:
    """Return the mean of the logits (W, K) of each text's windows, (B, K) float32.

    Args:
        logits: of the windows, those of one text after the other.
        windows: the number of windows of each text; empty: one each.
    """
    if not windows:
        return logits
    owners = [text for text, count in enumerate(windows) for _ in range(count)]
    sums = logits.new_zeros(len(windows), logits.shape[1], dtype=torch.float32)
    sums = sums.index_add(0, torch.tensor(owners, device=logits.device), logits.float())
    return sums / torch.tensor(windows, dtype=torch.float32, device=logits.device)[:, None]


def split_pairs(inputs: Sequence[Any], pairs: bool) -> tuple[list[str], list[str] | None]:
    """Return the texts, and the second text of each if they are pairs.

    Raises:
        DataError: an input is no text, or no pair where pairs are wanted.
    """
    wanted = "a pair of texts, (first, second)" if pairs else "a text"
    for number, item in enumerate(inputs):
        parts = item if pairs and isinstance(item, list | tuple) else (item,)
        if len(parts) != 1 + pairs or not all(isinstance(part, str) for part in parts):
            raise DataError(f"input {number} is a {type(item).__name__}, and the network was trained on {wanted}")
    if not pairs:
        return list(inputs), None
    return [item[0] for item in inputs], [item[1] for item in inputs]
