"""Attention within windows: partition, cyclic shift, relative position bias (Swin Transformer, section 3.2).

Legend of shapes: B images, H and W tokens, C channels, w the window's side, N = w * w tokens in it, G windows of an
image, h heads, d = C / h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.checking import check_multiple
from lab.layers.linear import Linear

# Official networks add this, not minus infinity, between tokens that are adjacent only because of the shift.
_FORBIDDEN = -100.0
_KEPT_SIZES = 8


@dataclass(frozen=True)
class Partition:
    """The places of a map's tokens in its windows; the map is padded at the bottom and right to whole windows.

    Attributes:
        tokens: (G * N,) int64: the token (row after row) at each place of each window; 0 where there is padding.
        places: (H * W,) int64: the place of each token.
        padding: (P,) int64: the places of padding.
        mask: (G, N, N), added to the attention logits of shifted windows; None without a shift.
    """

    tokens: Tensor
    places: Tensor
    padding: Tensor
    mask: Tensor | None


def make_partition(height: int, width: int, window: int, shift: int, like: Tensor) -> Partition:
    """Cut a map into windows.

    Args:
        height: H.
        width: W.
        window: w.
        shift: the number of tokens by which the map is shifted up and to the left before it is cut.
        like: a tensor with the wanted device, and the mask's dtype.
    """
    down, right = -height % window, -width % window
    rows, columns = (height + down) // window, (width + right) // window
    numbers = torch.arange(1, height * width + 1, device=like.device).view(height, width)
    shifted = F.pad(numbers, (0, right, 0, down)).roll((-shift, -shift), dims=(0, 1))
    tokens = shifted.view(rows, window, columns, window).transpose(1, 2).flatten() - 1
    places = torch.arange(-len(tokens), 0, device=like.device)
    order = torch.where(tokens < 0, places, tokens).argsort()  # padding comes first, in its order
    num_padded = len(tokens) - height * width
    mask = region_mask(height + down, width + right, window, shift, like) if shift else None
    return Partition(tokens.clamp(min=0), order[num_padded:], order[:num_padded], mask)


def region_mask(height: int, width: int, window: int, shift: int, like: Tensor) -> Tensor:
    """Return the mask that is added to the attention logits of shifted windows, (G, N, N): 0, or -100 between regions.

    After the cyclic shift, the last windows of a row and of a column hold tokens from opposite borders (figure 4).

    Args:
        height: H, a multiple of ``window``.
        width: W, a multiple of ``window``.
        window: w.
        shift: the number of tokens by which the map was shifted up and to the left.
        like: a tensor with the wanted dtype and device.
    """

    def regions(length: int) -> Tensor:
        position = torch.arange(length, device=like.device)
        return (position >= length - window).long() + (position >= length - shift).long()

    region = 3 * regions(height)[:, None] + regions(width)
    tokens = region.view(height // window, window, width // window, window).transpose(1, 2).flatten(2).flatten(0, 1)
    return (tokens[:, :, None] != tokens[:, None]).to(like.dtype) * _FORBIDDEN


class Partitions:
    """A cache of the partitions of the last few map sizes; not part of a state dict."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], Partition] = {}

    def __call__(self, height: int, width: int, window: int, shift: int, like: Tensor) -> Partition:
        """Return ``make_partition(...)``, computed once for each size, shift, dtype and device."""
        if torch.compiler.is_compiling() or type(like) is not Tensor:  # fake tensors must not outlive their mode
            return make_partition(height, width, window, shift, like)
        key = (height, width, window, shift, like.dtype, like.device)
        if key not in self._kept:
            while len(self._kept) >= _KEPT_SIZES:  # bounded, since training may use many scales
                del self._kept[next(iter(self._kept))]
            with torch.inference_mode(False):  # made in inference, it must also work in a training step
                self._kept[key] = make_partition(height, width, window, shift, like)
        return self._kept[key]


