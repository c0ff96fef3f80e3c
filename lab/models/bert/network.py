"""BERT: "Pre-training of Deep Bidirectional Transformers for Language Understanding" (Devlin et al., NAACL 2019).

Embeddings, a stack of transformer blocks, and the two heads of pretraining: hidden words, with the matrix of the words'
embeddings, and whether the second text of a pair follows the first one (section 3.1). Sizes, epsilon and the places of
dropout are those of google-research/bert. Everything but the attention is computed for tokens only, not for padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import Tensor, nn

from lab.checking import check_choice, check_range
from lab.errors import ConfigError
from lab.layers.linear import Linear
from lab.models.bert.blocks import BertBlock, BertEmbeddings, HiddenWordHead, scores_of
from lab.models.bert.packing import Packing, make_packing
from lab.models.bert.weights import adapt
from lab.ranges import Divides, Dropout, Gt, Layers, Le, OneOf, Positive, Size
from lab.structures import Movable, Term
from lab.structures.language_modeling import LanguageScores, MaskedTargets
from lab.structures.text import TextFeatures

POOLERS = ("dense", "first", "mean")
MASKED_TOKENS, PAIRS = "masked_tokens", "pairs"


@dataclass
class BertOutputs(Movable):
    """What a BERT makes of token sequences. Padded states and logits are computed when they are read.

    Attributes:
        states: (N, C), the last state of each token; N tokens of all sequences, one sequence after the other.
        pooled: (B, C), see ``pooler`` of ``Bert``.
        packing: where the tokens stand.
        net: the network that has made them.
        scores: of the targets; None if none were given.
    """

    states: Tensor
    pooled: Tensor
    packing: Packing
    net: Bert = field(repr=False)
    scores: LanguageScores | None = None

    @property
    def last_hidden_state(self) -> Tensor:
        """(B, T, C); zeros where padded."""
        return self.packing.pad(self.states)

    @property
    def mlm_logits(self) -> Tensor:
        """(B, T, V) logits of the word at each place; zeros where padded."""
        return self.packing.pad(self.net.word_logits(self.states))

    @property
    def nsp_logits(self) -> Tensor:
        """(B, 2) logits: the second text follows the first one, it is a random one."""
        return self.net.pair_logits(self.pooled)


class Bert(nn.Module):
    """A ``TextEncoder`` and a masked ``LanguageModel``.

    Args:
        vocab_size: V.
        embed_dim: C.
        num_layers: blocks.
        num_heads: heads of each attention; divides ``embed_dim``.
        feedforward_dim: hidden width of the feed-forward nets.
        max_length: the most tokens of a sequence: rows of the table of places.
        dropout: probability, after the embeddings and at the end of both branches of a block.
        attention_dropout: probability of dropping an attention weight.
        activation: ``gelu``, with the error function as the released weights were trained; ``gelu_tanh``: its
            approximation, as in the last version of the authors' code.
        type_vocab: rows of the table of types: 2, for the first and the second text of a pair.
        heads: with the heads of pretraining; False: only an encoder.
        pooler: what ``pooled`` is: ``dense``: tanh of a linear layer of the first token's state, as published;
            ``first``: that state itself; ``mean``: the mean of all tokens' states, as sentence-transformers does.
        init_std: deviation of the matrices before the training (``initializer_range`` of the authors' code).

    Raises:
        ConfigError: numbers that do not fit each other, or an unknown word.
    """

    objective = "masked"

    def __init__(
        self,
        vocab_size: Positive = 30522,
        embed_dim: Size = 768,
        num_layers: Layers = 12,
        num_heads: Annotated[Size, Divides("embed_dim")] = 12,
        feedforward_dim: Size = 3072,
        max_length: Size = 512,
        dropout: Dropout = 0.1,
        attention_dropout: Dropout = 0.1,
        activation: Annotated[str, OneOf("gelu", "gelu_tanh")] = "gelu",
        type_vocab: Size = 2,
        heads: bool = True,
        pooler: Annotated[str, OneOf("dense", "first", "mean")] = "dense",
        init_std: Annotated[float, Gt(0), Le(1)] = 0.02,
    ) -> None:
        super().__init__()
        check_choice("pooler", pooler, POOLERS)
        for name, value in (("vocab_size", vocab_size), ("num_layers", num_layers), ("max_length", max_length)):
            check_range(name, value, least=1)
        check_range("dropout", dropout, least=0, below=1)
        check_range("attention_dropout", attention_dropout, least=0, below=1)
        check_range("init_std", init_std, above=0, most=1)
        if pooler != "dense" and heads:
            raise ConfigError(f"pooler={pooler}: the heads of pretraining need pooler=dense, or set heads=false")
        self.vocab_size, self.embed_dim, self.max_length, self.pooling = vocab_size, embed_dim, max_length, pooler
        self.init_std = init_std
        self.embeddings = BertEmbeddings(vocab_size, embed_dim, max_length, type_vocab, dropout)
        self.blocks = nn.ModuleList(
            BertBlock(embed_dim, num_heads, feedforward_dim, dropout, attention_dropout, activation)
            for _ in range(num_layers)
        )
        self.pooler = Linear(embed_dim, embed_dim) if pooler == "dense" else None
        self.mlm = HiddenWordHead(vocab_size, embed_dim, activation) if heads else None
        self.nsp = Linear(embed_dim, 2) if heads else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Fill matrices from a normal distribution, cut at two deviations; biases with zeros."""
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                std = self.init_std
                nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        num_tokens: int | None = None,
        targets: MaskedTargets | None = None,
    ) -> BertOutputs:
        """Compute the states, and the scores of targets; see ``lab.structures.language_modeling.LanguageModel``.

        Args:
            input_ids: (B, T) int64.
            attention_mask: (B, T) bool, True where a token stands; None where nothing is padded.
            token_type_ids: (B, T) int64; None: all 0.
            num_tokens: the number of True in ``attention_mask``, if the caller knows it.
            targets: what to compute ``scores`` of.

        Raises:
            ConfigError: sequences are longer than ``max_length``, or there are targets and no heads.
        """
        packing = self._packing(input_ids, attention_mask, num_tokens)
        states = self._states(input_ids, token_type_ids, packing)[-1]
        outputs = BertOutputs(states, self._pool(states, packing), packing, self)
        if targets is not None:
            outputs.scores = self._scores(outputs, targets)
        return outputs

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        num_tokens: int | None = None,
        hidden_states: bool = False,
    ) -> TextFeatures:
        """Return the states of tokens, zeros where padded; see ``lab.structures.text.TextEncoder``."""
        packing = self._packing(input_ids, attention_mask, num_tokens)
        states = self._states(input_ids, token_type_ids, packing, hidden_states)
        layers = tuple(packing.pad(state) for state in states) if hidden_states else ()
        last = layers[-1] if layers else packing.pad(states[-1])
        return TextFeatures(last, self._pool(states[-1], packing), layers)

    def fill(
        self,
        input_ids: Tensor,
        rows: Tensor,
        positions: Tensor,
        attention_mask: Tensor | None = None,
        num_tokens: int | None = None,
    ) -> Tensor:
        """Return the logits (P, V) of words at some places; see ``lab.structures.language_modeling.Filler``.

        Raises:
            ConfigError: the network has no heads.
        """
        packing = self._packing(input_ids, attention_mask, num_tokens)
        states = self._states(input_ids, None, packing)[-1]
        return self.word_logits(states.index_select(0, packing.find(rows, positions)))

    def totals(self, targets: MaskedTargets) -> Mapping[str, float]:
        """Return the number of hidden words, and of pairs where there are any."""
        found = {MASKED_TOKENS: float(sum(targets.counts))}
        if targets.next_sentence is not None:
            found[PAIRS] = float(len(targets.next_sentence))
        return found

    def loss(self, outputs: BertOutputs, targets: MaskedTargets) -> dict[str, Term]:
        """Return the cross-entropy of the hidden words, and of the pairs where there are any (appendix A.2)."""
        assert outputs.scores is not None, "forward was given no targets"
        terms = {"loss_mlm": Term(outputs.scores.losses.sum(), MASKED_TOKENS)}
        if outputs.scores.next_sentence_losses is not None:
            terms["loss_nsp"] = Term(outputs.scores.next_sentence_losses.sum(), PAIRS)
        return terms

    def word_logits(self, states: Tensor) -> Tensor:
        """Map states (..., C) to the logits (..., V) of words.

        Raises:
            ConfigError: the network has no heads.
        """
        if self.mlm is None:
            raise ConfigError("heads=false: this BERT has no head for hidden words")
        logits: Tensor = self.mlm(states, self.embeddings.words.weight)
        return logits

    def pair_logits(self, pooled: Tensor) -> Tensor:
        """Map pooled states (B, C) to logits (B, 2): the second text follows, it is a random one.

        Raises:
            ConfigError: the network has no heads.
        """
        if self.nsp is None:
            raise ConfigError("heads=false: this BERT has no head for pairs")
        logits: Tensor = self.nsp(pooled)
        return logits

    def adapt_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return pretrained weights that fit; see ``lab.models.bert.weights.adapt``."""
        return adapt(state, self.state_dict())

    def _packing(self, input_ids: Tensor, attention_mask: Tensor | None, num_tokens: int | None) -> Packing:
        if input_ids.ndim != 2 or not input_ids.numel():
            raise ConfigError(f"tokens of shape {tuple(input_ids.shape)}: expected (B, T)")
        if input_ids.shape[1] > self.max_length:
            raise ConfigError(
                f"sequences of {input_ids.shape[1]} tokens are longer than model.net.max_length={self.max_length}"
            )
        return make_packing(input_ids, attention_mask, num_tokens)

    def _states(
        self, input_ids: Tensor, token_type_ids: Tensor | None, packing: Packing, every: bool = False
    ) -> list[Tensor]:
        """Return the last state (N, C) of each token; with ``every`` also those before it, the embeddings first."""
        types = None if token_type_ids is None else packing.pack(token_type_ids)
        x = self.embeddings(packing.pack(input_ids), packing.columns(input_ids.device), types)
        states = [x]
        for block in self.blocks:
            x = block(x, packing)
            states = [*states, x] if every else [x]
        return states

    def _pool(self, states: Tensor, packing: Packing) -> Tensor:
        """Return one state (B, C) for each sequence; undefined for a sequence without tokens."""
        if self.pooling == "mean":
            padded = packing.pad(states)
            if packing.mask is None:
                return padded.mean(1)
            allowed = packing.mask[:, 0, 0, :, None]
            return (padded * allowed).sum(1) / allowed.sum(1).clamp(min=1)
        first = states.index_select(0, packing.first(states.device))
        return first if self.pooler is None else self.pooler(first).tanh()

    def _scores(self, outputs: BertOutputs, targets: MaskedTargets) -> LanguageScores:
        device = outputs.states.device
        counts = torch.tensor(targets.counts, device=device)
        rows = torch.repeat_interleave(
            torch.arange(len(counts), device=device), counts, output_size=sum(targets.counts)
        )
        chosen = outputs.packing.find(rows, targets.positions)
        losses, correct = scores_of(
            self.word_logits(outputs.states.index_select(0, chosen)), targets.labels, self.training
        )
        if targets.next_sentence is not None:
            following, right = scores_of(outputs.nsp_logits, targets.next_sentence, self.training)
            return LanguageScores(losses, correct, following, right)
        if self.training:  # strategies wait for the gradient of every parameter
            losses = losses + 0 * outputs.nsp_logits.sum()
        return LanguageScores(losses, correct)
