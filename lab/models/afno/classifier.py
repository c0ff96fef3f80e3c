"""AFNO as a classifier of images, as in NVlabs/AFNO-transformer (Guibas et al., ICLR 2022, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor, nn

from lab.layers.linear import Linear
from lab.layers.norm import LayerNorm
from lab.models.afno.blocks import EPSILON
from lab.models.afno.network import AFNOTrunk
from lab.ranges import (
    Count,
    Divides,
    Dropout,
    Gt,
    Layers,
    Le,
    Len,
    NonNegative,
    OneOf,
    Pixels,
    Positive,
    Probability,
    Size,
)


class AFNOClassifier(AFNOTrunk):
    """A classifier: (B, in_chans, H, W) normalised images to (B, num_classes) logits; the head sees the mean token.

    Arguments that are not named here are those of ``AFNO``.

    Args:
        img_size: side of the images that the position embeddings are made for, or (H, W); divided by ``patch_size``.
        num_classes: K; 0 for no head.
        in_chans: channels of the images.

    Raises:
        ConfigError: numbers that do not fit each other.
    """

    def __init__(
        self,
        img_size: Pixels | Annotated[Sequence[Pixels], Len(2, 2)] = 224,
        num_classes: Count = 1000,
        in_chans: Size = 3,
        patch_size: Pixels | Annotated[Sequence[Pixels], Len(2, 2)] = 4,
        embed_dim: Size = 384,
        num_layers: Layers = 12,
        num_blocks: Annotated[Size, Divides("embed_dim")] = 8,
        mlp_ratio: Annotated[float, Gt(0), Le(100)] = 4.0,
        sparsity: NonNegative = 0.01,
        keep_modes: Annotated[float, Gt(0), Le(1)] = 1.0,
        mode_cut: Annotated[str, OneOf("height", "tokens", "axes")] = "tokens",
        double_skip: bool = False,
        dropout: Dropout = 0.0,
        drop_path_rate: Probability = 0.0,
        hidden_factor: Positive = 1,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__(
            (img_size, img_size) if isinstance(img_size, int) else img_size,
            in_chans,
            patch_size,
            embed_dim,
            num_layers,
            num_blocks,
            mlp_ratio,
            sparsity,
            keep_modes,
            mode_cut,
            double_skip,
            dropout,
            drop_path_rate,
            hidden_factor,
            memory_efficient,
        )
        self.num_features = embed_dim
        self.norm = LayerNorm(embed_dim, eps=EPSILON)
        self.head = Linear(embed_dim, num_classes) if num_classes > 0 else nn.Identity()
        self._init_weights()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes), or features (B, C) without a head."""
        logits: Tensor = self.head(self.norm(self.features(images)).mean(dim=(1, 2)))
        return logits
