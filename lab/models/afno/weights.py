"""Names of the parameters in published checkpoints: NVlabs/FourCastNet and physicsnemo have ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_WRAPPER = "module."
_UNUSED = "ged"


def from_fourcastnet(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the ``model_state`` of NVlabs/FourCastNet's checkpoint: names with ``module.``; ``ged`` is left out."""
    return {
        key.removeprefix(_WRAPPER): value for key, value in state_dict.items() if key.removeprefix(_WRAPPER) != _UNUSED
    }


def to_fourcastnet(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the ``model_state`` that NVlabs/FourCastNet's loader takes."""
    return {_WRAPPER + key: value for key, value in state_dict.items()}


def convert(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring any known layout into ours, and leave ours as it is: what the registry loads weights with."""
    return from_fourcastnet(state_dict)
