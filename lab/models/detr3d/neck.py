"""A feature pyramid of one width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor, nn
from torch.nn import functional as F

from lab.ranges import MinLen, Size


class _Conv(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2)
        nn.init.xavier_uniform_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class ExtraFPN(nn.Module):
    """Spine's pyramid, to be replaced by the shared one."""

    def __init__(
        self, in_channels: Annotated[Sequence[Size], MinLen(1)], out_channels: Size = 256, num_outs: Size = 4
    ) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(_Conv(width, out_channels, 1) for width in in_channels)
        self.fpn_convs = nn.ModuleList(_Conv(out_channels, out_channels, 3) for _ in in_channels)
        for _ in range(num_outs - len(in_channels)):
            self.fpn_convs.append(_Conv(out_channels, out_channels, 3, stride=2))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map (B, C_i, h_i, w_i), finest first, to maps of one width."""
        merged = [lateral(x) for lateral, x in zip(self.lateral_convs, maps, strict=True)]
        for level in range(len(merged) - 1, 0, -1):
            merged[level - 1] = merged[level - 1] + F.interpolate(merged[level], size=merged[level - 1].shape[-2:])
        found = [conv(x) for conv, x in zip(self.fpn_convs, merged, strict=False)]
        for conv in list(self.fpn_convs)[len(merged) :]:
            found.append(conv(found[-1]))
        return found
