"""What networks for sound learn from: a cross-entropy of logits, over classes or of each class by itself.

- ``cross_entropy``: softmax over classes, see ``lab.training.class_loss``.
- ``binary_cross_entropy``: a sigmoid for each class, summed over classes; smoothing moves targets towards one half.

Both are means over clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from lab.errors import ConfigError
from lab.ops.precision import full_precision
from lab.structures import Term
from lab.structures.audio import AudioSpec
from lab.training.class_loss import CrossEntropy, class_weights_of

NUM_CLIPS = "clips"
"""The normaliser of the loss: the number of clips."""


class AudioCriterion(CrossEntropy):
    """The loss, as sums over a batch. In evaluation neither smoothing nor weights apply.

    Args:
        settings: the fields of ``AudioLearning``.
        spec: of the data.

    Raises:
        ConfigError: there are other numbers of class weights than of classes, or the loss is of one label a clip and
            clips have several.
    """

    def __init__(self, settings: Mapping[str, Any], spec: AudioSpec) -> None:
        asked = settings["loss"] or ("binary_cross_entropy" if spec.multilabel else "cross_entropy")
        if spec.multilabel and asked == "cross_entropy":
            raise ConfigError(
                "model.learning.loss=cross_entropy is for one label a clip, and clips of this data have several; take "
                "binary_cross_entropy"
            )
        weights = class_weights_of(settings["class_weights"], spec.class_counts, spec.num_classes)
        super().__init__(settings["label_smoothing"], weights)
        self.binary = asked == "binary_cross_entropy"

    def forward(self, logits: Tensor, labels: Tensor) -> dict[str, Term]:
        """Return ``loss_ce`` or ``loss_bce`` of logits (B, K), for labels (B,) or shares of classes (B, K)."""
        if not self.binary:
            return {"loss_ce": Term(self.entropy(logits, labels), NUM_CLIPS)}
        logits, (smoothing, weights) = full_precision(logits), self.of_training()
        shares = labels if labels.ndim == 2 else F.one_hot(labels, logits.shape[1])
        shares = shares.to(logits.dtype) * (1 - smoothing) + smoothing / 2
        return {
            "loss_bce": Term(F.binary_cross_entropy_with_logits(logits, shares, weights, reduction="sum"), NUM_CLIPS)
        }
