"""The registered BERTs: the paper's two sizes, cased and uncased, and the smaller ones of the same authors.

The small ones are those of "Well-Read Students Learn Better" (Turc et al., 2019). Google's checkpoints have no
published hash, so they are not downloaded: give ``pretrained=FILE`` (``bert_model.ckpt.index``, ``pytorch_model.bin``
or ``model.safetensors``). Cased and uncased names differ in their vocabulary only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from lab.models.bert.network import Bert
from lab.ranges import Divides, Dropout, Flat, Gt, Layers, Le, OneOf, Positive, Size
from lab.registry.models import register_model


@dataclass(frozen=True)
class BertOptions(Flat):
    """What all of these names take beside their sizes.

    Attributes:
        dropout: see ``Bert``, like the others.
        attention_dropout: see there.
        activation: see there.
        type_vocab: see there.
        heads: see there.
        pooler: see there.
        init_std: see there.
    """

    dropout: Dropout = 0.1
    attention_dropout: Dropout = 0.1
    activation: Annotated[str, OneOf("gelu", "gelu_tanh")] = "gelu"
    type_vocab: Size = 2
    heads: bool = True
    pooler: Annotated[str, OneOf("dense", "first", "mean")] = "dense"
    init_std: Annotated[float, Gt(0), Le(1)] = 0.02


OPTIONS = BertOptions()


def build_bert(vocab_size: int, shape: tuple[int, int, int, int], max_length: int, options: BertOptions) -> Bert:
    """Build from (width, layers, heads, hidden width)."""
    return Bert(
        vocab_size,
        *shape,
        max_length,
        options.dropout,
        options.attention_dropout,
        options.activation,
        options.type_vocab,
        options.heads,
        options.pooler,
        options.init_std,
    )


@register_model(converter="lab.models.bert.weights.convert")
def bert_tiny(
    vocab_size: Positive = 30522,
    embed_dim: Size = 128,
    num_layers: Layers = 2,
    num_heads: Annotated[Size, Divides("embed_dim")] = 2,
    feedforward_dim: Size = 512,
    max_length: Size = 512,
    options: BertOptions = OPTIONS,
) -> Bert:
    """Build BERT-Tiny: 4.4 M parameters without heads; GLUE 64.2, as its authors report."""
    return build_bert(vocab_size, (embed_dim, num_layers, num_heads, feedforward_dim), max_length, options)


@register_model(converter="lab.models.bert.weights.convert")
def bert_mini(
    vocab_size: Positive = 30522,
    embed_dim: Size = 256,
    num_layers: Layers = 4,
    num_heads: Annotated[Size, Divides("embed_dim")] = 4,
    feedforward_dim: Size = 1024,
    max_length: Size = 512,
    options: BertOptions = OPTIONS,
) -> Bert:
    """Build BERT-Mini: 11.2 M parameters without heads; GLUE 65.8."""
    return build_bert(vocab_size, (embed_dim, num_layers, num_heads, feedforward_dim), max_length, options)


@register_model(converter="lab.models.bert.weights.convert")
def bert_small(
    vocab_size: Positive = 30522,
    embed_dim: Size = 512,
    num_layers: Layers = 4,
    num_heads: Annotated[Size, Divides("embed_dim")] = 8,
    feedforward_dim: Size = 2048,
    max_length: Size = 512,
    options: BertOptions = OPTIONS,
) -> Bert:
    """Build BERT-Small: 28.8 M parameters without heads; GLUE 71.2."""
    return build_bert(vocab_size, (embed_dim, num_layers, num_heads, feedforward_dim), max_length, options)


@register_model(converter="lab.models.bert.weights.convert")
def bert_medium(
    vocab_size: Positive = 30522,
    embed_dim: Size = 512,
    num_layers: Layers = 8,
    num_heads: Annotated[Size, Divides("embed_dim")] = 8,
    feedforward_dim: Size = 2048,
    max_length: Size = 512,
    options: BertOptions = OPTIONS,
) -> Bert:
    """Build BERT-Medium: 41.4 M parameters without heads; GLUE 73.5."""
    return build_bert(vocab_size, (embed_dim, num_layers, num_heads, feedforward_dim), max_length, options)


@register_model(converter="lab.models.bert.weights.convert")
def bert_base_uncased(
    vocab_size: Positive = 30522,
    embed_dim: Size = 768,
    num_layers: Layers = 12,
    num_heads: Annotated[Size, Divides("embed_dim")] = 12,
    feedforward_dim: Size = 3072,
    max_length: Size = 512,
    options: BertOptions = OPTIONS,
) -> Bert:
    """Build BERT-Base, uncased: 109.5 M parameters without heads; SQuAD 1.1 F1 88.4."""
    return build_bert(vocab_size, (embed_dim, num_layers, num_heads, feedforward_dim), max_length, options)


@register_model(converter="lab.models.bert.weights.convert")
def bert_base_cased(
    vocab_size: Positive = 28996,
    embed_dim: Size = 768,
    num_layers: Layers = 12,
    num_heads: Annotated[Size, Divides("embed_dim")] = 12,
    feedforward_dim: Size = 3072,
    max_length: Size = 512,
    options: BertOptions = OPTIONS,
) -> Bert:
    """Build BERT-Base, cased: 108.3 M parameters without heads."""
    return build_bert(vocab_size, (embed_dim, num_layers, num_heads, feedforward_dim), max_length, options)


@register_model(converter="lab.models.bert.weights.convert")
def bert_large_uncased(
    vocab_size: Positive = 30522,
    embed_dim: Size = 1024,
    num_layers: Layers = 24,
    num_heads: Annotated[Size, Divides("embed_dim")] = 16,
    feedforward_dim: Size = 4096,
    max_length: Size = 512,
    options: BertOptions = OPTIONS,
) -> Bert:
    """Build BERT-Large, uncased: 335.1 M parameters without heads; SQuAD 1.1 F1 90.87."""
    return build_bert(vocab_size, (embed_dim, num_layers, num_heads, feedforward_dim), max_length, options)


@register_model(converter="lab.models.bert.weights.convert")
def bert_large_cased(
    vocab_size: Positive = 28996,
    embed_dim: Size = 1024,
    num_layers: Layers = 24,
    num_heads: Annotated[Size, Divides("embed_dim")] = 16,
    feedforward_dim: Size = 4096,
    max_length: Size = 512,
    options: BertOptions = OPTIONS,
) -> Bert:
    """Build BERT-Large, cased: 333.6 M parameters without heads."""
    return build_bert(vocab_size, (embed_dim, num_layers, num_heads, feedforward_dim), max_length, options)
