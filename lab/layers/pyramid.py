"""The feature pyramid of detectors: Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, section 3.

Arguments, their meaning and the names of the parameters are MMDetection's (``FPN``), without norms. The pyramid that
merges all maps into one for segmentation is ``lab.layers.fpn``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from lab.checking import check_choice, check_range
from lab.errors import ConfigError
from lab.layers.convolution import convolve
from lab.layers.fpn import Conv3x3, add_upsampled
from lab.ranges import Ge, Le, Size

ExtraSource = Literal["on_input", "on_lateral", "on_output"]


class FPN(nn.Module):
    """From a backbone's maps, finest first, to as many maps of equal channels as ``num_outs`` says.

    Args:
        in_channels: channels of each map of the backbone.
        out_channels: channels of every returned map.
        num_outs: how many maps are returned; those beyond the backbone's have half the resolution of the one before.
        start_level: index of the first map that is used.
        end_level: index of the last map that is used; -1 for the last one.
        add_extra_convs: what makes the maps beyond the backbone's: convolutions with stride 2, the first one of the
            backbone's last used map (``on_input``, also ``True``), of its lateral (``on_lateral``) or of the last
            returned map (``on_output``); ``False``: every second pixel of the map before.
        relu_before_extra_convs: whether all of these convolutions but the first see a rectified map.

    Attributes:
        num_channels: channels of each returned map.

    Raises:
        ConfigError: a level that the backbone does not have, or fewer maps asked for than are used.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: Size = 256,
        num_outs: Size = 4,
        start_level: Annotated[int, Ge(0), Le(100)] = 0,
        end_level: Annotated[int, Ge(-1), Le(100)] = -1,
        add_extra_convs: bool | ExtraSource = False,
        relu_before_extra_convs: bool = False,
    ) -> None:
        super().__init__()
        self.start_level, self.end_level = _check(len(in_channels), num_outs, start_level, end_level)
        self.extra_source = _source(add_extra_convs)
        self.relu_before_extra_convs = relu_before_extra_convs
        self.num_maps = len(in_channels)
        self.num_channels = (out_channels,) * num_outs
        used = in_channels[self.start_level : self.end_level + 1]
        self.lateral_convs = nn.ModuleList(_Named(nn.Conv2d(width, out_channels, 1)) for width in used)
        self.fpn_convs = nn.ModuleList(_Named(Conv3x3(out_channels, out_channels)) for _ in used)
        if self.extra_source is not None:
            for extra in range(num_outs - len(used)):
                width = used[-1] if extra == 0 and self.extra_source == "on_input" else out_channels
                self.fpn_convs.append(_Named(nn.Conv2d(width, out_channels, 3, stride=2, padding=1)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map the backbone's maps (B, C_i, H_i, W_i), finest first, to ``num_outs`` maps (B, out_channels, h, w)."""
        if len(maps) != self.num_maps:
            raise ConfigError(f"FPN: {len(maps)} maps came in, in_channels has {self.num_maps}")
        used = maps[self.start_level : self.end_level + 1]
        laterals = [part(x) for part, x in zip(self.lateral_convs, used, strict=True)]
        for level in range(len(laterals) - 1, 0, -1):
            laterals[level - 1] = add_upsampled(laterals[level - 1], laterals[level])
        outs = [part(x) for part, x in zip(self.fpn_convs, laterals, strict=False)]
        if len(outs) == len(self.num_channels):
            return outs
        if self.extra_source is None:
            while len(outs) < len(self.num_channels):
                outs.append(F.max_pool2d(outs[-1], 1, stride=2))
            return outs
        sources = {"on_input": used[-1], "on_lateral": laterals[-1], "on_output": outs[-1]}
        x = sources[self.extra_source]
        for part in list(self.fpn_convs)[len(outs) :]:
            x = part(x)
            outs.append(x)
            x = F.relu(x) if self.relu_before_extra_convs else x
        return outs


class _Named(nn.Module):
    """A convolution under the name that MMDetection's files have for it."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.conv, Conv3x3):
            found: Tensor = self.conv(x)
            return found
        return convolve(x, self.conv, activation="none")


def _check(num_maps: int, num_outs: int, start: int, end: int) -> tuple[int, int]:
    """Return the first and the last level that are used."""
    check_range("start_level", start, least=0, most=num_maps - 1)
    last = num_maps - 1 if end == -1 else end
    check_range("end_level", last, least=start, most=num_maps - 1)
    used = last - start + 1
    if num_outs < used:
        raise ConfigError(f"num_outs={num_outs}: should be at least {used}, the maps from level {start} to {last}")
    if last < num_maps - 1 and num_outs != used:
        raise ConfigError(f"num_outs={num_outs}: should be {used}, as extra maps need the backbone's last one")
    return start, last


def _source(asked: bool | str) -> str | None:
    if asked is False:
        return None
    source = "on_input" if asked is True else asked
    check_choice("add_extra_convs", source, get_args(ExtraSource))
    return str(source)