class _ToWindows(torch.autograd.Function):
    """Move tokens (B, H * W, K) to their places (B, G * N, K), with ``fill`` (K,) as padding; one copy in each pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, fill: Tensor, tokens: Tensor, places: Tensor, padding: Tensor) -> Tensor:
        ctx.save_for_backward(places, padding)
        out = x.index_select(1, tokens)
        if padding.numel():
            out[:, padding] = fill.to(out.dtype)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        places, padding = ctx.saved_tensors
        return grad.index_select(1, places), grad.index_select(1, padding).sum((0, 1)), None, None, None


class _FromWindows(torch.autograd.Function):
    """Move places (B, G * N, K) back to tokens (B, H * W, K); padding is dropped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tokens: Tensor, places: Tensor, padding: Tensor) -> Tensor:
        ctx.save_for_backward(tokens, padding)
        return x.index_select(1, places)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        tokens, padding = ctx.saved_tensors
        return grad.index_select(1, tokens).index_fill_(1, padding, 0.0), None, None, None


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
        check_multiple("width of a stage", dim, num_heads, "its num_heads")
        self.num_heads = num_heads
        self.window_size = window_size
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, num_heads))
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.register_load_state_dict_pre_hook(_without_index)

    def relative_position_bias(self) -> Tensor:
        """Return the bias (h, N, N) of each query (row) and key.

        The index into the table is query minus key. With keys counted backwards this is a sum, so the bias consists of
        sliding windows over the table: views and one copy, with a deterministic gradient and without a stored index.
        """
        side, window = 2 * self.window_size - 1, self.window_size
        table = self.relative_position_bias_table.view(side, side, self.num_heads)
        bias = table.unfold(0, window, 1).unfold(1, window, 1).flip(3, 4)
        return bias.permute(2, 0, 1, 3, 4).reshape(self.num_heads, window**2, window**2)

    def forward(self, x: Tensor, partition: Partition) -> Tensor:
        """Attend within windows of the map (B, H, W, C).

        Padding takes part as keys and values, as in the official code: zero tokens, whose projection is the bias.
        """
        batch, _, _, channels = x.shape
        where = (partition.tokens, partition.places, partition.padding)
        qkv: Tensor = _ToWindows.apply(self.qkv(x).flatten(1, 2), self.qkv.bias, *where)
        qkv = qkv.view(batch, -1, self.window_size**2, 3, self.num_heads, channels // self.num_heads)
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5)  # (B, G, h, N, d) each
        bias = self.relative_position_bias().to(query.dtype)
        if partition.mask is not None:
            bias = bias + partition.mask[:, None].to(bias.dtype)
        mixed = attend(query, key, value, bias)
        mixed = _FromWindows.apply(mixed.transpose(2, 3).reshape(batch, -1, channels), *where)
        projected: Tensor = self.proj(mixed.view(x.shape))
        return projected


def _without_index(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    state_dict.pop(f"{prefix}relative_position_index", None)  # a constant in official files


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Scaled dot-product attention of (B, G, h, N, d), with a bias (h, N, N) or (G, h, N, N) added to the logits.

    On CPUs PyTorch has no fused kernel for a learned bias, and its fallback is slower than plain products.
    """
    if query.device.type == "cpu" and bias.requires_grad:
        logits = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
        return logits.add_(bias).softmax(-1) @ value
    # A graph that is compiled or exported shall not depend on the number of images.
    if bias.ndim == 3 or (not torch.compiler.is_compiling() and query.shape[0] == 1):
        q, k, v = (part.flatten(0, 1) for part in (query, key, value))  # views
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None] if bias.ndim == 3 else bias)
        return mixed.unflatten(0, query.shape[:2])
    q, k, v = (part.flatten(1, 2) for part in (query, key, value))  # so that one mask serves the whole batch
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.flatten(0, 1)[None]).unflatten(1, query.shape[1:3])
