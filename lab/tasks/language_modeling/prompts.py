"""Prompts as batches: neighbours of similar length, padded at the left, each with its number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lab.data.loader import eval_loader
from lab.data.sampler import EvalBatches
from lab.data.text.batching import pad_texts
from lab.data.text.tokenizer import TextTokenizer
from lab.errors import DataError
from lab.structures.common import Movable

WINDOW = 64
"""Batches whose prompts are sorted together; only so many results wait for those before them."""
SHOWN = 40
"""Characters of a prompt in a message."""


@dataclass
class PromptBatch(Movable):
    """Prompts to continue.

    Attributes:
        texts: the prompts.
        input_ids: (B, T) int64, padded at the left.
        attention_mask: (B, T) bool, True where a token stands; None where nothing is padded.
        numbers: the number of each continuation: that of its prompt, times the samples of a prompt, and its own.
        valid: (B,) bool, False for one that only pads the batch.
    """

    texts: tuple[str, ...]
    input_ids: Tensor
    attention_mask: Tensor | None
    numbers: tuple[int, ...]
    valid: Tensor


Sample = tuple[int, str, Sequence[int]]
"""The number of a continuation, its prompt, and the prompt's tokens."""


class Prompts:
    """The continuations to make, as a dataset; those of similar length are neighbours.

    Args:
        texts: the prompts.
        ids: the tokens of each.
        num_samples: continuations of each.
        window: so many are sorted together.
    """

    aspect_ratios = None

    def __init__(
        self, texts: Sequence[str], ids: Sequence[Sequence[int]], num_samples: int = 1, window: int = 1
    ) -> None:
        self.texts, self.ids, self.num_samples, self.window = texts, ids, num_samples, window
        total = len(ids) * num_samples
        windows = [range(first, min(total, first + window)) for first in range(0, total, window)]
        self.order = [number for part in windows for number in sorted(part, key=self._length)]

    def _length(self, number: int) -> int:
        return len(self.ids[number // self.num_samples])

    def __len__(self) -> int:
        """Return the number of continuations."""
        return len(self.order)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Return the one at a place of the order."""
        number = self.order[key[1]]
        prompt = number // self.num_samples
        return number, self.texts[prompt], self.ids[prompt]

    def fingerprint(self) -> str:
        """Return nothing: prompts are no training data."""
        return ""


def collate_prompts(samples: Sequence[Sample], pad_id: int) -> PromptBatch:
    """Return a batch of prompts."""
    numbers, texts, ids = zip(*samples, strict=True)
    input_ids, mask, _, _ = pad_texts(ids, pad_id, left=True)
    return PromptBatch(texts, input_ids, mask, numbers, torch.ones(len(ids), dtype=torch.bool))


def prompt_loader(
    prompts: Prompts, batch_size: int, pad_id: int, rank: int = 0, world_size: int = 1
) -> DataLoader[PromptBatch]:
    """Return this rank's batches; ``batch_size`` is that of all ranks together."""
    batches = EvalBatches(len(prompts), batch_size, rank, world_size)
    return eval_loader(prompts, batches, partial(collate_prompts, pad_id=pad_id), 0, torch.cuda.is_available())


def encode_prompts(
    texts: Sequence[str], tokenizer: TextTokenizer, room: int | None = None, where: str = ""
) -> list[list[int]]:
    """Return the tokens of prompts.

    Args:
        texts: the prompts.
        tokenizer: the model's.
        room: the most tokens of a prompt: what the model reads, less what is to be added; None: there is no limit.
        where: what to name before a prompt's number in messages.

    Raises:
        DataError: a prompt has no token, one that the vocabulary lacks, or too many.
    """
    found: list[list[int]] = []
    begin = tokenizer.special.end_of_text
    for number, text in enumerate(texts, start=1):
        try:
            ids = tokenizer.encode(text)
        except DataError as error:
            raise DataError(f"{where}prompt {number} ({text[:SHOWN]!r}): {error}") from None
        if not ids and begin is not None:
            ids = [begin]  # what stands before every document
        if not ids:
            raise DataError(f"{where}prompt {number} is empty, and this tokenizer has no token that begins a text")
        if room is not None and len(ids) > room:
            raise DataError(
                f"{where}prompt {number} ({text[:SHOWN]!r}) has {len(ids)} tokens; beside max_new_tokens the model "
                f"reads at most {max(room, 0)}"
            )
        found.append(ids)
    return found
