"""AFNO from fields to fields: FourCastNet (Pathak et al., 2022) and smaller networks of the same plan.

Patches of a field become tokens of a grid, learned position embeddings are added, blocks mix the tokens in Fourier
space (Guibas et al., "Adaptive Fourier Neural Operators", ICLR 2022), and a linear head turns each token into a patch
of the output. Parameter names are those of NVlabs/FourCastNet, which physicsnemo kept. Fields of any grid that the
patch divides are taken: the position embeddings are resampled.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from lab.checking import check_range
from lab.errors import CheckpointError, ConfigError
from lab.layers.dropout import dropout as drop
from lab.layers.linear import Linear
from lab.layers.norm import LayerNorm
from lab.layers.recompute import recomputed, recomputes
from lab.models.afno.blocks import EPSILON, AFNOBlock, FieldPatches, GridSize, as_pair, grid_of_patches, resample_places
from lab.models.afno.filters import AFNO2D
from lab.ranges import Divides, Dropout, Gt, Layers, Le, Len, NonNegative, OneOf, Pixels, Positive, Probability, Size

logger = logging.getLogger(__name__)


class AFNOTrunk(nn.Module):
    """Tokens, places and blocks, without a head.

    Attributes:
        closed_in_graphs: what an exported graph cannot leave open, each with the reason.
    """

    closed_in_graphs = dict.fromkeys(("height", "width"), "AFNO multiplies by Fourier matrices of the map's size")

    def __init__(
        self,
        image_size: Sequence[int],
        in_channels: int,
        patch_size: int | Sequence[int],
        embed_dim: int,
        num_layers: int,
        num_blocks: int,
        mlp_ratio: float,
        sparsity: float,
        keep_modes: float,
        mode_cut: str,
        double_skip: bool,
        dropout: float,
        drop_path_rate: float,
        hidden_factor: int,
        memory_efficient: bool,
    ) -> None:
        super().__init__()
        for name, count in (("num_layers", num_layers), ("in_channels", in_channels)):
            check_range(name, count, least=1)
        check_range("dropout", dropout, least=0, below=1)
        check_range("drop_path_rate", drop_path_rate, least=0, most=1)
        self.num_axes = len(image_size)
        self.in_channels = in_channels
        self.patch = as_pair(patch_size, self.num_axes)
        self.grid = grid_of_patches(as_pair(image_size, self.num_axes), self.patch, "image_size")
        self.dropout = dropout
        self.mlp_ratio = mlp_ratio
        self.memory_efficient = memory_efficient
        self.patch_embed = FieldPatches(in_channels, embed_dim, self.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], embed_dim))
        rates = [drop_path_rate * index / max(num_layers - 1, 1) for index in range(num_layers)]
        mixing = (num_blocks, sparsity, keep_modes, hidden_factor, mode_cut)
        self.blocks = nn.ModuleList(
            AFNOBlock(embed_dim, AFNO2D(embed_dim, *mixing), mlp_ratio, double_skip, dropout, rate) for rate in rates
        )

    def _init_weights(self) -> None:
        """Fill as published: linear layers and places with a deviation of 0.02."""
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def features(self, fields: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to the tokens behind the last block, (B, h, w, C)."""
        if fields.ndim != 4 or fields.shape[1] != self.in_channels or fields.numel() == 0:
            axes = "N" if self.num_axes == 1 else "H, W"
            shape = tuple(fields.shape) if self.num_axes == 2 else (*fields.shape[:2], *fields.shape[3:])
            raise ConfigError(f"fields of shape {shape}: expected (B, {self.in_channels}, {axes})")
        grid = grid_of_patches((fields.shape[2], fields.shape[3]), self.patch, "a field of")
        x = self.patch_embed(fields) + resample_places(self.pos_embed, self.grid, grid)
        x = drop(x, self.dropout, self.training)
        for block in self.blocks:
            x = recomputed(block, block, x) if self.memory_efficient and recomputes(x) else block(x)
        return x

    def adapt_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights with position embeddings of this network's grid, and with the unused norm or without it.

        Raises:
            CheckpointError: the position embeddings are of a grid of other proportions, not square either.
        """
        adapted = dict(state)
        places = adapted.get("pos_embed")
        if places is not None and places.ndim == 3 and places.shape[1] != self.pos_embed.shape[1]:
            grid = _grid_like(places.shape[1], self.grid)
            adapted["pos_embed"] = resample_places(places, grid, self.grid).flatten(1, 2)
            logger.info("position embeddings resampled from %dx%d to %dx%d patches", *grid, *self.grid)
        return adapted


class AFNO(AFNOTrunk):
    """An operator: (B, in_channels, H, W) to (B, out_channels, H, W), or (B, in_channels, N) for a series.

    Args:
        image_size: (H, W), or (N,) of a series: the grid that the position embeddings are made for.
        in_channels: channels of the input.
        out_channels: channels of the output.
        patch_size: side of a patch in points, or one for each axis; divides ``image_size``.
        embed_dim: C.
        num_layers: number of blocks.
        num_blocks: blocks of the complex matrices; divides ``embed_dim``.
        mlp_ratio: hidden width of the feed-forward nets over C.
        sparsity: what soft shrinkage subtracts (lambda).
        keep_modes: the share of the Fourier modes that are mixed.
        mode_cut: which modes these are: ``height`` as FourCastNet, ``tokens`` as AFNO-transformer, ``axes``: the low
            ones of each axis.
        double_skip: an identity around each part of a block, instead of one around both.
        dropout: probability, on the tokens and behind the linear layers of the feed-forward nets.
        drop_path_rate: probability of dropping the last block's feed-forward net; earlier ones have less, linearly.
        hidden_factor: hidden width of the complex nets over their own.
        unused_norm: the last norm that FourCastNet's weights have and no forward pass uses; it is not trained.
        memory_efficient: recompute the blocks in the backward pass.

    Raises:
        ConfigError: numbers that do not fit each other.
    """

    reads_colors = False

    def __init__(
        self,
        image_size: Annotated[Sequence[Pixels], Len(1, 2)] = (720, 1440),
        in_channels: Size = 20,
        out_channels: Size = 20,
        patch_size: Pixels | Annotated[Sequence[Pixels], Len(1, 2)] = 8,
        embed_dim: Size = 768,
        num_layers: Layers = 12,
        num_blocks: Annotated[Size, Divides("embed_dim")] = 8,
        mlp_ratio: Annotated[float, Gt(0), Le(100)] = 4.0,
        sparsity: NonNegative = 0.01,
        keep_modes: Annotated[float, Gt(0), Le(1)] = 1.0,
        mode_cut: Annotated[str, OneOf("height", "tokens", "axes")] = "height",
        double_skip: bool = True,
        dropout: Dropout = 0.0,
        drop_path_rate: Probability = 0.0,
        hidden_factor: Positive = 1,
        unused_norm: bool = False,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__(
            image_size,
            in_channels,
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
        check_range("out_channels", out_channels, least=1)
        self.out_channels = out_channels
        if unused_norm:
            self.norm = LayerNorm(embed_dim, eps=EPSILON).requires_grad_(False)
        self.head = Linear(embed_dim, out_channels * self.patch[0] * self.patch[1], bias=False)
        self._init_weights()

    def forward(self, fields: Tensor) -> Tensor:
        """Return (B, out_channels, H, W), or (B, out_channels, N) for a series."""
        x = self.head(self.features(fields if self.num_axes == 2 else fields.unsqueeze(2)))
        x = x.unflatten(3, (*self.patch, -1)).permute(0, 5, 1, 3, 2, 4)  # the channel changes fastest in the head
        x = x.flatten(4, 5).flatten(2, 3)
        return x if self.num_axes == 2 else x.squeeze(2)

    def adapt_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights with position embeddings of this network's grid, and with the unused norm or without it.

        Raises:
            CheckpointError: the position embeddings are of a grid of other proportions, not square either.
        """
        adapted = super().adapt_weights(state)
        own = {key: value for key, value in self.state_dict().items() if key.startswith("norm.")}
        for key in ("norm.weight", "norm.bias"):
            if key in own:
                adapted.setdefault(key, own[key])
            elif adapted.pop(key, None) is not None:
                logger.info("%s, which no forward pass uses, is left out", key)
        return adapted


def _grid_like(count: int, grid: GridSize) -> GridSize:
    """Return the grid of so many patches with the proportions of another one, or else the square one."""
    height = round((count * grid[0] / grid[1]) ** 0.5)
    for rows in (height, round(count**0.5)):
        if rows and count % rows == 0 and (rows * grid[1] == count // rows * grid[0] or rows * rows == count):
            return rows, count // rows
    raise CheckpointError(
        f"pos_embed of {count} patches is of no square grid, and of none with the proportions of {grid[0]}x{grid[1]}"
    )
