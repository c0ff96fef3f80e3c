"""The registered stem of convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from lab.errors import ConfigError
from lab.models.conv_stem.network import ConvStem
from lab.registry.models import register_model


@register_model
def conv_stem(
    features_only: bool = True, widths: Sequence[int] = (64, 96), out_indices: Sequence[int] | None = None
) -> ConvStem:
    """Build a backbone with a stage for each of ``widths``; it has no classifier."""
    if not features_only:
        raise ConfigError("conv_stem is a backbone without a classifier: features_only must be true")
    return ConvStem(widths, out_indices)
