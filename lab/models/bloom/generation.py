"""Continue texts token by token, with the keys and values of earlier tokens kept.

The prompt is read at once, and its logits are computed for the last token only. Then every step reads one token of
each sequence. Nothing waits for the device but the check whether all sequences have ended, which is made every few
steps there.

Names: B sequences, T tokens of the longest prompt, V tokens of the vocabulary, n new tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lab.checking import check_range
from lab.errors import ConfigError
from lab.models.bloom.cache import KeyValueCache
from lab.models.bloom.head import OwnLogits
from lab.models.bloom.sampling import Sampling
from lab.models.bloom.stopping import Decode, Stopping
from lab.ops.hashing import uniform

STEPS_BETWEEN_CHECKS = 8
"""On devices whose results have to be waited for."""

Watch = Callable[[Tensor, Tensor], Tensor | None]
"""Called after each step, with the new tokens (B,), padding where a text has ended, and the logarithms (B,) of the
probabilities that the network gives them, before anything changes these. Texts for which it returns True, (B,), end."""


class Stepping(Protocol):
    """What this module asks of a network; ``Bloom`` documents it."""

    vocab_size: int
    num_layers: int
    max_length: int

    def step(self, input_ids: Tensor, cache: KeyValueCache, attention_mask: Tensor | None = None) -> Tensor:
        """Return the states (B, C) behind the next tokens (B, T)."""
        ...

    def next_logits(self, states: Tensor) -> OwnLogits:
        """Return the logits behind states (B, C)."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """Return all modules."""
        ...


@torch.no_grad()
def continue_texts(
    net: Stepping,
    input_ids: Tensor,
    max_new_tokens: int,
    attention_mask: Tensor | None = None,
    *,
    sample: bool = False,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    seed: int = 0,
    rows: Sequence[int] | None = None,
    end_of_text: int | None = None,
    pad: int | None = None,
    stop: Sequence[str | Sequence[int]] = (),
    decode: Decode | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """Return prompts and their continuations, (B, T + n) int64; n is less than asked for where all end earlier.

    Args:
        net: the network; it computes as in evaluation.
        input_ids: (B, T), padded at the left.
        max_new_tokens: the most tokens to add.
        attention_mask: (B, T) bool, True where a token stands; None where nothing is padded.
        sample: this and the next four as ``Sampling`` has them.
        temperature: see there.
        top_k: see there.
        top_p: see there.
        repetition_penalty: see there.
        seed: of the draws. A draw is a function of the seed, the sequence's number and the number of the new token.
        rows: the number of each sequence; None: its place in the batch. With the numbers of a dataset a continuation
            does not depend on the batch that it is made in.
        end_of_text: this and the next two as ``Stopping`` has them.
        pad: the token behind the end of a sequence; None: ``end_of_text``, or 0.
        stop: see ``Stopping``.
        decode: see there.
        watch: called after each step, to print a text as it grows or to end it.

    Raises:
        ConfigError: a number is out of its range, prompts are empty or padded at the right, or they and their
            continuations are longer than the network reads.
    """
    _check(net, input_ids, max_new_tokens, attention_mask)
    sampling = Sampling(sample, temperature, top_k, top_p, repetition_penalty)
    stopping = Stopping(end_of_text, stop, decode, input_ids.device)
    batch, length = input_ids.shape
    numbers = _numbers(seed, range(batch) if rows is None else rows, max_new_tokens, input_ids.device)
    pad = pad if pad is not None else end_of_text or 0
    texts = _Texts(input_ids, attention_mask, max_new_tokens, pad, stopping, may_end=watch is not None)
    seen = _seen(net.vocab_size, input_ids, attention_mask) if sampling.penalises else None
    every = 1 if stopping.texts else _steps_between_checks(input_ids.device)
    cache, given = KeyValueCache(net.num_layers, length + max_new_tokens), input_ids
    with _evaluating(net):
        for done in range(max_new_tokens):
            states = net.step(given, cache, texts.mask_so_far)
            logits = net.next_logits(states)
            if sample or sampling.penalises:
                chosen = sampling.choose(logits.whole(), numbers[:, done] if sample else None, seen)
            else:
                chosen = logits.greatest()
            given = texts.append(chosen)
            if seen is not None:
                seen.scatter_(1, chosen[:, None], True)
            if watch is not None:
                texts.end(watch(given[:, 0], logits.log_probability(chosen)))
            if texts.may_end and (done + 1) % every == 0 and bool(texts.finished.all()):
                break
    return texts.whole()


class _Texts:
    """Prompts and what was added to them, in memory that is allocated once."""

    def __init__(
        self, input_ids: Tensor, attention_mask: Tensor | None, room: int, pad: int, stopping: Stopping, may_end: bool
    ) -> None:
        batch, self.first = input_ids.shape
        self.ids = nn.functional.pad(input_ids, (0, room), value=pad)
        self.mask = None if attention_mask is None else nn.functional.pad(attention_mask, (0, room), value=True)
        self.length, self.pad, self.stopping = self.first, pad, stopping
        self.may_end = may_end or stopping.possible
        self.finished = torch.zeros(batch, dtype=torch.bool, device=input_ids.device)
        self.counts = torch.zeros(batch, dtype=torch.int64, device=input_ids.device)

    @property
    def mask_so_far(self) -> Tensor | None:
        return None if self.mask is None else self.mask[:, : self.length]

    def append(self, chosen: Tensor) -> Tensor:
        """Add a token (B,) to each text that has not ended, padding to the others; return what was added, (B, 1)."""
        if self.may_end:
            chosen = chosen.masked_fill(self.finished, self.pad)
            self.counts += ~self.finished
        self.ids[:, self.length] = chosen
        self.length += 1
        if self.stopping.possible:
            self.end(self.stopping.ended(self.ids[:, self.first : self.length]))
        return chosen[:, None]

    def end(self, ended: Tensor | None) -> None:
        """End some texts, (B,) bool, behind their last token."""
        if ended is not None:
            self.finished = self.finished | ended.to(self.finished.device)

    def whole(self) -> Tensor:
        """Return (B, T + n), up to the end of the longest text."""
        return self.ids[:, : self.first + int(self.counts.max()) if self.may_end else self.length]


def _check(net: Stepping, input_ids: Tensor, max_new_tokens: int, attention_mask: Tensor | None) -> None:
    check_range("max_new_tokens", max_new_tokens, least=1)
    if input_ids.ndim != 2 or not input_ids.numel():
        raise ConfigError(f"prompts of shape {tuple(input_ids.shape)}: expected (B, T) with at least one token each")
    length = input_ids.shape[1] + max_new_tokens
    if net.max_length and length > net.max_length:
        raise ConfigError(
            f"prompts of {input_ids.shape[1]} tokens and max_new_tokens={max_new_tokens} more are longer than the table"
            f" of positions, max_length={net.max_length}"
        )
    if attention_mask is None:
        return
    if attention_mask.shape != input_ids.shape:
        raise ConfigError(
            f"attention_mask of shape {tuple(attention_mask.shape)} for prompts of shape {tuple(input_ids.shape)}"
        )
    if not bool(attention_mask[:, -1].all()):
        raise ConfigError("prompts are padded at the left: the last column of attention_mask should be True everywhere")


def _steps_between_checks(device: torch.device) -> int:
    return 1 if device.type == "cpu" else STEPS_BETWEEN_CHECKS


def _numbers(seed: int, rows: Sequence[int], steps: int, device: torch.device) -> Tensor:
    """Return what decides each draw, (B, steps) float64 in [0, 1)."""
    given = np.asarray(rows, dtype=np.int64)
    return torch.from_numpy(uniform(seed, 0, given, np.zeros_like(given), steps)).to(device)


def _seen(vocab_size: int, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Return (B, V) bool, which tokens each prompt has."""
    present = torch.ones_like(input_ids) if attention_mask is None else attention_mask.to(input_ids.dtype)
    counts = input_ids.new_zeros(len(input_ids), vocab_size).scatter_add_(1, input_ids, present)
    return counts > 0


@contextmanager
def _evaluating(net: Stepping) -> Iterator[None]:
    """Switch every module to evaluation, and those that were not back at the end."""
    training = [module for module in net.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
