"""MaskFormer's two decoders (figure 2): one makes features of pixels, one makes classes and mask codes of queries."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lab.layers.fpn import FeaturePyramid, fill_convolution
from lab.layers.mlp import MLP
from lab.layers.position import SinePositionEncoding
from lab.layers.transformer import Decoder, Encoder
from lab.ops.convolution import conv3x3


class PixelDecoder(FeaturePyramid):
    """The feature pyramid, with or without a transformer encoder on the coarsest map.

    With an encoder, its output replaces the coarsest map in the pyramid and for the queries.

    Args:
        in_channels: channels of the backbone's maps, finest first.
        channels: channels of the pyramid and the encoder.
        mask_dim: E.
        num_groups: groups of every group norm.
        encoder: the encoder of the coarsest map, or None.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, mask_dim: int, num_groups: int, encoder: Encoder | None
    ) -> None:
        top = None if encoder is None else channels
        super().__init__(in_channels, channels, mask_dim, num_groups, top)
        self.has_encoder = encoder is not None
        self.memory_channels = in_channels[-1] if encoder is None else channels
        if encoder is not None:
            self.input_proj = nn.Conv2d(in_channels[-1], channels, kernel_size=1)
            fill_convolution(self.input_proj)
            self.transformer = nn.ModuleDict({"encoder": encoder})
            self.position = SinePositionEncoding(channels)

    def top(self, x: Tensor) -> Tensor:
        """Return the replacement of the coarsest map (B, C, H, W)."""
        if not self.has_encoder:
            return x
        x = self.input_proj(x)
        height, width = x.shape[-2:]
        position = self.position(height, width, x.device).to(x.dtype)
        tokens: Tensor = self.transformer["encoder"](x.flatten(2).transpose(1, 2), position)
        return tokens.transpose(1, 2).unflatten(2, (height, width))


class TransformerPredictor(nn.Module):
    """DETR's decoder with a class and the code of a mask for each query.

    Args:
        in_channels: channels of the map that the queries attend to; projected if not D.
        num_classes: K.
        num_queries: Q.
        mask_dim: E.
        decoder: a decoder of width D.
        embed_dim: D.
    """

    def __init__(
        self, in_channels: int, num_classes: int, num_queries: int, mask_dim: int, decoder: Decoder, embed_dim: int
    ) -> None:
        super().__init__()
        self.position = SinePositionEncoding(embed_dim)
        self.transformer = nn.ModuleDict({"decoder": decoder})
        self.query_embed = nn.Embedding(num_queries, embed_dim)
        self.input_proj: nn.Module = nn.Sequential()
        if in_channels != embed_dim:
            self.input_proj = nn.Conv2d(in_channels, embed_dim, kernel_size=1)
            fill_convolution(self.input_proj)
        self.class_embed = nn.Linear(embed_dim, num_classes + 1)
        self.mask_embed = MLP(embed_dim, embed_dim, mask_dim, 3)

    def forward(self, x: Tensor, every_layer: bool) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) to class logits (L, B, Q, K + 1) and codes of masks (L, B, Q, E)."""
        x = self.input_proj(x)
        position = self.position(*x.shape[-2:], x.device).to(x.dtype)
        queries = self.query_embed.weight.expand(len(x), -1, -1)
        memory = x.flatten(2).transpose(1, 2)
        states: Tensor = self.transformer["decoder"](queries, memory, position, every_layer=every_layer)
        return self.class_embed(states), self.mask_embed(states)


def fold_masks(embed: Tensor, pixels: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Return (B, Q, h, w) ``mask_product(embed, convolution(pixels))`` with a convolution to Q channels instead of E.

    Both maps are linear, so the codes (B, Q, E) are multiplied into the kernel first. Cheaper if Q < E; equal up to
    rounding.
    """
    num_images, num_queries = embed.shape[:2]
    kernel = torch.einsum("bne,eikl->bnikl", embed, convolution.weight)
    assert convolution.bias is not None
    bias = embed @ convolution.bias
    masks = [conv3x3(pixels[i : i + 1], kernel[i], bias[i]) for i in range(num_images)]
    return torch.cat(masks) if num_images != 1 else masks[0].view(1, num_queries, *pixels.shape[-2:])
