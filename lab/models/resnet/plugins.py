"""Plugins: modules that stand behind the convolutions of bottleneck blocks, as MMDetection's ResNet takes them.

A plugin is given in MMDetection's words: ``{cfg: {type: ContextBlock, ratio: 0.0625}, stages: [false, true, true,
true], position: after_conv3}``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.checking import check_choice
from lab.errors import ConfigError, closest
from lab.ranges import Gt, MinLen, Size
from lab.registry.build import build

Position = Literal["after_conv1", "after_conv2", "after_conv3"]
Fusion = Literal["channel_add", "channel_mul"]


class ContextBlock(nn.Module):
    """The global context block: what a map is as a whole, added to each of its pixels.

    Cao et al., "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond", ICCV Workshops 2019, figure 4d.
    Keys are those of MMDetection (mmcv's ``ContextBlock``).

    Args:
        in_channels: C.
        ratio: width of the bottleneck as a share of C; the paper's r is 1 / ratio.
        pooling_type: how the pixels become one vector: weighted by attention (``att``) or equally (``avg``).
        fusion_types: what that vector becomes: a factor for each channel (``channel_mul``), a summand
            (``channel_add``), or both, the factor first.

    Raises:
        ConfigError: nothing is fused, or the bottleneck has no channel.
    """

    def __init__(
        self,
        in_channels: Size,
        ratio: Annotated[float, Gt(0)] = 0.0625,
        pooling_type: Literal["att", "avg"] = "att",
        fusion_types: Annotated[Sequence[Fusion], MinLen(1)] = ("channel_add",),
    ) -> None:
        super().__init__()
        check_choice("pooling_type", pooling_type, ("att", "avg"))
        for word in fusion_types:
            check_choice("fusion_types", word, get_args(Fusion))
        width = int(in_channels * ratio)
        if not fusion_types or width < 1:
            wrong = f"ratio={ratio}: leaves no channel of {in_channels}" if fusion_types else "fusion_types is empty"
            raise ConfigError(wrong)
        self.conv_mask = nn.Conv2d(in_channels, 1, 1) if pooling_type == "att" else None
        for name in get_args(Fusion):
            self.add_module(f"{name}_conv", _transform(in_channels, width) if name in fusion_types else None)
        if self.conv_mask is not None:
            nn.init.kaiming_normal_(self.conv_mask.weight, mode="fan_in", nonlinearity="relu")
            nn.init.zeros_(self.conv_mask.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        context = self._context(x)
        scale = self._term("channel_mul_conv", context)
        if scale is not None:
            x = x * scale.sigmoid()
        shift = self._term("channel_add_conv", context)
        return x if shift is None else x + shift

    def _context(self, x: Tensor) -> Tensor:
        """Return the (B, C) vector of the whole map."""
        if self.conv_mask is None:
            return x.mean(dim=(2, 3))
        attention = self.conv_mask(x).flatten(2).softmax(dim=2)
        context: Tensor = torch.matmul(x.flatten(2), attention.transpose(1, 2))
        return context.squeeze(2)

    def _term(self, name: str, context: Tensor) -> Tensor | None:
        """Return the (B, C, 1, 1) of one fusion; None if the block has it not."""
        layers: Any = getattr(self, name)
        if layers is None:
            return None
        down, norm, _, up = layers
        hidden = F.linear(context, down.weight.flatten(1), down.bias)
        hidden = F.layer_norm(hidden, hidden.shape[1:], norm.weight.flatten(), norm.bias.flatten(), norm.eps)
        return F.linear(F.relu(hidden), up.weight.flatten(1), up.bias)[..., None, None]


def _transform(channels: int, width: int) -> nn.Sequential:
    """Return the bottleneck, whose last layer begins at zero: the block is the identity (section 4.3)."""
    up = nn.Conv2d(width, channels, 1)
    nn.init.zeros_(up.weight)
    nn.init.zeros_(up.bias)  # type: ignore[arg-type]
    return nn.Sequential(nn.Conv2d(channels, width, 1), nn.LayerNorm([width, 1, 1]), nn.ReLU(inplace=True), up)


KNOWN = {"ContextBlock": "lab.models.resnet.plugins.ContextBlock"}
"""Short names of ``cfg.type``; any other is the dotted path of a module of an allowed package."""


@dataclass(frozen=True)
class Plugin:
    """One plugin of a stage.

    Attributes:
        cfg: arguments of the module and its ``type``.
        position: behind which convolution of each block.
        name: of the module in its block, and so in keys.
        stages: for each stage whether its blocks have it; None for all.
        where: its place in the config.
    """

    cfg: Mapping[str, Any]
    position: Position
    name: str
    stages: Sequence[bool] | None
    where: str

    def build(self, in_channels: int) -> nn.Module:
        """Return the module for maps of ``in_channels``."""
        if "in_channels" in self.cfg:
            raise ConfigError(f"{self.where}.cfg.in_channels: the place says how many channels there are; leave it out")
        made: nn.Module = build(self.cfg, target_key="type", where=f"{self.where}.cfg", in_channels=in_channels)
        return made


def read_plugins(given: Sequence[Mapping[str, Any]], num_stages: int) -> list[list[Plugin]]:
    """Return the plugins of each stage, in their given order.

    Args:
        given: for each plugin ``cfg`` (``type``, its arguments, and ``postfix`` for its name), ``position`` and
            perhaps ``stages``.
        num_stages: length of ``stages``.

    Raises:
        ConfigError: a word, a position or a length is wrong.
    """
    plugins = [_read(item, f"plugins.{index}", num_stages) for index, item in enumerate(given)]
    return [[each for each in plugins if each.stages is None or each.stages[stage]] for stage in range(num_stages)]


def _read(given: Mapping[str, Any], where: str, num_stages: int) -> Plugin:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}={given!r}: expected a mapping of cfg, position and perhaps stages")
    _check_words(given, where, ("cfg", "position", "stages"), ("cfg", "position"))
    cfg, stages = given["cfg"], given.get("stages")
    if not isinstance(cfg, Mapping) or not isinstance(cfg.get("type"), str):
        raise ConfigError(f"{where}.cfg={cfg!r}: expected a mapping with a type, one of {', '.join(KNOWN)} or a path")
    check_choice(f"{where}.position", given["position"], get_args(Position))
    if stages is not None and (isinstance(stages, str) or len(stages) != num_stages):
        raise ConfigError(f"{where}.stages={stages!r}: expected {num_stages} of true and false, for layer1 and so on")
    arguments = {key: value for key, value in cfg.items() if key != "postfix"}
    name = _snake_case(cfg["type"].rpartition(".")[2]) + str(cfg.get("postfix", ""))
    if not name.isidentifier():
        raise ConfigError(f"{where}.cfg.postfix={cfg['postfix']!r}: letters, digits and _ make a name")
    if "." not in cfg["type"]:
        check_choice(f"{where}.cfg.type", cfg["type"], KNOWN)
        arguments["type"] = KNOWN[cfg["type"]]
    return Plugin(arguments, given["position"], name, stages, where)


def _check_words(given: Mapping[str, Any], where: str, known: Collection[str], needed: Collection[str]) -> None:
    for key in given:
        if key not in known:
            raise ConfigError(f"{where}: there is no {key!r}{closest(str(key), known)}")
    for key in needed:
        if key not in given:
            raise ConfigError(f"{where}: needs {key!r}")


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
