"""Swin Transformer: "Hierarchical Vision Transformer using Shifted Windows" (Liu et al., ICCV 2021).

Four stages of transformer blocks with attention within windows; every second block shifts the windows by half their
size (section 3.2). Patches are 4x4; each further stage halves the map and doubles the width. Parameter names are the
official ones. The backbone (``features_only``) follows the authors' detection and segmentation code: a norm for each
returned map, maps of any size. Their classifier differs in one point, and so does ours: it does not shift windows if
the map is no larger than one window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lab.checking import check_range, check_some
from lab.errors import ConfigError
from lab.models.swin.blocks import PATCH, PatchEmbed, SwinStage
from lab.models.swin.windows import WindowAttention


class _SwinTrunk(nn.Module):
    """Patch embedding and stages, without norms and head.

    Attributes:
        closed_in_graphs: what an exported graph cannot leave open, each with the reason.
    """

    closed_in_graphs = dict.fromkeys(("height", "width"), "Swin places and masks its windows by the size of the images")

    def __init__(
        self,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_size: int,
        mlp_ratio: float,
        drop_path_rate: float,
        num_stages: int,
        shift_small: bool,
        in_chans: int,
    ) -> None:
        super().__init__()
        if len(depths) != len(num_heads) or not depths or min(*depths, 1) < 1:
            raise ConfigError(
                f"depths={tuple(depths)} and num_heads={tuple(num_heads)}: expected one positive number for each stage"
            )
        check_range("window_size", window_size, least=1)
        check_range("drop_path_rate", drop_path_rate, least=0, most=1)
        check_range("in_chans", in_chans, least=1)
        rates = [drop_path_rate * index / max(sum(depths) - 1, 1) for index in range(sum(depths))]
        self.patch_embed = PatchEmbed(embed_dim, in_chans)
        self.layers = nn.ModuleList()
        for stage, depth in enumerate(depths[:num_stages]):
            first, last = sum(depths[:stage]), stage == num_stages - 1
            dim, own_rates = embed_dim * 2**stage, rates[first : first + depth]
            self.layers.append(
                SwinStage(dim, num_heads[stage], window_size, mlp_ratio, own_rates, not last, shift_small)
            )
        self.stage_channels = tuple(embed_dim * 2**stage for stage in range(num_stages))

    def _init_weights(self) -> None:
        # The authors truncate at 2.0, which is a hundred standard deviations: in effect a normal distribution.
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            if isinstance(module, WindowAttention):
                nn.init.normal_(module.relative_position_bias_table, std=0.02)

    def forward_stages(self, images: Tensor) -> list[Tensor]:
        """Map (B, in_chans, H, W) to the maps of the stages, (B, H / stride, W / stride, C) before they are merged."""
        in_chans = self.patch_embed.proj.in_channels
        if images.ndim != 4 or images.shape[1] != in_chans or images.numel() == 0:
            raise ConfigError(f"images of shape {tuple(images.shape)}: expected (B, {in_chans}, H, W)")
        x = self.patch_embed(images)
        maps = []
        for stage in self.layers:
            x = stage(x)
            maps.append(x)
            if len(maps) < len(self.layers):
                x = stage.get_submodule("downsample")(x)
        return maps


class SwinTransformer(_SwinTrunk):
    """A classifier: (B, in_chans, H, W) normalised images to (B, num_classes) logits, or (B, C) features with no head.

    Args:
        embed_dim: channels of the first stage.
        depths: blocks of each stage.
        num_heads: attention heads of each stage.
        window_size: side of a window in tokens.
        num_classes: K; 0 for no head.
        mlp_ratio: hidden width of the feed-forward nets over their own.
        drop_path_rate: probability of dropping a branch of the last block; earlier ones have less, linearly.
        in_chans: channels of the images.

    Raises:
        ConfigError: numbers that do not fit each other.
    """

    def __init__(
        self,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        num_classes: int = 1000,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
        in_chans: int = 3,
    ) -> None:
        stages = len(depths)
        super().__init__(embed_dim, depths, num_heads, window_size, mlp_ratio, drop_path_rate, stages, False, in_chans)
        self.num_features = self.stage_channels[-1]
        self.norm = nn.LayerNorm(self.num_features)
        self.head = nn.Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity()
        self._init_weights()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes)."""
        logits: Tensor = self.head(self.norm(self.forward_stages(images)[-1]).mean(dim=(1, 2)))
        return logits


class SwinFeatures(_SwinTrunk):
    """A backbone: (B, in_chans, H, W) normalised images to the maps of ``out_indices``; later stages are not built.

    The norm of stage i is the official ``norm<i - 1>``. A classifier's weights have none; the norms then keep theirs.

    Args:
        embed_dim: channels of the first stage.
        depths: blocks of each stage.
        num_heads: attention heads of each stage.
        window_size: side of a window in tokens.
        out_indices: which stages' maps, counted from 1 (stride 4) as in every backbone here; there is no stem's map.
        mlp_ratio: hidden width of the feed-forward nets over their own.
        drop_path_rate: probability of dropping a branch of the last block; earlier ones have less, linearly.
        in_chans: channels of the images.

    Attributes:
        num_channels: channels of each returned map.
        strides: stride of each returned map with respect to the image.

    Raises:
        ConfigError: numbers that do not fit each other, or an unknown index.
    """

    def __init__(
        self,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
        in_chans: int = 3,
    ) -> None:
        known = range(1, len(depths) + 1)
        check_some("out_indices", out_indices, known, "stages")
        last = max(out_indices)
        super().__init__(embed_dim, depths, num_heads, window_size, mlp_ratio, drop_path_rate, last, True, in_chans)
        self.out_indices = tuple(out_indices)
        self.num_channels = tuple(self.stage_channels[index - 1] for index in out_indices)
        self.strides = tuple(PATCH * 2 ** (index - 1) for index in out_indices)
        for index in sorted(set(out_indices)):
            self.add_module(f"norm{index - 1}", nn.LayerNorm(self.stage_channels[index - 1]))
        self._init_weights()
        self.register_load_state_dict_pre_hook(_with_norms)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of ``out_indices``, each (B, C, H / stride, W / stride), channels last in memory."""
        maps = self.forward_stages(images)
        return [self.get_submodule(f"norm{i - 1}")(maps[i - 1]).permute(0, 3, 1, 2) for i in self.out_indices]


def _with_norms(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Keep the norms of the maps unchanged when a classifier's file, which has no such norms, is loaded."""
    assert isinstance(module, SwinFeatures)
    if f"{prefix}norm.weight" in state_dict:
        for index in module.out_indices:
            for key, value in module.get_submodule(f"norm{index - 1}").state_dict().items():
                state_dict.setdefault(f"{prefix}norm{index - 1}.{key}", value)
