"""Texts and their continuations by a causal language model (``lab.structures.language_modeling.Generator``)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor, nn

from lab.data.text.tokenizer import TextTokenizer
from lab.errors import ConfigError
from lab.structures.language_modeling import Generator
from lab.tasks.language_modeling.prompts import PromptBatch

LENGTH, STOP, END = "length", "stop", "end_of_text"
"""Why a continuation has ended: it has as many tokens as were asked for, one of the texts to stop at, or the token
that ends a text."""
Grow = Callable[[PromptBatch, list[int]], None]


@dataclass(frozen=True)
class Generation:
    """How texts are continued: the config's group ``generation``, whose defaults are these.

    Attributes:
        max_new_tokens: the most tokens to add.
        sample: draw tokens by their probability; False: always take the most probable one.
        temperature: logits are divided by it before the draw.
        top_k: draw among so many most probable tokens; None: all.
        top_p: draw among the fewest most probable tokens that have this probability together; None: all.
        repetition_penalty: makes the logits of tokens that the text has already worse by this factor.
        stop: a continuation ends before the first of these texts.
        num_samples: continuations of each prompt.
        seed: of the draws.
    """

    max_new_tokens: int = 100
    sample: bool = True
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    stop: Sequence[str] = ()
    num_samples: int = 1
    seed: int = 0

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Return the settings of the config's group; its further keys are left out."""
        values = {field.name: settings[field.name] for field in fields(cls)}
        return cls(**values | {"stop": tuple(settings["stop"])})

    def choosing(self) -> dict[str, Any]:
        """Return the arguments of ``Generator.generate`` that say how a token is chosen."""
        own = ("max_new_tokens", "stop", "num_samples")
        return {name: value for name, value in asdict(self).items() if name not in own}


@dataclass(frozen=True)
class Continuation:
    """A text and what a model has added to it; as a string both together.

    Attributes:
        prompt: the text that was given.
        text: what was added, without the text that it was stopped at.
        tokens: the ids that were added, the last one included.
        logprob: the logarithm of their probability, before anything changed it.
        stopped: why it ended: ``"length"``, ``"stop"`` or ``"end_of_text"``.
        number: of the continuation among all.
    """

    prompt: str
    text: str
    tokens: tuple[int, ...]
    logprob: float
    stopped: str
    number: int = 0

    def __str__(self) -> str:
        """Return the whole text."""
        return self.prompt + self.text


def continue_batch(
    net: nn.Module,
    tokenizer: TextTokenizer,
    batch: PromptBatch,
    how: Generation,
    may_end: bool = True,
    grow: Grow | None = None,
) -> list[Continuation]:
    """Continue a batch of prompts; those that only pad the batch are left out.

    Args:
        net: the network.
        tokenizer: its tokenizer.
        batch: the prompts.
        how: see ``Generation``.
        may_end: whether the batch ends with the last of its texts. On several ranks that hold parts of the parameters
            all must run as often, so texts are cut afterwards instead.
        grow: called with the batch and the newest token of each row, to show texts as they grow.

    Raises:
        ConfigError: the network cannot continue texts, or a setting is out of its range.
    """
    if not isinstance(net, Generator):
        raise ConfigError(f"{type(net).__name__} cannot continue texts: it has no method generate")
    kept: list[Tensor] = []

    def watch(tokens: Tensor, logprobs: Tensor) -> None:
        kept.append(logprobs)
        if grow is not None:
            grow(batch, tokens.tolist())

    ending: dict[str, Any] = {"end_of_text": tokenizer.special.end_of_text, "stop": how.stop}
    found = net.generate(
        batch.input_ids,
        how.max_new_tokens,
        batch.attention_mask,
        rows=batch.numbers,
        pad=tokenizer.pad_id,
        decode=tokenizer.decode_added,
        watch=watch,
        **(ending if may_end else {}),
        **how.choosing(),
    )
    added = found[:, batch.input_ids.shape[1] :].tolist()
    logprobs = torch.stack(kept, dim=1).double().cpu()
    return [
        _continuation(tokenizer, text, ids, of_row, how, number)
        for text, ids, of_row, number, valid in zip(
            batch.texts, added, logprobs, batch.numbers, batch.valid.tolist(), strict=True
        )
        if valid
    ]


def _continuation(
    tokenizer: TextTokenizer, prompt: str, ids: list[int], logprobs: Tensor, how: Generation, number: int
) -> Continuation:
    """Cut what was added to a prompt where it ends."""
    stopped, end = LENGTH, tokenizer.special.end_of_text
    if end is not None and end in ids:
        ids, stopped = ids[: ids.index(end) + 1], END
    decode = tokenizer.decode_added if prompt else tokenizer.decode
    text = decode(ids)
    if has_any(text, how.stop):
        stopped = STOP
        counts = range(1, len(ids) + 1)  # the text of more tokens has all that the text of fewer has
        ids = ids[: counts[bisect_left(counts, True, key=lambda n: has_any(decode(ids[:n]), how.stop))]]
        text = until(text, how.stop)
    return Continuation(prompt, text, tuple(ids), float(logprobs[: len(ids)].sum()), stopped, number)


def has_any(text: str, words: Sequence[str]) -> bool:
    """Return whether one of the words is in a text."""
    return any(word in text for word in words)


def until(text: str, words: Sequence[str]) -> str:
    """Return a text up to the first of some words; the whole text if none is in it."""
    return text[: min((text.index(word) for word in words if word in text), default=len(text))]
