"""Vision Transformer: "An Image is Worth 16x16 Words" (Dosovitskiy et al., ICLR 2021).

Patches become tokens, a class token is put before them, learned position embeddings are added, and a plain transformer
encoder with norms before its branches follows. Parameter names are timm's, layer norms have its epsilon (the authors'
own, 1e-6). Images of any size are taken: they are padded to whole patches and the position embeddings resampled.
As a backbone (``features_only``) the last map becomes a simple pyramid: Li et al., "Exploring Plain Vision Transformer
Backbones for Object Detection", ECCV 2022, section 3, up to the convolutions that bring its maps to one width.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lab.checking import check_choice, check_multiple, check_range, check_some
from lab.errors import CheckpointError, ConfigError
from lab.layers.dropout import dropout as drop
from lab.layers.norm import LayerNorm
from lab.layers.patches import PatchProjection, pad_to_patches
from lab.models.vit.blocks import EPSILON, ViTBlock, grid_of, resample_places

logger = logging.getLogger(__name__)
POOLS = ("token", "avg")
INITS = ("timm", "jax")


class ViTPatchEmbed(nn.Module):
    """Patches to tokens."""

    def __init__(self, in_chans: int, embed_dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = PatchProjection(in_chans, embed_dim, patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, in_chans, H, W), whole patches, to (B, H / patch_size, W / patch_size, C)."""
        tokens: Tensor = self.proj(images)
        return tokens


def _fill_as_authors(name: str, layer: nn.Linear) -> None:
    """Fill a linear layer as google-research/vision_transformer: uniform by fan-in and fan-out, the head with zeros."""
    if name == "head":
        nn.init.zeros_(layer.weight)
    else:  # queries, keys and values are three layers there
        for part in layer.weight.detach().chunk(3) if name.endswith("qkv") else [layer.weight]:
            nn.init.xavier_uniform_(part)
    if ".mlp." in name:
        nn.init.normal_(layer.bias, std=1e-6)
    else:
        nn.init.zeros_(layer.bias)


