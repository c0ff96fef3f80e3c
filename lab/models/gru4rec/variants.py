"""GRU4Rec by name: ``lab.create_model("gru4rec", num_items=1000)``. Every argument of ``GRU4Rec`` can be given."""

from __future__ import annotations

from typing import Any

from lab.models.gru4rec.network import GRU4Rec
from lab.registry.arguments import build_variant
from lab.registry.models import register_model


@register_model(converter="lab.models.gru4rec.weights.convert")
def gru4rec(**overrides: Any) -> GRU4Rec:
    """One layer of 100 units, constrained embeddings, cross-entropy: the authors' defaults."""
    return build_variant(GRU4Rec, "gru4rec", overrides)
