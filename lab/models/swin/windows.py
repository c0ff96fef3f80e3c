"""Attention within windows: partition, cyclic shift, relative position bias (Swin Transformer, section 3.2).

Legend of shapes: B images, H and W tokens, C channels, w the window's side, N = w * w tokens in it, R and S rows and
columns of windows, h heads, d = C / h.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.errors import ConfigError
from lab.layers.linear import Linear

# Official networks add this, not minus infinity, where the shift has brought together what is no neighbour.
_FORBIDDEN = -100.0
_KEPT_MASKS = 4


def region_mask(height: int, width: int, window: int, shift: int, like: Tensor) -> Tensor:
    """Return what is added to the attention logits of shifted windows, (R * S, N, N): 0, or -100 between regions.

    After the cyclic shift, the last windows of a row and of a column hold tokens from opposite borders (figure 4).

    Args:
        height: H, a multiple of ``window``.
        width: W, a multiple of ``window``.
        window: w.
        shift: by how many tokens the map was shifted up and to the left.
        like: gives dtype and device.
    """

    def regions(length: int) -> Tensor:
        position = torch.arange(length, device=like.device)
        return (position >= length - window).long() + (position >= length - shift).long()

    region = 3 * regions(height)[:, None] + regions(width)
    tokens = region.view(height // window, window, width // window, window).transpose(1, 2).flatten(2).flatten(0, 1)
    return (tokens[:, :, None] != tokens[:, None]).to(like.dtype) * _FORBIDDEN


class RegionMasks:
    """The region masks of the last few sizes of maps; no part of a state dict."""

    def __init__(self) -> None:
        self._masks: dict[tuple[Any, ...], Tensor] = {}

    def __call__(self, height: int, width: int, window: int, shift: int, like: Tensor) -> Tensor:
        """Return ``region_mask(...)``, computed once for each size, dtype and device."""
        if torch.compiler.is_compiling() or type(like) is not Tensor:  # fake tensors must not outlive their mode
            return region_mask(height, width, window, shift, like)
        key = (height, width, window, shift, like.dtype, like.device)
        if key not in self._masks:
            while len(self._masks) >= _KEPT_MASKS:  # training at many scales must not pile them up
                del self._masks[next(iter(self._masks))]
            with torch.inference_mode(False):  # a mask made in inference must serve a training step too
                self._masks[key] = region_mask(height, width, window, shift, like)
        return self._masks[key]


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned bias for each relative position and head (equation 4).

    Args:
        dim: C.
        num_heads: h; divides C.
        window_size: w.

    Raises:
        ConfigError: ``num_heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ConfigError(f"width {dim} of a stage must be a multiple of its num_heads {num_heads}")
        self.num_heads = num_heads
        self.window_size = window_size
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, num_heads))
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict.pop(f"{prefix}relative_position_index", None)  # a constant that official files carry
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def relative_position_bias(self) -> Tensor:
        """Return the bias (h, N, N) of each query (row) and key.

        The entry of the table is that of query minus key. Counting keys backwards that is a sum, so windows that slide
        over the table are the bias: views and one copy, with a deterministic gradient, and no index to store.
        """
        side, window = 2 * self.window_size - 1, self.window_size
        table = self.relative_position_bias_table.view(side, side, self.num_heads)
        bias = table.unfold(0, window, 1).unfold(1, window, 1).flip(3, 4)
        return bias.permute(2, 0, 1, 3, 4).reshape(self.num_heads, window**2, window**2)

    def forward(self, x: Tensor, shift: int = 0, mask: Tensor | None = None) -> Tensor:
        """Attend within windows of the map.

        Args:
            x: (B, H, W, C); it is padded with zeros at the bottom and right to whole windows, and the padding takes
                part as keys and values.
            shift: by how many tokens windows are shifted.
            mask: (R * S, N, N) of the padded map, added to the logits; from ``region_mask`` where there is a shift.

        Returns:
            (B, H, W, C).
        """
        batch, height, width, channels = x.shape
        window, heads = self.window_size, self.num_heads
        x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window)) if height % window or width % window else x
        rows, columns = x.shape[1] // window, x.shape[2] // window
        if shift:
            x = x.roll((-shift, -shift), dims=(1, 2))
        qkv = self.qkv(x).view(batch, rows, window, columns, window, 3, heads, channels // heads)
        qkv = qkv.permute(5, 0, 1, 3, 6, 2, 4, 7)  # (3, B, R, S, h, w, w, d)
        bias = self.relative_position_bias()
        if mask is None:
            query, key, value = qkv.reshape(3, batch * rows * columns, heads, window**2, -1)
        else:  # windows stand beside heads, so that one mask serves the whole batch
            query, key, value = qkv.reshape(3, batch, rows * columns * heads, window**2, -1)
            bias = (bias + mask[:, None]).flatten(0, 1)
        mixed = attend(query, key, value, bias.to(query.dtype)[None])
        mixed = mixed.view(batch, rows, columns, heads, window, window, -1).permute(0, 1, 4, 2, 5, 3, 6)
        mixed = mixed.reshape(batch, rows * window, columns * window, channels)
        if shift:
            mixed = mixed.roll((shift, shift), dims=(1, 2))
        projected: Tensor = self.proj(mixed[:, :height, :width])
        return projected


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Scaled dot-product attention of (G, h, N, d) with a bias (1, h, N, N) added to the logits.

    On a CPU PyTorch has no fused kernel where the bias is learned, and its own fallback costs more than plain products.
    """
    if query.device.type != "cpu" or not bias.requires_grad:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    logits = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
    return logits.add_(bias).softmax(-1) @ value
