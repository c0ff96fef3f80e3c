"""A tiny network that answers questions, and a task on the generated file of ``run_squad.json``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lab.data.text.tokenizer import TextTokenizer
from lab.registry import allow_package
from lab.structures.question_answering import AnsweringSpec, SpanLogits
from lab.tasks.question_answering.task import AnsweringTask

allow_package("tests")

OPTIMIZER: dict[str, Any] = {"name": "sgd", "lr": 0.1, "weight_decay": 0.0, "no_decay_norm_bias": True, "groups": []}
OPTIMIZER |= {"momentum": 0.0, "nesterov": False}
EVAL: dict[str, Any] = {
    "name": "question_answering",
    "n_best": 5,
    "max_answer_length": 6,
    "null_threshold": 0.0,
    "answer_text": "offsets",
}


class TinyAnswerer(nn.Module):
    """Logits of each token by itself, with a little of its place; those of padding are huge.

    Args:
        vocab_size: V.
        max_length: the most tokens; 0: no limit.
    """

    def __init__(self, vocab_size: int, max_length: int = 0) -> None:
        super().__init__()
        self.max_length = max_length
        self.table = nn.Embedding(vocab_size, 2)
        with torch.no_grad():
            self.table.weight.copy_((torch.arange(2 * vocab_size) * 11 % 61 / 8 - 3).view(-1, 2))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        num_tokens: int | None = None,
    ) -> SpanLogits:
        """Return the logits of starts and ends."""
        places = torch.arange(input_ids.shape[1]) % 5 / 4
        logits = self.table(input_ids) + places[:, None]
        if attention_mask is not None:
            logits = logits.masked_fill(~attention_mask[..., None], 1e4)
        return SpanLogits(*logits.unbind(-1))


def make_task(tokenizer: TextTokenizer, max_length: int = 0, **changes: Any) -> AnsweringTask:
    """Return a task on windows of 28 tokens."""
    spec = AnsweringSpec(
        tokenizer=tokenizer.to_text(),
        vocab_size=tokenizer.vocab_size,
        max_length=28,
        stride=7,
        max_query_length=12,
        unanswerable=changes.pop("unanswerable", False),
    )
    return AnsweringTask(
        net={"_target_": f"{__name__}.TinyAnswerer", "max_length": max_length},
        spec=spec.to_plain(),
        optimizer=OPTIMIZER,
        scheduler={"name": "constant", "warmup_steps": 0},
        max_steps=1,
        eval={**EVAL, **changes},
    )