class _ViTTrunk(nn.Module):
    """Tokens, places and blocks, without the last norm and a head."""

    def __init__(
        self,
        embed_dim: int,
        depth: int,
        num_heads: int,
        patch_size: int,
        img_size: int,
        in_chans: int,
        mlp_ratio: float,
        dropout: float,
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        check_multiple("embed_dim", embed_dim, num_heads, "num_heads")
        check_multiple("img_size", img_size, patch_size, "patch_size")
        check_range("depth", depth, least=1)
        check_range("in_chans", in_chans, least=1)
        check_range("dropout", dropout, least=0, below=1)
        check_range("drop_path_rate", drop_path_rate, least=0, most=1)
        self.patch_size = patch_size
        self.dropout = dropout
        self.patch_embed = ViTPatchEmbed(in_chans, embed_dim, patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (img_size // patch_size) ** 2, embed_dim))
        rates = [drop_path_rate * index / max(depth - 1, 1) for index in range(depth)]
        self.blocks = nn.ModuleList(ViTBlock(embed_dim, num_heads, mlp_ratio, dropout, rate) for rate in rates)

    def _init_weights(self, how: str) -> None:
        """Fill as timm does (truncated at 100 standard deviations: a normal distribution), or as the authors' code."""
        check_choice("weight_init", how, INITS)
        nn.init.normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                if how == "jax":
                    _fill_as_authors(name, module)
                else:
                    nn.init.normal_(module.weight, std=0.02)
                    nn.init.zeros_(module.bias)
        if how == "jax":
            nn.init.zeros_(self.cls_token)
            patches = self.patch_embed.proj
            deviation = patches.weight[0].numel() ** -0.5 / 0.87962566  # of a normal distribution cut at 2 is 0.8796
            nn.init.trunc_normal_(patches.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
            assert patches.bias is not None
            nn.init.zeros_(patches.bias)

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Map (B, in_chans, H, W) to the tokens (B, 1 + h * w, C), the class token first, and (h, w)."""
        in_chans = self.patch_embed.proj.in_channels
        if images.ndim != 4 or images.shape[1] != in_chans or images.numel() == 0:
            raise ConfigError(f"images of shape {tuple(images.shape)}: expected (B, {in_chans}, H, W)")
        patches = self.patch_embed(pad_to_patches(images, self.patch_size))
        size = (patches.shape[1], patches.shape[2])
        tokens = torch.cat((self.cls_token.expand(images.shape[0], -1, -1), patches.flatten(1, 2)), dim=1)
        return drop(tokens + resample_places(self.pos_embed, size), self.dropout, self.training), size

    def adapt_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return pretrained weights with position embeddings of this network's image size.

        Raises:
            CheckpointError: they are of no square map with a class token.
        """
        adapted = dict(state)
        places = adapted.get("pos_embed")
        if places is None or places.shape == self.pos_embed.shape or places.shape[-1] != self.pos_embed.shape[-1]:
            return adapted
        side, own = grid_of(places) if places.ndim == 3 else 0, grid_of(self.pos_embed)
        if places.ndim != 3 or places.shape[:2] != (1, 1 + side * side):
            raise CheckpointError(f"pos_embed {tuple(places.shape)} is of no square map with a class token before it")
        adapted["pos_embed"] = resample_places(places, (own, own))
        logger.info("position embeddings resampled from %dx%d to %dx%d patches", side, side, own, own)
        return adapted


class VisionTransformer(_ViTTrunk):
    """A classifier: (B, in_chans, H, W) normalised images to (B, num_classes) logits, or features without a head.

    Args:
        embed_dim: C.
        depth: number of blocks.
        num_heads: attention heads; divides ``embed_dim``.
        patch_size: side of a patch in pixels.
        img_size: side of the images that the position embeddings are made for; divided by ``patch_size``.
        num_classes: K; 0 for no head.
        in_chans: channels of the images.
        global_pool: ``token``: the head sees the normalised class token; ``avg``: the norm of the mean of the others.
        mlp_ratio: hidden width of the feed-forward nets over their own.
        dropout: probability, on the tokens and behind every linear layer of a block but ``qkv``.
        drop_path_rate: probability of dropping a branch of the last block; earlier ones have less, linearly.
        weight_init: ``timm``: linear layers with a deviation of 0.02; ``jax``: as the authors' code, by their sizes.

    Raises:
        ConfigError: numbers that do not fit each other.
    """

    def __init__(
        self,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        patch_size: int = 16,
        img_size: int = 224,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "token",
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
        weight_init: str = "timm",
    ) -> None:
        super().__init__(
            embed_dim, depth, num_heads, patch_size, img_size, in_chans, mlp_ratio, dropout, drop_path_rate
        )
        check_choice("global_pool", global_pool, POOLS)
        self.global_pool = global_pool
        self.num_features = embed_dim
        # Named as in timm: the norm of all tokens, or of their mean.
        self.add_module("norm" if global_pool == "token" else "fc_norm", LayerNorm(embed_dim, eps=EPSILON))
        self.head = nn.Linear(embed_dim, num_classes) if num_classes > 0 else nn.Identity()
        self._init_weights(weight_init)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes)."""
        x, _ = self.embed(images)
        for block in self.blocks[:-1]:
            x = block(x)
        last = self.blocks[-1]
        assert isinstance(last, ViTBlock)
        if self.global_pool == "token" and not (torch.is_grad_enabled() or self.training or last.is_watched()):
            x = last.of_the_first(x)  # the others' outputs would not be looked at
        else:
            x = last(x)
        if self.global_pool == "token":
            features: Tensor = self.get_submodule("norm")(x[:, 0])
        else:
            features = self.get_submodule("fc_norm")(x[:, 1:].mean(dim=1))
        logits: Tensor = self.head(features)
        return logits

    def adapt_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return pretrained weights as in the base class; the norm of a class token becomes that of the mean.

        Raises:
            CheckpointError: the embeddings are of no square map with a class token.
        """
        adapted = super().adapt_weights(state)
        if self.global_pool == "avg" and "norm.weight" in adapted and "fc_norm.weight" not in adapted:
            logger.warning("these weights are of a class token: their norm becomes that of the mean of the others")
            for name in ("weight", "bias"):
                adapted[f"fc_norm.{name}"] = adapted.pop(f"norm.{name}")
        return adapted


class ViTFeatures(_ViTTrunk):
    """A backbone: (B, in_chans, H, W) normalised images to the maps of ``out_indices``, all of the last block's.

    A classifier's weights have no pyramid: it stays as it is.

    Args:
        embed_dim: C.
        depth: number of blocks.
        num_heads: attention heads; divides ``embed_dim``.
        patch_size: side of a patch in pixels.
        img_size: side of the images that the position embeddings are made for; divided by ``patch_size``.
        out_indices: which maps: 1 to 4 have a quarter, a half, once and twice the patch's side as stride.
        in_chans: channels of the images.
        mlp_ratio: hidden width of the feed-forward nets over their own.
        dropout: probability, on the tokens and behind every linear layer of a block but ``qkv``.
        drop_path_rate: probability of dropping a branch of the last block; earlier ones have less, linearly.
        weight_init: ``timm``: linear layers with a deviation of 0.02; ``jax``: as the authors' code, by their sizes.

    Attributes:
        num_channels: channels of each returned map.
        strides: stride of each returned map with respect to the image.

    Raises:
        ConfigError: numbers that do not fit each other, or an unknown index.
    """

    def __init__(
        self,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        patch_size: int = 16,
        img_size: int = 224,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        in_chans: int = 3,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
        weight_init: str = "timm",
    ) -> None:
        super().__init__(
            embed_dim, depth, num_heads, patch_size, img_size, in_chans, mlp_ratio, dropout, drop_path_rate
        )
        check_some("out_indices", out_indices, range(1, 5), "maps of the pyramid")
        check_multiple("patch_size", patch_size, 4)
        check_multiple("embed_dim", embed_dim, 4)
        self.out_indices = tuple(out_indices)
        channels = (embed_dim // 4, embed_dim // 2, embed_dim, embed_dim)
        self.num_channels = tuple(channels[index - 1] for index in out_indices)
        self.strides = tuple(patch_size * 2**index // 8 for index in out_indices)
        self.norm = LayerNorm(embed_dim, eps=EPSILON)
        self.pyramid = nn.ModuleDict({str(index): _level(embed_dim, index) for index in sorted(set(out_indices))})
        self._init_weights(weight_init)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of ``out_indices``, each (B, C, H / stride, W / stride), rounded up."""
        x, size = self.embed(images)
        for block in self.blocks:
            x = block(x)
        last = self.norm(x[:, 1:]).transpose(1, 2).unflatten(2, size)
        maps = []
        for index, stride in zip(self.out_indices, self.strides, strict=True):
            level = self.pyramid[str(index)](last)
            maps.append(level[..., : -(-images.shape[2] // stride), : -(-images.shape[3] // stride)])
        return maps

    def adapt_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return pretrained weights with position embeddings of this network's size, and a pyramid if they have none.

        Raises:
            CheckpointError: the embeddings are of no square map with a class token.
        """
        adapted = super().adapt_weights(state)
        own = {f"pyramid.{key}": value for key, value in self.pyramid.state_dict().items()}
        if own and not own.keys() & adapted.keys():
            logger.warning("the pyramid has no weights in this file and stays as it is, to be trained")
            adapted.update(own)
        return adapted


def _level(dim: int, index: int) -> nn.Module:
    """Return what makes a map of the pyramid from the last one: transposed convolutions, nothing, or pooling."""
    if index == 1:
        return nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 2, 2, stride=2),
            _ChannelNorm(dim // 2, eps=EPSILON),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 2, dim // 4, 2, stride=2),
        )
    if index == 2:
        return nn.ConvTranspose2d(dim, dim // 2, 2, stride=2)
    return nn.Identity() if index == 3 else nn.MaxPool2d(2, ceil_mode=True)


class _ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
