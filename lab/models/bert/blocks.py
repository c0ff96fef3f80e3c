"""The parts of BERT: embeddings, blocks with norms after the residual sums, the two heads of pretraining.

Names: B sequences, T positions, N tokens of all sequences, P hidden tokens, C ``embed_dim``, V words.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.checking import check_choice, check_multiple
from lab.layers.attention import attend
from lab.layers.dropout import dropout as drop
from lab.layers.linear import Linear, linear
from lab.layers.norm import LayerNorm
from lab.models.bert.packing import Packing

EPSILON = 1e-12
ACTIVATIONS = {"gelu": "none", "gelu_tanh": "tanh"}
"""The names of the two forms of GELU, and what torch calls them. Google's released weights were trained with erf."""


class BertEmbeddings(nn.Module):
    """The sum of the embeddings of words, places and types, normalised.

    Args:
        vocab_size: V.
        embed_dim: C.
        max_length: rows of the table of places.
        type_vocab: rows of the table of types.
        dropout: probability, after the norm.
    """

    def __init__(self, vocab_size: int, embed_dim: int, max_length: int, type_vocab: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.words = nn.Embedding(vocab_size, embed_dim)
        self.places = nn.Embedding(max_length, embed_dim)
        self.types = nn.Embedding(type_vocab, embed_dim)
        self.norm = LayerNorm(embed_dim, eps=EPSILON)

    def forward(self, words: Tensor, places: Tensor, types: Tensor | None) -> Tensor:
        """Map the words, places and types (N,) of tokens to (N, C)."""
        kinds = self.types.weight[0] if types is None else self.types(types)
        return drop(self.norm(self.words(words) + kinds + self.places(places)), self.dropout, self.training)


class BertBlock(nn.Module):
    """Self-attention and a feed-forward net, each followed by dropout, the residual sum and a norm.

    Rows of ``qkv``: queries, keys, values.

    Args:
        embed_dim: C.
        num_heads: heads of the attention; divides C.
        feedforward_dim: hidden width of the feed-forward net.
        dropout: probability, after the attention's and the feed-forward net's last layer.
        attention_dropout: probability of dropping an attention weight.
        activation: ``gelu`` or ``gelu_tanh``.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        attention_dropout: float,
        activation: str,
    ) -> None:
        super().__init__()
        check_multiple("embed_dim", embed_dim, num_heads, "num_heads")
        check_choice("activation", activation, ACTIVATIONS)
        self.num_heads, self.dropout, self.attention_dropout = num_heads, dropout, attention_dropout
        self.gelu = ACTIVATIONS[activation]
        self.qkv = Linear(embed_dim, 3 * embed_dim)
        self.out_proj = Linear(embed_dim, embed_dim)
        self.attention_norm = LayerNorm(embed_dim, eps=EPSILON)
        self.fc1 = Linear(embed_dim, feedforward_dim)
        self.fc2 = Linear(feedforward_dim, embed_dim)
        self.feedforward_norm = LayerNorm(embed_dim, eps=EPSILON)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """Map the states (N, C) of tokens to (N, C)."""
        queries, keys, values = packing.pad(self.qkv(x)).chunk(3, dim=-1)
        rate = self.attention_dropout if self.training else 0.0
        mixed = packing.pack(attend(queries, keys, values, self.num_heads, packing.mask, rate))
        x, _ = self.attention_norm.add(drop(self.out_proj(mixed), self.dropout, self.training), x)
        hidden = self.fc1.gelu(x, self.gelu)
        return self.feedforward_norm.add(drop(self.fc2(hidden), self.dropout, self.training), x)[0]


class HiddenWordHead(nn.Module):
    """Predicts hidden words; the last matrix is that of the words' embeddings.

    Args:
        vocab_size: V.
        embed_dim: C.
        activation: ``gelu`` or ``gelu_tanh``.
    """

    def __init__(self, vocab_size: int, embed_dim: int, activation: str) -> None:
        super().__init__()
        self.gelu = ACTIVATIONS[activation]
        self.dense = Linear(embed_dim, embed_dim)
        self.norm = LayerNorm(embed_dim, eps=EPSILON)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, states: Tensor, words: Tensor) -> Tensor:
        """Map states (..., C) to logits (..., V); ``words`` (V, C) are the embeddings."""
        return linear(self.norm(self.dense.gelu(states, self.gelu)), words, self.bias)


def scores_of(logits: Tensor, labels: Tensor, training: bool) -> tuple[Tensor, Tensor | None]:
    """Return the cross-entropy (P,) of each label in float32, and outside of training whether it is the likeliest.

    Args:
        logits: (P, K).
        labels: (P,).
        training: whether a network is trained.
    """
    losses = F.cross_entropy(logits.float(), labels, reduction="none")
    return losses, None if training else logits.argmax(-1) == labels
