"""A tiny text classifier, and settings of its task."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lab.data.text.tokenizer import TextTokenizer
from lab.registry import allow_package
from lab.structures.text_classification import TextClassificationSpec
from lab.tasks.text_classification.task import TextClassificationTask

allow_package("tests")

EVAL: dict[str, Any] = {"name": "text_classification", "monitor": "accuracy", "top_k": 5, "features": None}
OPTIMIZER: dict[str, Any] = {"name": "sgd", "lr": 0.1, "weight_decay": 0.0, "no_decay_norm_bias": True, "groups": []}
OPTIMIZER |= {"momentum": 0.0, "nesterov": False}
SCHEDULER: dict[str, Any] = {"name": "constant", "warmup_steps": 0}
TOKENIZER = TextTokenizer.characters("abcdefgh ", ("[PAD]", "[UNK]", "[CLS]", "[SEP]"))


class MeanOfTokens(nn.Module):
    """The mean of a text's token embeddings, tokens of a second text turned round, and a linear head.

    Args:
        vocab_size: V.
        num_classes: K.
        max_length: the most tokens; 0: no limit.
        classes_missing: give logits of fewer classes, a mistake of a network.
    """

    def __init__(self, vocab_size: int, num_classes: int, max_length: int = 0, classes_missing: int = 0) -> None:
        super().__init__()
        self.max_length = max_length
        self.table = nn.Embedding(vocab_size, 6)
        self.head = nn.Linear(6, num_classes - classes_missing)
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters(), start=1):
                parameter.copy_((torch.arange(parameter.numel()) * (number + 1) % 11 - 5).view_as(parameter) / 5)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        num_tokens: int | None = None,
    ) -> Tensor:
        """Return logits (B, K)."""
        standing = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask
        signs = torch.ones_like(input_ids) if token_type_ids is None else 1 - 2 * token_type_ids
        states = self.table(input_ids) * (standing * signs)[..., None]
        logits: Tensor = self.head(states.sum(1) / standing.sum(1, keepdim=True))
        return logits


def make_spec(**other: Any) -> TextClassificationSpec:
    """Return a description of texts of nine characters and three classes."""
    fields: dict[str, Any] = {
        "tokenizer": TOKENIZER.to_text(),
        "vocab_size": TOKENIZER.vocab_size,
        "max_length": 8,
        "class_names": ("a", "b", "c"),
        "class_counts": (4, 2, 2),
    }
    return TextClassificationSpec(**(fields | other))


def make_task(
    spec: TextClassificationSpec | None = None, learning: dict[str, Any] | None = None, **other: Any
) -> TextClassificationTask:
    """Return a task of the tiny classifier; ``other`` are settings of the evaluation or arguments of the network."""
    net = {"_target_": "tests.unit.tasks.text_classification.makers.MeanOfTokens"}
    net |= {key: value for key, value in other.items() if key not in EVAL}
    settings = EVAL | {key: value for key, value in other.items() if key in EVAL}
    plain = (spec or make_spec()).to_plain()
    return TextClassificationTask(net, plain, OPTIMIZER, SCHEDULER, 3, settings, learning or {})
