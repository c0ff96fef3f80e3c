"""How an encoder with a head is split over ranks: as the encoder is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from lab.registry.parallel import blocks_of, splitting_of
from lab.structures.parallel import TensorSplitting

if TYPE_CHECKING:
    from torch.distributed.tensor.parallel import ParallelStyle

    from lab.models.text_heads.answerer import SpanAnswerer
    from lab.models.text_heads.classifier import SequenceClassifier


def blocks(net: SequenceClassifier | SpanAnswerer) -> list[nn.Module]:
    """Return the units of the encoder; the head belongs to the whole network."""
    return blocks_of(net.encoder)


def tensor_plan(net: SequenceClassifier | SpanAnswerer) -> dict[str, ParallelStyle]:
    """Split the encoder as its own architecture says; nothing, where it says nothing."""
    splitting = splitting_of(net.encoder)
    if not isinstance(splitting, TensorSplitting):
        return {}
    return {f"encoder.{name}": style for name, style in splitting.tensor_plan(net.encoder).items()}
