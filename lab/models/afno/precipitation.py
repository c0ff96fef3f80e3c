"""FourCastNet's second network: precipitation from a forecast of winds (Pathak et al., 2022, section 3.4).

A network of the same plan sees the forecast of the wind network, which stays as it is, and a convolution smooths its
output. The target is ``log(1 + tp / epsilon)``, which a ReLU keeps from being negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.errors import ConfigError
from lab.models.afno.network import AFNO


def pad_globe(fields: Tensor, width: int) -> Tensor:
    """Pad (B, C, H, W) by ``width`` points on each side: longitude goes round, zeros lie beyond the poles."""
    return F.pad(F.pad(fields, (width, width, 0, 0), mode="circular"), (0, 0, width, width))


class PrecipitationNet(nn.Module):
    """An AFNO, a 3x3 convolution and a ReLU: (B, in_channels, H, W) to (B, out_channels, H, W), at least 0.

    Args:
        backbone: is trained, with the convolution; named as the authors' ``backbone``.
        winds: is applied first and never trained; None where the fields are its forecasts already.

    Raises:
        ConfigError: the winds' channels are not those that the backbone reads, or the backbone is for a series.
    """

    reads_colors = False

    def __init__(self, backbone: AFNO, winds: AFNO | None = None) -> None:
        super().__init__()
        if backbone.num_axes != 2:
            raise ConfigError("precipitation_net: image_size should be (H, W)")
        if winds is not None and winds.out_channels != backbone.in_channels:
            raise ConfigError(
                f"precipitation_net: in_channels={backbone.in_channels}, but the winds' network gives "
                f"{winds.out_channels} channels"
            )
        self.backbone = backbone
        self.conv = nn.Conv2d(backbone.out_channels, backbone.out_channels, kernel_size=3)
        self.winds = None if winds is None else winds.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but the winds' network, which stays in evaluation."""
        super().train(mode)
        if self.winds is not None:
            self.winds.eval()
        return self

    def forward(self, fields: Tensor) -> Tensor:
        """Return the precipitation (B, out_channels, H, W), as the target above."""
        if self.winds is not None:
            with torch.no_grad():
                fields = self.winds(fields)
        rain: Tensor = self.conv(pad_globe(self.backbone(fields), 1)).relu()
        return rain

    def adapt_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take weights of a wind network, or of such a network as this.

        Those of a wind network go to the winds; what is trained stays new. Others need every part.
        """
        own = self.state_dict()
        if self.winds is not None and not any(key.startswith("backbone.") for key in state):
            winds = self.winds.adapt_weights(state)
            return {key: own[key] for key in own if not key.startswith("winds.")} | _below("winds", winds)
        adapted = {key: value for key, value in state.items() if not key.startswith(("backbone.", "winds."))}
        for name, part in (("backbone", self.backbone), ("winds", self.winds)):
            given = {key.removeprefix(f"{name}."): v for key, v in state.items() if key.startswith(f"{name}.")}
            adapted |= _below(name, given if part is None or not given else part.adapt_weights(given))
        return adapted


def _below(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for key, value in state.items()}
