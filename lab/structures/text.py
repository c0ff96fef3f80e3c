"""Text as tokens: what all kinds of problem on text share.

B sequences in a batch, T tokens of the longest, V tokens in the vocabulary, C the width of a token's state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, Self, runtime_checkable

from torch import Tensor

from lab.structures.common import DataSpec, Movable, TargetsT


@dataclass(frozen=True)
class TextSpec(DataSpec):
    """What data of text tells: its tokenizer, and how long its sequences are.

    Attributes:
        tokenizer: the whole tokenizer as a text, see ``lab.data.text.tokenizer``; a checkpoint stands alone with it.
        vocab_size: V, the number of tokens that the tokenizer knows, special ones too.
        max_length: the most tokens of a sequence, special ones too.
    """

    tokenizer: str = ""
    vocab_size: int = 0
    max_length: int = 0

    def net_arguments(self) -> dict[str, Any]:
        """Return the size of the vocabulary."""
        return {"vocab_size": self.vocab_size}

    def describe(self) -> str:
        """Return the sizes."""
        return f"{self.vocab_size} tokens, sequences of up to {self.max_length}"


@dataclass
class TextBatch(Movable, Generic[TargetsT]):
    """A batch of token sequences, padded at the right.

    Attributes:
        input_ids: (B, T) int64, 0 to V - 1; any token where padded.
        attention_mask: (B, T) bool, True where a token stands; None where nothing is padded.
        token_type_ids: (B, T) int64, 1 for tokens of the second text of a pair; None: all 0.
        lengths: the number of tokens of each sequence; host integers, so that nothing waits for a device.
        targets: what the loss compares the outputs with.
        sample_ids: (B,) int64, the number of each sequence in its dataset.
        valid: (B,) bool, False for a sequence that only pads the batch; metrics must not count it.
        totals: see ``ImageBatch``.
    """

    input_ids: Tensor
    attention_mask: Tensor | None
    token_type_ids: Tensor | None
    lengths: tuple[int, ...]
    targets: TargetsT
    sample_ids: Tensor
    valid: Tensor
    totals: Mapping[str, float] | None = None

    @property
    def num_samples(self) -> int:
        """B."""
        return len(self.input_ids)

    @property
    def num_tokens(self) -> int:
        """The number of tokens that are no padding."""
        return sum(self.lengths)

    def rows(self, chosen: slice) -> Self:
        """Return the part of the batch with some consecutive sequences."""
        return replace(
            self,
            input_ids=self.input_ids[chosen],
            attention_mask=None if self.attention_mask is None else self.attention_mask[chosen],
            token_type_ids=None if self.token_type_ids is None else self.token_type_ids[chosen],
            lengths=self.lengths[chosen],
            targets=self.targets.rows(chosen),
            sample_ids=self.sample_ids[chosen],
            valid=self.valid[chosen],
        )


@dataclass
class TextFeatures(Movable):
    """What an encoder makes of token sequences.

    Attributes:
        last_hidden_state: (B, T, C); undefined where padded.
        pooled: (B, C), one state for the whole sequence.
        hidden_states: the embeddings and the output of each block, (B, T, C) each; empty unless they were asked for.
    """

    last_hidden_state: Tensor
    pooled: Tensor
    hidden_states: tuple[Tensor, ...] = ()


@runtime_checkable
class TextEncoder(Protocol):
    """The protocol of architectures that encode text; classifiers and question answering build on it.

    Attributes:
        embed_dim: C.
        max_length: the most tokens that it reads; 0 where there is no limit.
    """

    embed_dim: int
    max_length: int

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        num_tokens: int | None = None,
        hidden_states: bool = False,
    ) -> TextFeatures:
        """Return the states of tokens.

        Args:
            input_ids: (B, T) int64.
            attention_mask: (B, T) bool, True where a token stands; None where nothing is padded.
            token_type_ids: (B, T) int64; None: all 0.
            num_tokens: the number of True in ``attention_mask``, if the caller knows it: then no device is waited for.
            hidden_states: also return the states of every layer.
        """
        ...
