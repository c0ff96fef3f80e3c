"""Classification and tagging of sound: any network that maps log-mel examples to logits is trained and measured.

Front end, augmentation and loss run on the device; the loss is the task's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from lab.errors import ConfigError
from lab.metrics.confusion import class_columns, confusion_table
from lab.report.confusion import draw_confusion
from lab.run_record import Direction
from lab.structures import Term
from lab.structures.audio import AudioBatch, AudioClassifier, AudioSpec, ClassifiedClip, LogMel
from lab.tasks.audio.augmentation import masked, mixed, mixed_labels, mixing_shares
from lab.tasks.audio.criterion import NUM_CLIPS, AudioCriterion
from lab.tasks.audio.metrics import LabelMetrics, TagMetrics, tag_columns
from lab.tasks.audio.waves import batch_of_waves
from lab.training.classes import ClassTask, class_table

MONITORS = {False: ("accuracy", "macro_f1", "loss"), True: ("map", "auc", "loss")}
"""What best.ckpt can be the best of, the default first: of one label a clip, and of several."""


class AudioTask(ClassTask):
    """Train and measure a network for sound; see ``Task`` for the arguments.

    ``model.learning`` sets ``loss``, ``label_smoothing``, ``class_weights``, ``mixup`` and ``spec_augment``;
    ``eval.monitor`` what ``best.ckpt`` is the best of.

    Raises:
        ConfigError: the settings do not fit the data, or the data's sample rate not the network.
    """

    kind = "audio"
    protocol = AudioClassifier
    spec: AudioSpec

    def make_metrics(self) -> None:
        """Make loss and metrics."""
        if self.net.sample_rate != self.spec.sample_rate:
            raise ConfigError(
                f"data.sample_rate={self.spec.sample_rate}: {type(self.net).__name__} hears {self.net.sample_rate} "
                f"samples a second; set data.sample_rate={self.net.sample_rate}, and files are resampled"
            )
        monitor = self._monitor()
        self.monitor = f"val/{monitor}"
        self.monitor_mode: Direction = "min" if monitor == "loss" else "max"
        self.directions = {"loss": "min", **dict.fromkeys(("accuracy", "macro_f1", "map", "auc", "d_prime"), "max")}
        self.shown = tuple(dict.fromkeys((MONITORS[self.spec.multilabel][0], monitor)))
        self.criterion = AudioCriterion(self.learning, self.spec)
        make = TagMetrics if self.spec.multilabel else LabelMetrics
        self.val_metrics, self.test_metrics = make(self.spec.num_classes), make(self.spec.num_classes)
        self.counted: dict[str, Tensor] = {}

    def _monitor(self) -> str:
        asked, known = self.eval_settings["monitor"], MONITORS[self.spec.multilabel]
        if asked is not None and asked not in known:
            of = "several labels" if self.spec.multilabel else "one label"
            raise ConfigError(f"eval.monitor={asked}: clips of {of} are measured by {', '.join(known)}")
        return str(asked or known[0])

    def _metrics(self, split: str) -> LabelMetrics | TagMetrics:
        found: LabelMetrics | TagMetrics = self.val_metrics if split == "val" else self.test_metrics
        return found

    def reset_metrics(self, split: str) -> None:
        """Forget all clips."""
        self._metrics(split).reset()

    def mel(self, batch: AudioBatch) -> LogMel:
        """Return the examples of a batch as the network reads them, without augmentation."""
        found: LogMel = self.net.front_end(batch.waveforms, batch.lengths)
        return found

    def forward(self, batch: AudioBatch) -> Tensor:
        """Return the logits (B, K) of clips, without augmentation.

        Raises:
            ConfigError: the network's outputs are no logits of the classes.
        """
        return self.logits(self.mel(batch))

    def logits(self, mel: LogMel) -> Tensor:
        """Return the network's logits (B, K) of examples.

        Raises:
            ConfigError: the network's outputs are no logits of the classes.
        """
        logits, expected = self.net(mel), (len(mel.examples), self.spec.num_classes)
        if not isinstance(logits, Tensor) or logits.shape != expected:
            what = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            raise ConfigError(
                f"{type(self.net).__name__} gives {what} for {expected[0]} clips, and a network for sound logits "
                f"{expected}: see lab.structures.audio.AudioClassifier"
            )
        return logits

    def augmented(self, batch: AudioBatch) -> tuple[LogMel, Tensor]:
        """Return the examples of a batch, and its labels (B,) or shares (B, K): in training as ``model.learning`` says.

        Batches without ``chances`` stay as they are.
        """
        mel, labels, chances = self.mel(batch), batch.targets.labels, batch.chances
        if chances is None or not self.training:
            return mel, labels
        if settings := self.learning["spec_augment"]:
            mel = masked(mel, chances[:, 1:], settings)
        if alpha := self.learning["mixup"]:
            shares = mixing_shares(chances[:, 0], alpha)
            mel, labels = mixed(mel, shares), mixed_labels(labels, shares, self.spec.num_classes)
        return mel, labels

    def terms(self, batch: AudioBatch) -> tuple[Tensor, Mapping[str, Term]]:
        """Return the logits and the loss, as a sum over the clips."""
        mel, labels = self.augmented(batch)
        logits = self.logits(mel)
        return logits, self.criterion(logits, labels)

    def totals(self, batch: AudioBatch) -> Mapping[str, float]:
        """Return the number of clips."""
        return {NUM_CLIPS: float(batch.num_samples)}

    def evaluate(self, split: str, outputs: Tensor, batch: AudioBatch) -> None:
        """Add the predictions of a batch."""
        self._metrics(split).update(outputs[batch.valid], batch.targets.labels[batch.valid])

    def compute_metrics(self, split: str) -> dict[str, float]:
        """Return the figures of the metrics; a test also fills ``tables``."""
        values, self.counted[split] = self._metrics(split).compute()
        if split == "test" and self.spec.multilabel:
            self.tables["classes"] = class_table(tag_columns(self.counted[split]), self.class_names)
        elif split == "test":
            self.tables["classes"] = class_table(class_columns(self.counted[split], "clips"), self.class_names)
            self.tables |= confusion_table(self.counted[split], self.class_names, "clips")
        return values

    def confusion_matrix(self, split: str) -> Tensor | None:
        """Return the confusion matrix of clips of one label."""
        return None if self.spec.multilabel else self.counted.get(split)

    def drawings(self, split: str) -> Mapping[str, Image]:
        """Return the confusion matrix of clips of one label."""
        if self.spec.multilabel:
            return {}
        return {"confusion": draw_confusion(self.counted[split], self.class_names)}

    def classes_measured(self, split: str) -> dict[str, int]:
        """Return over how many classes the macro means are."""
        counts = self.counted[split]
        if self.spec.multilabel:
            return {"map": int((~counts[:, 1].isnan()).sum()), "auc": int((~counts[:, 2].isnan()).sum())}
        return {"macro_f1": int((counts.sum(0) + counts.sum(1) > 0).sum())}

    def scores(self, logits: Tensor) -> Tensor:
        """Return the probabilities (B, K) float32 that logits (B, K) stand for."""
        return logits.float().sigmoid() if self.criterion.binary else logits.float().softmax(1)

    def predict_step(self, batch: AudioBatch, batch_idx: int) -> tuple[Tensor, list[tuple[int, Tensor]]]:
        """Return the numbers (b,) of chunks, and of each its number of examples and mean logits (K), on the host.

        A file's logits are the mean over the examples of all of its chunks; ``best`` makes classes of them.
        """
        mel = self.mel(batch)
        logits, counts = self.logits(mel).float()[batch.valid].cpu(), mel.present.sum(1)[batch.valid].tolist()
        return batch.sample_ids[batch.valid], list(zip(counts, logits, strict=True))

    def best(self, logits: Tensor) -> ClassifiedClip:
        """Return the ``eval.top_k`` best classes of a clip with logits (K)."""
        most = min(self.eval_settings["top_k"], self.spec.num_classes)
        scores, labels = self.scores(logits[None])[0].topk(most)
        return ClassifiedClip(labels, scores, tuple(self.class_names[label] for label in labels.tolist()))

    def predict(self, inputs: Any, batch_size: int = 16) -> Any:
        """Return the ``ClassifiedClip`` of a sound, or a list of them for several.

        Args:
            inputs: a path, or samples (T,) as array or tensor at the network's sample rate, full scale 1; or a list.
            batch_size: clips that the network reads at once.

        Raises:
            DataError: an input cannot be used.
        """
        several = isinstance(inputs, list)
        sounds, found = inputs if several else [inputs], list[ClassifiedClip]()
        with self.evaluating():
            for first in range(0, len(sounds), batch_size):
                batch = batch_of_waves(sounds[first : first + batch_size], self.spec)
                found += [self.best(logits) for logits in self(batch.to(self.device)).float().cpu()]
        return found if several else found[0]

    @torch.no_grad()
    def draw_inputs(self, batch: AudioBatch, count: int) -> Image | None:
        """Return the spectrograms of the first clips of a training batch, augmented, with their classes."""
        from lab.tasks.audio.pictures import draw_examples

        mel, labels = self.augmented(batch)
        return draw_examples(mel, labels, self.class_names, count)

    def describe_pass(self, batch: AudioBatch, outputs: Tensor, terms: Mapping[str, Term] | None) -> str:
        """Return the shapes of waveforms and logits."""
        return f"waveforms {tuple(batch.waveforms.shape)} -> logits {tuple(outputs.shape)}"
