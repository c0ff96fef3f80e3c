"""Encodings of 2D positions: sine and learned encodings of feature maps, sine codes of points and boxes.

Carion et al., "End-to-End Object Detection with Transformers", 2020, appendix A.4, and Parmar et al., "Image
Transformer", 2018. All computations are in float32, whatever the features' precision.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lab.ops.precision import full_precision

CACHE_SIZE = 16  # the number of feature map sizes whose encoding is cached


def sine_frequencies(num_features: int, temperature: float, device: torch.device) -> Tensor:
    """Return the divisors (num_features,): sine and cosine of one frequency are neighbours."""
    pair = torch.arange(num_features, dtype=torch.float32, device=device) // 2
    return temperature ** (2 * pair / num_features)


def sine_code(coordinate: Tensor, divisors: Tensor) -> Tensor:
    """Encode coordinates (...), in radians at the lowest frequency, as (..., F): sin, cos, sin, cos, ..."""
    angle = coordinate[..., None] / divisors
    return torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), dim=-1).flatten(-2)


def encode_boxes(boxes: Tensor, num_features: int, temperature: float = 10000.0) -> Tensor:
    """Encode points or boxes with sines: Liu et al., "DAB-DETR", ICLR 2022, equation 7.

    Args:
        boxes: (..., 2) x, y or (..., 4) cx, cy, w, h, all in 0..1.
        num_features: features for each coordinate.
        temperature: ratio of the slowest to the fastest period, nearly.

    Returns:
        (..., 2 or 4 times ``num_features``) float32 in the order y, x (, w, h).
    """
    divisors = sine_frequencies(num_features, temperature, boxes.device)
    code = sine_code(full_precision(boxes) * (2 * math.pi), divisors)
    order = (1, 0, 2, 3)[: boxes.shape[-1]]
    return torch.cat([code[..., index, :] for index in order], dim=-1)


class SinePositionEncoding(nn.Module):
    """Fixed sine encoding of a feature map, coordinates normalised by each image's unpadded size.

    Args:
        embed_dim: features of the encoding: the first half codes y, the second x.
        temperature: ratio of the slowest to the fastest period, nearly.
    """

    def __init__(self, embed_dim: int, temperature: float = 10000.0) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.temperature = temperature
        self._cache: dict[tuple[int, int, torch.device], Tensor] = {}

    def forward(self, height: int, width: int, device: torch.device, padding_mask: Tensor | None = None) -> Tensor:
        """Encode a feature map.

        Args:
            height: rows of the feature map.
            width: columns of the feature map.
            device: the device of the encoding.
            padding_mask: (B, height, width) bool, True where padded; None when nothing is padded.

        Returns:
            (B, height * width, embed_dim) float32; (1, ...), from a cache, when nothing is padded.
        """
        if padding_mask is not None:
            return self.encode(~padding_mask)
        if torch.compiler.is_compiling():  # sizes may be symbols
            return self.encode(torch.ones(1, height, width, dtype=torch.bool, device=device))
        key = (height, width, device)
        if key not in self._cache:
            if len(self._cache) >= CACHE_SIZE:
                del self._cache[next(iter(self._cache))]
            # An encoding made under inference_mode could not be used in training afterwards.
            with torch.inference_mode(False), torch.no_grad():
                self._cache[key] = self.encode(torch.ones(1, height, width, dtype=torch.bool, device=device))
        return self._cache[key]

    def encode(self, inside: Tensor) -> Tensor:
        """Encode the positions of ``inside`` (B, H, W) bool, True inside of the image."""
        y = inside.cumsum(1, dtype=torch.float32)
        x = inside.cumsum(2, dtype=torch.float32)
        y = y / (y[:, -1:] + 1e-6) * (2 * math.pi)
        x = x / (x[:, :, -1:] + 1e-6) * (2 * math.pi)
        divisors = sine_frequencies(self.embed_dim // 2, self.temperature, inside.device)
        return torch.cat((sine_code(y, divisors), sine_code(x, divisors)), dim=-1).flatten(1, 2)


class LearnedPositionEncoding(nn.Module):
    """Learned embeddings of the column (first half) and the row (second half) of a feature map.

    Args:
        embed_dim: features of the encoding.
        size: the largest height and width, in cells.
    """

    def __init__(self, embed_dim: int, size: int = 50) -> None:
        super().__init__()
        self.row_embed = nn.Embedding(size, embed_dim // 2)
        self.col_embed = nn.Embedding(size, embed_dim // 2)
        nn.init.uniform_(self.row_embed.weight)
        nn.init.uniform_(self.col_embed.weight)

    def forward(self, height: int, width: int, device: torch.device, padding_mask: Tensor | None = None) -> Tensor:
        """Encode a feature map; padding makes no difference. Returns (1, height * width, embed_dim)."""
        columns = self.col_embed.weight[:width].expand(height, -1, -1)
        rows = self.row_embed.weight[:height, None].expand(-1, width, -1)
        return torch.cat((columns, rows), dim=-1).flatten(0, 1)[None]
