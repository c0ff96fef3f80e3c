"""Answers as spans of a text (Devlin et al., "BERT", NAACL 2019, section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lab.layers.linear import Linear
from lab.models.text_heads.encoders import adapt_to_encoder, build_encoder
from lab.ranges import Dropout, Positive, Size, Word
from lab.structures.question_answering import SpanLogits


class SpanAnswerer(nn.Module):
    """An encoder and a linear layer that scores each token as an answer's first and last one.

    It is a ``lab.structures.question_answering.Answerer``. Rows of ``spans``: first token, last token.

    Args:
        vocab_size: V.
        encoder: a registered model that is a ``lab.structures.text.TextEncoder``.
        max_length: the most tokens of a window; None: the encoder's own.
        dropout: probability, in the encoder.
        encoder_options: further arguments of the encoder.

    Raises:
        ConfigError: there is no such encoder.
    """

    def __init__(
        self,
        vocab_size: Positive,
        encoder: Word = "bert_base_uncased",
        max_length: Size | None = None,
        dropout: Dropout = 0.1,
        encoder_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder_name = encoder
        self.encoder = build_encoder(encoder, vocab_size, max_length, dropout, "first", encoder_options or {})
        self.max_length: int = self.encoder.max_length
        self.embed_dim: int = self.encoder.embed_dim
        self.spans = Linear(self.embed_dim, 2)
        nn.init.trunc_normal_(self.spans.weight, std=0.02, a=-0.04, b=0.04)
        nn.init.zeros_(self.spans.bias)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        num_tokens: int | None = None,
    ) -> SpanLogits:
        """Return logits of both ends, (B, T) each, finite also where padded.

        See ``lab.structures.text.TextEncoder.encode`` for the arguments.
        """
        states = self.encoder.encode(input_ids, attention_mask, token_type_ids, num_tokens).last_hidden_state
        starts, ends = self.spans(states).unbind(-1)
        return SpanLogits(starts.clone(), ends.clone())  # FSDP warns of outputs that are views

    def adapt_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return pretrained weights of this network or of its encoder, see ``adapt_to_encoder``."""
        return adapt_to_encoder(self, self.encoder_name, state, "spans", ("qa_outputs.", "cls/squad/output_"))
