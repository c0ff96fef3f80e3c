"""BLOOM's sizes by name: ``lab.create_model("bloom_560m")``. Every argument of ``Bloom`` can be overridden.

Layers, widths and heads are those of table 3 of the paper, the vocabulary the published one of 250,680 tokens, padded
to 250,880 rows.
"""

from __future__ import annotations

from typing import Any

from lab.models.bloom.network import Bloom
from lab.registry.arguments import build_variant
from lab.registry.models import register_model


def _sized(name: str, overrides: dict[str, Any], layers: int, width: int, heads: int, deviation: float = 0.02) -> Bloom:
    return build_variant(
        Bloom,
        name,
        overrides,
        vocab_multiple=512,
        num_layers=layers,
        embed_dim=width,
        num_heads=heads,
        init_std=deviation,
    )


@register_model(converter="lab.models.bloom.weights.convert")
def bloom_tiny(**overrides: Any) -> Bloom:
    """Build a network of our own size that learns on a CPU: 4 blocks of width 128, 4 heads."""
    return build_variant(Bloom, "bloom_tiny", overrides)


@register_model(converter="lab.models.bloom.weights.convert")
def bloom_560m(**overrides: Any) -> Bloom:
    """Build BLOOM-560m: 559,214,592 parameters."""
    return _sized("bloom_560m", overrides, 24, 1024, 16)


@register_model(converter="lab.models.bloom.weights.convert")
def bloom_1b1(**overrides: Any) -> Bloom:
    """Build BLOOM-1b1: 1,065,314,304 parameters."""
    return _sized("bloom_1b1", overrides, 24, 1536, 16)


@register_model(converter="lab.models.bloom.weights.convert")
def bloom_1b7(**overrides: Any) -> Bloom:
    """Build BLOOM-1b7: 1,722,408,960 parameters."""
    return _sized("bloom_1b7", overrides, 24, 2048, 16)


@register_model(converter="lab.models.bloom.weights.convert")
def bloom_3b(**overrides: Any) -> Bloom:
    """Build BLOOM-3b: 3,002,557,440 parameters."""
    return _sized("bloom_3b", overrides, 30, 2560, 32)


@register_model(converter="lab.models.bloom.weights.convert")
def bloom_7b1(**overrides: Any) -> Bloom:
    """Build BLOOM-7b1: 7,069,016,064 parameters."""
    return _sized("bloom_7b1", overrides, 30, 4096, 32)


@register_model(converter="lab.models.bloom.weights.convert")
def bloom_176b(**overrides: Any) -> Bloom:
    """Build BLOOM: 176,247,271,424 parameters."""
    return _sized("bloom_176b", overrides, 70, 14336, 112, 0.0048)
