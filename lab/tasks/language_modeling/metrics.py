"""How well a language model predicts text: sums over labels, exact on any number of ranks.

Losses are added in float64 and labels counted in integers, so a mean over a split does not depend on how it was cut
into batches and ranks. Perplexity is e to the mean loss of a label in nats. Bits per byte are the same sum in bits,
over the bytes of the text; the perplexity of words is over its words. These two compare between tokenizers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from lab.structures.language_modeling import LanguageScores

_HIGHEST = math.log(torch.finfo(torch.float64).max)


class LabelMetric(Metric):
    """Losses and hits of labels, added up. A masked model has two of them: for hidden tokens and for pairs."""

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    nats: Tensor
    correct: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("nats", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("correct", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, losses: Tensor, correct: Tensor, counts: Tensor) -> None:
        """Add labels; nothing waits for the device.

        Args:
            losses: (P,) the cross-entropy of each label in nats.
            correct: (P,) bool, whether it is the most probable one.
            counts: (P,) bool, whether it counts: not where a sequence only pads its batch.
        """
        self.nats += torch.where(counts, losses.detach().double(), 0.0).sum()
        self.correct += (correct & counts).sum()
        self.count += counts.sum()

    def compute(self) -> tuple[float, float, int]:
        """Return the mean loss in nats, the share that is correct and the number of labels; NaN without a label."""
        count = int(self.count)
        if not count:
            return math.nan, math.nan, 0
        return float(self.nats) / count, int(self.correct) / count, count


class LanguageMetrics(torch.nn.Module):
    """Everything that a language model is measured by, for one split.

    Args:
        objective: ``"causal"`` or ``"masked"``.
    """

    def __init__(self, objective: str) -> None:
        super().__init__()
        self.objective, self.text_per_label = objective, (0.0, 0.0)
        self.labels = LabelMetric()
        self.pairs = LabelMetric() if objective == "masked" else None

    def update(
        self,
        scores: LanguageScores,
        counts: Sequence[int],
        valid: Tensor,
        text_per_label: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Add a batch.

        Args:
            scores: of its labels and pairs, in evaluation.
            counts: the number of labels of each sequence.
            valid: (B,) bool, False for a sequence that only pads the batch.
            text_per_label: bytes and words, see ``CausalTargets``; the same in each batch.

        Raises:
            RuntimeError: the network does not say which labels are correct.
        """
        if scores.correct is None:
            raise RuntimeError("scores say which labels are correct in evaluation, and these do not")
        self.text_per_label = text_per_label
        lengths = torch.tensor(counts, device=valid.device)
        of_labels = valid.repeat_interleave(lengths, output_size=sum(counts))
        self.labels.update(scores.losses, scores.correct, of_labels)
        if self.pairs is not None:
            losses, correct = scores.next_sentence_losses, scores.next_sentence_correct
            if losses is None or correct is None:  # an update all the same: every rank adds up the same states
                self.pairs.update(scores.losses[:0], scores.correct[:0], valid[:0])
            else:
                self.pairs.update(losses, correct, valid)

    def reset(self) -> None:
        """Forget all labels."""
        self.labels.reset()
        if self.pairs is not None:
            self.pairs.reset()

    def compute(self) -> dict[str, float]:
        """Return the figures, NaN where nothing defines them; all ranks must call it.

        Returns:
            Causal: ``loss``, ``perplexity``, ``accuracy``, and ``bits_per_byte`` and ``word_perplexity`` where the data
            tells its bytes and words. Masked: ``loss`` (of words and pairs), ``masked_loss``, ``masked_perplexity``,
            ``masked_accuracy``, and ``next_sentence_accuracy`` where there are pairs.
        """
        loss, accuracy, _ = self.labels.compute()
        if self.pairs is None:
            values = {"loss": loss, "perplexity": exp(loss), "accuracy": accuracy}
            bytes_per_label, words_per_label = self.text_per_label
            if bytes_per_label:
                values["bits_per_byte"] = loss / math.log(2) / bytes_per_label
            if words_per_label:
                values["word_perplexity"] = exp(loss / words_per_label)
            return values
        of_pairs, following, num_pairs = self.pairs.compute()
        whole = loss + of_pairs if num_pairs else loss
        values = {"loss": whole, "masked_loss": loss, "masked_perplexity": exp(loss), "masked_accuracy": accuracy}
        return {**values, "next_sentence_accuracy": following} if num_pairs else values


def exp(value: float) -> float:
    """Return e to a number; infinite where float64 ends."""
    return math.inf if value > _HIGHEST else math.exp(value)
