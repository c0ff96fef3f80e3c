"""Language modelling: any ``lab.structures.language_modeling.LanguageModel`` is trained by its own loss and measured.

Causal models predict the next token, masked ones tokens that were hidden, and whether a sentence follows another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from lab.errors import ConfigError
from lab.run_record import Direction
from lab.structures import Term
from lab.structures.language_modeling import LanguageModel, LanguageSpec, Scored
from lab.structures.text import TextBatch
from lab.tasks.language_modeling.metrics import LanguageMetrics
from lab.training.task import Task


class LanguageModelingTask(Task):
    """Train and measure a language model; see ``Task`` for the arguments.

    Raises:
        ConfigError: the data is for models of another objective, or its sequences are longer than the model reads.
    """

    kind = "language_modeling"
    protocol = LanguageModel
    monitor = "val/loss"
    monitor_mode: Direction = "min"
    directions: Mapping[str, Direction] = MappingProxyType(
        {"loss": "min", "accuracy": "max", "masked_accuracy": "max", "next_sentence_accuracy": "max"}
    )
    spec: LanguageSpec

    def make_metrics(self) -> None:
        """Make the metrics, of a network that suits the data."""
        self._check_net()
        self.shown = ("perplexity",) if self.spec.objective == "causal" else ("masked_accuracy", "masked_perplexity")
        for split in ("val", "test"):
            setattr(self, f"{split}_metrics", LanguageMetrics(self.spec.objective))

    def _check_net(self) -> None:
        """Refuse a network that does not suit the data.

        Raises:
            ConfigError: it has another objective, or reads fewer tokens.
        """
        name = self.hparams["net"]["_target_"]
        if self.net.objective != self.spec.objective:
            raise ConfigError(
                f"model.net._target_={name} is a {self.net.objective} model, and the samples of this data are for "
                f"{self.spec.objective} ones"
            )
        if 0 < self.net.max_length < self.spec.max_length:
            raise ConfigError(
                f"data.max_length={self.spec.max_length}: model.net._target_={name} has positions for "
                f"{self.net.max_length} tokens"
            )

    def _metrics(self, split: str) -> LanguageMetrics:
        found: LanguageMetrics = getattr(self, f"{split}_metrics")
        return found

    def reset_metrics(self, split: str) -> None:
        """Forget all labels."""
        self._metrics(split).reset()

    def forward(self, batch: TextBatch[Any]) -> Scored:
        """Return the network's outputs, with the scores of the batch's labels."""
        outputs: Scored = self.net(
            batch.input_ids,
            batch.attention_mask,
            batch.token_type_ids,
            batch.num_tokens,
            targets=batch.targets,
        )
        return outputs

    def evaluate(self, split: str, outputs: Scored, batch: TextBatch[Any]) -> None:
        """Add the scores of a batch.

        Raises:
            RuntimeError: the network has computed no scores of the targets that it was given.
        """
        if outputs.scores is None:
            raise RuntimeError(f"{type(self.net).__name__} was given targets and has computed no scores of them")
        text = getattr(batch.targets, "text_per_label", (0.0, 0.0))
        self._metrics(split).update(outputs.scores, batch.targets.counts, batch.valid, text)

    def compute_metrics(self, split: str) -> dict[str, float]:
        """Return the figures of the metrics; in a validation the loss is the network's own, of all its terms."""
        values = self._metrics(split).compute()
        if split == "val":
            del values["loss"]
        return values

    def describe_pass(self, batch: TextBatch[Any], outputs: Any, terms: Mapping[str, Term] | None) -> str:
        """Return the shape of the tokens and the terms of the loss."""
        labels = sum(batch.targets.counts)
        found = "a loss that reads values" if terms is None else ", ".join(terms)
        return f"tokens {tuple(batch.input_ids.shape)}, {labels} to predict -> {found}"
