"""A tiny language model of both objectives, and batches whose content is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.registry import allow_package
from lab.structures import Term
from lab.structures.language_modeling import CausalTargets, LanguageScores, LanguageSpec, MaskedTargets
from lab.structures.text import TextBatch
from lab.tasks.language_modeling.task import LanguageModelingTask

allow_package("tests")

VOCAB_SIZE = 11
OPTIMIZER: dict[str, Any] = {"name": "sgd", "lr": 0.1, "weight_decay": 0.0, "no_decay_norm_bias": True, "groups": []}
OPTIMIZER |= {"momentum": 0.0, "nesterov": False}
EVAL: dict[str, Any] = {"name": "language_modeling", "top_k": 5}
SCHEDULER: dict[str, Any] = {"name": "constant", "warmup_steps": 0}


@dataclass
class Outputs:
    """The states of tokens (B, T, C) and the scores of labels."""

    states: Tensor
    logits: Tensor | None
    scores: LanguageScores | None


class TinyLanguageModel(nn.Module):
    """Mean of the tokens so far (causal) or of all (masked), with the token itself; its logits are a table's.

    Args:
        vocab_size: V.
        objective: which targets it learns from.
        max_length: the most tokens; 0: no limit.
        silent: forget to say what is correct, a mistake of a network.
    """

    def __init__(
        self,
        vocab_size: int,
        objective: Literal["causal", "masked"] = "causal",
        max_length: int = 0,
        silent: bool = False,
    ) -> None:
        super().__init__()
        self.objective, self.max_length, self.silent = objective, max_length, silent
        self.table = nn.Embedding(vocab_size, 4)
        self.head = nn.Linear(4, vocab_size)
        self.pair = nn.Linear(4, 2)
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters(), start=1):
                parameter.copy_((torch.arange(parameter.numel()) * number % 7 - 3).view_as(parameter) / 3)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        num_tokens: int | None = None,
        targets: Any = None,
    ) -> Outputs:
        """Return states, and logits or scores."""
        mask = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask
        tokens = self.table(input_ids) * mask[..., None]
        causal = self.objective == "causal"
        sums = tokens.cumsum(1) if causal else tokens.sum(1, keepdim=True).expand_as(tokens)
        counts = mask.cumsum(1) if causal else mask.sum(1, keepdim=True).expand_as(mask)
        states = tokens + sums / counts.clamp(min=1)[..., None]
        if targets is None:
            return Outputs(states, self.head(states), None)
        return Outputs(states, None, self.scores(states, targets))

    def scores(self, states: Tensor, targets: Any) -> LanguageScores:
        """Return the scores of labels."""
        says = not self.training and not self.silent
        if isinstance(targets, CausalTargets):
            logits, labels = self.head(states[targets.labels >= 0]), targets.labels[targets.labels >= 0]
        else:
            rows = torch.arange(len(states)).repeat_interleave(torch.tensor(targets.counts))
            logits, labels = self.head(states[rows, targets.positions]), targets.labels
        scores = LanguageScores(F.cross_entropy(logits, labels, reduction="none"))
        scores.correct = logits.argmax(1) == labels if says else None
        if isinstance(targets, MaskedTargets) and targets.next_sentence is not None:
            pairs = self.pair(states[:, 0])
            scores.next_sentence_losses = F.cross_entropy(pairs, targets.next_sentence, reduction="none")
            scores.next_sentence_correct = pairs.argmax(1) == targets.next_sentence if says else None
        return scores

    def totals(self, targets: Any) -> Mapping[str, float]:
        """Return the number of labels, and of pairs."""
        labels = float(sum(targets.counts))
        return (
            {"tokens": labels}
            if self.objective == "causal"
            else {"labels": labels, "pairs": float(len(targets.counts))}
        )

    def loss(self, outputs: Outputs, targets: Any) -> Mapping[str, Term]:
        """Return the sums of the losses."""
        assert outputs.scores is not None
        if self.objective == "causal":
            return {"loss_ce": Term(outputs.scores.losses.sum(), "tokens")}
        terms = {"loss_mlm": Term(outputs.scores.losses.sum(), "labels")}
        if outputs.scores.next_sentence_losses is not None:
            terms["loss_nsp"] = Term(outputs.scores.next_sentence_losses.sum(), "pairs")
        return terms


TINY = f"{__name__}.TinyLanguageModel"


def make_task(data: str = "causal", spec: Mapping[str, Any] | None = None, **net: Any) -> LanguageModelingTask:
    """Return a task in evaluation mode, for data of an objective; the network's is the same."""
    plain = LanguageSpec(objective=data, vocab_size=VOCAB_SIZE, max_length=8).to_plain() | dict(spec or {})
    arguments = {"_target_": TINY, "objective": data, **net}
    return LanguageModelingTask(arguments, plain, OPTIMIZER, SCHEDULER, 4, EVAL).eval()


def rows_of(numbers: list[int]) -> list[list[int]]:
    """Return sequences of 3 to 6 tokens, each a function of its number."""
    return [[(number * 5 + place * place) % VOCAB_SIZE for place in range(3 + number % 4)] for number in numbers]


def text_batch(numbers: list[int], targets: Any, num_valid: int | None = None) -> TextBatch[Any]:
    """Return the sequences of these numbers with their targets; those from ``num_valid`` on only pad the batch."""
    rows = rows_of(numbers)
    lengths = tuple(map(len, rows))
    width = max(lengths)
    return TextBatch(
        input_ids=torch.tensor([[*row, *[0] * (width - len(row))] for row in rows]),
        attention_mask=torch.arange(width) < torch.tensor(lengths)[:, None],
        token_type_ids=None,
        lengths=lengths,
        targets=targets,
        sample_ids=torch.tensor(numbers),
        valid=torch.arange(len(rows)) < (len(rows) if num_valid is None else num_valid),
    )


def causal_batch(numbers: list[int], num_valid: int | None = None) -> TextBatch[CausalTargets]:
    """Return sequences whose labels are the tokens that follow; the last token has none."""
    rows = rows_of(numbers)
    width = max(map(len, rows))
    labels = torch.tensor([[*row[1:], *[-1] * (width + 1 - len(row))] for row in rows])
    return text_batch(numbers, CausalTargets(labels, tuple(len(row) - 1 for row in rows)), num_valid)


def masked_batch(numbers: list[int], num_valid: int | None = None, pairs: bool = True) -> TextBatch[MaskedTargets]:
    """Return sequences with one or two hidden tokens each."""
    rows = rows_of(numbers)
    places = [[1, 2][: 1 + number % 2] for number in numbers]
    targets = MaskedTargets(
        positions=torch.tensor([place for row in places for place in row]),
        labels=torch.tensor(
            [(row[place] + 1) % VOCAB_SIZE for row, at in zip(rows, places, strict=True) for place in at]
        ),
        counts=tuple(map(len, places)),
        next_sentence=torch.tensor(numbers) % 2 if pairs else None,
    )
    return text_batch(numbers, targets, num_valid)
