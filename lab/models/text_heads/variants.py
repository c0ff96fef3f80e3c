"""The registered networks of an encoder and a head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.models.text_heads.answerer import SpanAnswerer
from lab.models.text_heads.classifier import SequenceClassifier
from lab.ranges import Dropout, Positive, Size, Word
from lab.registry.models import register_model


@register_model(classifier="classifier")
def text_classifier(
    vocab_size: Positive = 30522,
    num_classes: Positive = 2,
    encoder: Word = "bert_base_uncased",
    max_length: Size | None = None,
    dropout: Dropout = 0.1,
    encoder_options: Mapping[str, Any] | None = None,
) -> SequenceClassifier:
    """Build a classifier of texts on a registered encoder; weights of the encoder alone load too."""
    return SequenceClassifier(vocab_size, num_classes, encoder, max_length, dropout, encoder_options)


@register_model
def span_answerer(
    vocab_size: Positive = 30522,
    encoder: Word = "bert_base_uncased",
    max_length: Size | None = None,
    dropout: Dropout = 0.1,
    encoder_options: Mapping[str, Any] | None = None,
) -> SpanAnswerer:
    """Build a network that marks answers, on a registered encoder; weights of the encoder alone load too."""
    return SpanAnswerer(vocab_size, encoder, max_length, dropout, encoder_options)
