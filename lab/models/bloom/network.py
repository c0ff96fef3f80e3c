"""BLOOM: "BLOOM: A 176B-Parameter Open-Access Multilingual Language Model" (BigScience Workshop, 2022), section 3.2.

A causal transformer with norms before its branches, a norm behind the embedding, linear biases in place of positions
(``alibi``), and logits by the embedding of the tokens. Names of parameters are transformers'. Megatron's other two
embeddings (learned positions, token types) and its pooler are options.

Names: B sequences, T tokens, P positions with a label, C ``embed_dim``, V rows of the embedding.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.checking import check_choice, check_multiple, check_range
from lab.errors import CheckpointError, ConfigError, DataError
from lab.layers.dropout import dropout as drop
from lab.layers.norm import LayerNorm
from lab.layers.tensor_parallel.groups import RankGroup
from lab.layers.tensor_parallel.layers import (
    SequenceParallelNorm,
    TensorParallel,
    VocabParallelEmbedding,
    whole_sequences,
)
from lab.layers.tensor_parallel.mappings import SEQUENCE, gather_from_tensor_region, scatter_to_tensor_region
from lab.models.bloom.alibi import CausalBias
from lab.models.bloom.blocks import BloomBlock
from lab.models.bloom.cache import KeyValueCache
from lab.models.bloom.generation import continue_texts
from lab.models.bloom.head import OwnLogits, TiedHead
from lab.ranges import Count, Divides, Dropout, Layers, NonNegative, OneOf, Positive, Size
from lab.structures.common import Movable, Term
from lab.structures.language_modeling import CausalTargets, LanguageScores
from lab.structures.text import TextFeatures

logger = logging.getLogger(__name__)
TOKENS = "tokens"
POSITIONS = ("alibi", "learned")
PARALLEL = ("megatron", "dtensor")
PADDED_BELOW = 1024
"""Megatron pads a vocabulary to a multiple of 128 times the ranks; more rows than this are another vocabulary."""


@dataclass
class BloomOutputs(Movable):
    """The states of all tokens, and how well they predict the targets.

    Attributes:
        last_hidden_state: (B, T, C), behind the last norm; undefined where padded.
        scores: of the targets; None if none were given.
    """

    last_hidden_state: Tensor
    scores: LanguageScores | None
    _net: Bloom = field(repr=False)

    @property
    def logits(self) -> Tensor:
        """(B, T, V), computed anew at each reading."""
        return self._net.logits(self.last_hidden_state)


class Bloom(TensorParallel):
    """Predict the next token.

    Args:
        vocab_size: number of tokens; by default BLOOM's own, padding included.
        embed_dim: C.
        num_layers: number of blocks.
        num_heads: heads of each attention; divides C.
        feedforward_dim: hidden width of the feed-forward nets; None for 4 C.
        max_length: rows of the table of ``positions=learned``; unused with ``alibi``, which has no limit.
        positions: ``alibi``, or ``learned``: an embedding of each position.
        num_token_types: rows of an embedding of token types; 0: none.
        pooler: whether ``encode`` maps the state of a sequence's last token by a linear layer and tanh.
        hidden_dropout: probability of dropping a value of the embedding, or at the end of a branch.
        attention_dropout: probability of dropping an attention weight.
        vocab_multiple: the embedding has rows up to a multiple of this number; rows that stand for no token are never
            generated, and training lowers their logits.
        init_std: deviation of initial weights; that of layers at the end of a branch is ``init_std / sqrt(2 layers)``.
        tensor_parallel: how ``strategy=tensor_parallel`` splits it: ``megatron``, by the collectives of
            ``lab.layers.tensor_parallel``, or ``dtensor``, by torch's plan. The results are equal.
        sequence_parallel: with ``megatron``: between the split layers each rank has a part of the tokens only.

    Raises:
        ConfigError: an argument is out of its range.
    """

    objective = "causal"

    def __init__(
        self,
        vocab_size: Positive = 250_880,
        embed_dim: Size = 128,
        num_layers: Layers = 4,
        num_heads: Annotated[Size, Divides("embed_dim")] = 4,
        feedforward_dim: Size | None = None,
        max_length: Count = 2048,
        positions: Annotated[str, OneOf("alibi", "learned")] = "alibi",
        num_token_types: Count = 0,
        pooler: bool = False,
        hidden_dropout: Dropout = 0.0,
        attention_dropout: Dropout = 0.0,
        vocab_multiple: Size = 1,
        init_std: NonNegative = 0.02,
        tensor_parallel: Annotated[str, OneOf("megatron", "dtensor")] = "megatron",
        sequence_parallel: bool = False,
    ) -> None:
        super().__init__()
        check_multiple("embed_dim", embed_dim, num_heads, "num_heads")
        check_choice("positions", positions, POSITIONS)
        check_choice("tensor_parallel", tensor_parallel, PARALLEL)
        if sequence_parallel and tensor_parallel != "megatron":
            raise ConfigError("sequence_parallel=true needs tensor_parallel=megatron")
        check_range("vocab_size", vocab_size, least=1)
        check_range("num_layers", num_layers, least=1)
        check_range("max_length", max_length, least=1 if positions == "learned" else 0)
        self.vocab_size, self.embed_dim, self.num_layers, self.num_heads = vocab_size, embed_dim, num_layers, num_heads
        self.positions, self.tensor_parallel = positions, tensor_parallel
        self.sequence_parallel = sequence_parallel
        self.max_length = max_length if positions == "learned" else 0
        self.hidden_dropout, self.init_std = hidden_dropout, init_std
        rows = -(-vocab_size // vocab_multiple) * vocab_multiple
        epsilon = 1e-5
        self.word_embeddings = VocabParallelEmbedding(rows, embed_dim)
        self.position_embeddings = nn.Embedding(max_length, embed_dim) if positions == "learned" else None
        self.tokentype_embeddings = nn.Embedding(num_token_types, embed_dim) if num_token_types else None
        self.word_embeddings_layernorm = LayerNorm(embed_dim, eps=epsilon)
        self.h = nn.ModuleList(
            BloomBlock(
                embed_dim,
                num_heads,
                feedforward_dim or 4 * embed_dim,
                hidden_dropout,
                attention_dropout,
                epsilon,
                sequence_parallel,
            )
            for _ in range(num_layers)
        )
        self.ln_f = SequenceParallelNorm(embed_dim, epsilon, sequence_parallel)
        self.pooler = nn.Linear(embed_dim, embed_dim) if pooler else None
        self.head = TiedHead()
        self.bias = CausalBias(num_heads, linear=positions == "alibi")
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise all parameters as Megatron does."""
        last = self.init_std / math.sqrt(2 * self.num_layers)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                ends = name.endswith((".dense", ".dense_4h_to_h"))
                nn.init.normal_(module.weight, std=last if ends else self.init_std)
                if isinstance(module, nn.Linear):
                    nn.init.zeros_(module.bias)

    def join(self, group: RankGroup) -> None:
        """Be told the ranks that share the heads and the vocabulary.

        Raises:
            ConfigError: they cannot share them equally.
        """
        super().join(group)
        count = group.part(self.num_heads, "the number of heads")
        self.bias.heads = slice(group.rank * count, (group.rank + 1) * count)
        rows = self.word_embeddings.num_embeddings
        group.part(rows, f"the rows of the vocabulary (model.net.vocab_multiple={group.size} adds rows)")

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        num_tokens: int | None = None,
        targets: CausalTargets | None = None,
    ) -> BloomOutputs:
        """Compute the states of tokens, and the scores of targets if they are given.

        Args:
            input_ids: (B, T) int64.
            attention_mask: (B, T) bool, True where a token stands; padding may be at the left or right.
            token_type_ids: (B, T) int64; read only where the network has token types.
            num_tokens: the number of True in ``attention_mask``; not needed here.
            targets: the tokens that follow, and the documents to keep to.

        Raises:
            DataError: on a CPU, an id is outside of the vocabulary.
            ConfigError: the sequence is longer than the table of positions.
        """
        documents = None if targets is None else targets.documents
        x = self.embed(input_ids, attention_mask, token_type_ids)
        bias = self.bias.of(x, 0, x.shape[1], attention_mask, documents)
        if self.sequence_parallel:
            x, bias = self._enter_sequence_region(x, bias)
        for block in self.h:
            x = block(x, bias)
        x = self.ln_f(x)
        if self.sequence_parallel:
            x = gather_from_tensor_region(x, self.group, SEQUENCE)[:, : input_ids.shape[1]]
        return BloomOutputs(x, None if targets is None else self._scores(x, targets), self)

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        num_tokens: int | None = None,
        hidden_states: bool = False,
    ) -> TextFeatures:
        """Return the states of tokens; ``pooled`` is that of each sequence's last token. See ``TextEncoder``."""
        x = self.embed(input_ids, attention_mask, token_type_ids)
        bias = self.bias.of(x, 0, x.shape[1], attention_mask)
        kept = [x]
        with whole_sequences(self):
            for block in self.h:
                x = block(x, bias)
                kept.append(x)
            kept[-1] = x = self.ln_f(x)
        if attention_mask is None:
            pooled = x[:, -1]
        else:
            places = torch.arange(1, x.shape[1] + 1, device=x.device) * attention_mask
            pooled = x[torch.arange(len(x), device=x.device), places.argmax(1)]
        if self.pooler is not None:
            pooled = self.pooler(pooled).tanh()
        return TextFeatures(x, pooled, tuple(kept) if hidden_states else ())

    def step(self, input_ids: Tensor, cache: KeyValueCache, attention_mask: Tensor | None = None) -> Tensor:
        """Read the next tokens of sequences and return the states of the last one, (B, C).

        Args:
            input_ids: (B, T), which follow those in the cache.
            cache: of the tokens so far; takes these too.
            attention_mask: (B, cache.length + T) bool, True where a token stands; None where nothing is padded.
        """
        first, last = cache.length, cache.length + input_ids.shape[1]
        places = torch.arange(last, device=input_ids.device)
        if attention_mask is not None:
            places = (attention_mask.cumsum(1) - 1).clamp(min=0)
        x = self.embed(input_ids, places=places[..., first:])
        bias = self.bias.of(x, first, last, attention_mask)
        for block, layer in zip(self.h[:-1], cache.layers, strict=False):
            x = block(x, bias, layer)
        x = self.h[-1](x, bias, cache.layers[-1], 1)  # of the last layer only the last token is needed
        out: Tensor = self.ln_f(x[:, 0])
        return out

    def logits(self, states: Tensor) -> Tensor:
        """Return (..., V) for states (..., C)."""
        return self.head.logits(states, self.word_embeddings.weight)

    def next_logits(self, states: Tensor) -> OwnLogits:
        """Return the logits of the tokens behind states (B, C), of this rank's part of the vocabulary."""
        return self.head.next_logits(states, self.word_embeddings.weight, self.vocab_size)

    def embed(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Return the embeddings (B, T, C) of tokens, normalised.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T) bool; positions count real tokens.
            token_type_ids: (B, T).
            places: (B, T) or (T,) positions; instead of the mask.
        """
        self._check(input_ids)
        x = self.word_embeddings(input_ids)
        if self.position_embeddings is not None:
            if places is None:
                places = torch.arange(input_ids.shape[1], device=input_ids.device)
                if attention_mask is not None:
                    places = (attention_mask.cumsum(1) - 1).clamp(min=0)
            x = x + self.position_embeddings(places)
        if self.tokentype_embeddings is not None:
            types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            x = x + self.tokentype_embeddings(types)
        return drop(self.word_embeddings_layernorm(x), self.hidden_dropout, self.training)

    def adapt_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return pretrained weights without rows that only pad the vocabulary of the file.

        Raises:
            CheckpointError: they are for another vocabulary.
        """
        name, rows = "word_embeddings.weight", self.word_embeddings.num_embeddings
        given = state.get(name)
        if given is None or given.ndim != 2 or len(given) == rows:
            return dict(state)
        if self.vocab_size <= len(given) < self.vocab_size + PADDED_BELOW and rows == self.vocab_size:
            logger.warning("the last %d rows of %s stand for no token and are left out", len(given) - rows, name)
            return {**state, name: given[:rows]}
        raise CheckpointError(
            f"they are for a vocabulary of {len(given)} tokens, and the network has {self.vocab_size}: take the "
            "tokenizer that they were trained with (data.tokenizer=...)"
        )

    def totals(self, targets: CausalTargets) -> Mapping[str, float]:
        """Return the number of tokens that are predicted."""
        return {TOKENS: float(sum(targets.counts))}

    def loss(self, outputs: BloomOutputs, targets: CausalTargets) -> dict[str, Term]:
        """Return the cross-entropy of the tokens that follow.

        Raises:
            ConfigError: the outputs were computed without targets.
        """
        if outputs.scores is None:
            raise ConfigError("the loss needs outputs of forward(..., targets=...)")
        return {"loss_ce": Term(outputs.scores.losses.sum(), TOKENS)}

    def generate(
        self, input_ids: Tensor, max_new_tokens: int, attention_mask: Tensor | None = None, **how: Any
    ) -> Tensor:
        """Return prompts and their continuations, (B, T + n); see ``lab.models.bloom.generation.continue_texts``."""
        with whole_sequences(self):
            return continue_texts(self, input_ids, max_new_tokens, attention_mask, **how)

    def _enter_sequence_region(self, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return this rank's part of the tokens, and the bias for all of them; both padded to a multiple of ranks."""
        if self.group is None:
            return x, bias
        missing = -x.shape[SEQUENCE] % self.group.size
        x = scatter_to_tensor_region(F.pad(x, (0, 0, 0, missing)), self.group, SEQUENCE)
        bias = F.pad(bias, (0, missing), value=-torch.inf)  # no token looks at what is added
        return x, F.pad(bias, (0, 0, 0, missing))

    def _scores(self, states: Tensor, targets: CausalTargets) -> LanguageScores:
        labels, count = targets.labels.flatten(), sum(targets.counts)
        states = states.flatten(0, 1)
        if count < len(labels):
            chosen = torch.nonzero_static(labels >= 0, size=count)[:, 0]
            states, labels = states[chosen], labels[chosen]
        losses, correct = self.head.scores(states, self.word_embeddings.weight, labels, ranked=not self.training)
        return LanguageScores(losses, correct)

    def _check(self, input_ids: Tensor) -> None:
        """Refuse sequences that are too long, and on a CPU ids that the vocabulary does not have."""
        if self.max_length and input_ids.shape[1] > self.max_length:
            raise ConfigError(
                f"sequences of {input_ids.shape[1]} tokens are longer than the table of positions, "
                f"max_length={self.max_length}"
            )
        if type(input_ids) is Tensor and input_ids.is_cpu and input_ids.numel() and not torch.compiler.is_compiling():
            low, high = (int(value) for value in input_ids.aminmax())
            rows = self.word_embeddings.num_embeddings
            if low < 0 or high >= rows:
                wrong = low if low < 0 else high
                raise DataError(f"input_ids have the token {wrong}, outside of the vocabulary of 0 to {rows - 1}")
