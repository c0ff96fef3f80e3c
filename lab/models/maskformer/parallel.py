"""How MaskFormer is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from lab.registry.parallel import blocks_of

if TYPE_CHECKING:
    from lab.models.maskformer.network import MaskFormer


def blocks(net: MaskFormer) -> list[nn.Module]:
    """Return the units of a MaskFormer, in the order of its forward pass; other parameters belong to the whole network.

    The units are those of the backbone, the layers of the pixel decoder's encoder, and the whole decoder, as in DETR.
    The pyramid is not a unit, because the weights of its last convolution may be used outside of it (``fold_masks``).
    """
    decoder = net.pixel_decoder
    encoder = decoder.get_submodule("transformer.encoder.layers").children() if decoder.has_encoder else ()
    return [*blocks_of(net.backbone), *encoder, net.predictor.get_submodule("transformer.decoder")]
