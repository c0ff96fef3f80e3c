"""Classification by the state of a whole sequence (Devlin et al., "BERT", NAACL 2019, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lab.layers.dropout import dropout as drop
from lab.layers.linear import Linear
from lab.models.text_heads.encoders import adapt_to_encoder, build_encoder
from lab.ranges import Dropout, Positive, Size, Word


class SequenceClassifier(nn.Module):
    """An encoder, dropout and a linear layer: a ``lab.structures.text_classification.TextClassifier``.

    Args:
        vocab_size: V.
        num_classes: K.
        encoder: a registered model that is a ``lab.structures.text.TextEncoder``.
        max_length: the most tokens of a sequence; None: the encoder's own.
        dropout: probability, in the encoder and before the last layer.
        encoder_options: further arguments of the encoder.

    Raises:
        ConfigError: there is no such encoder.
    """

    def __init__(
        self,
        vocab_size: Positive,
        num_classes: Positive,
        encoder: Word = "bert_base_uncased",
        max_length: Size | None = None,
        dropout: Dropout = 0.1,
        encoder_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder_name, self.dropout = encoder, dropout
        self.encoder = build_encoder(encoder, vocab_size, max_length, dropout, None, encoder_options or {})
        self.max_length: int = self.encoder.max_length
        self.embed_dim: int = self.encoder.embed_dim
        self.classifier = Linear(self.embed_dim, num_classes)
        nn.init.trunc_normal_(self.classifier.weight, std=0.02, a=-0.04, b=0.04)
        nn.init.zeros_(self.classifier.bias)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        num_tokens: int | None = None,
    ) -> Tensor:
        """Return logits (B, K); see ``lab.structures.text.TextEncoder.encode`` for the arguments."""
        pooled = self.encoder.encode(input_ids, attention_mask, token_type_ids, num_tokens).pooled
        logits: Tensor = self.classifier(drop(pooled, self.dropout, self.training))
        return logits

    def adapt_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return pretrained weights of this network or of its encoder, see ``adapt_to_encoder``."""
        return adapt_to_encoder(self, self.encoder_name, state, "classifier", ("output_",))
