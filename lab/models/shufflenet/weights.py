"""Key names of YOLO-FastestV2's backbone, both ways; those of torchvision are ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_PREFIX = "backbone."
_TO_OURS = (("first_conv.", "conv1."), (".branch_main.", ".branch2."), (".branch_proj.", ".branch1."))


def convert(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring any known layout of keys into ours."""
    if any(key.removeprefix(_PREFIX).startswith("first_conv.") for key in state_dict):
        return from_yolo_fastest(state_dict)
    return dict(state_dict)


def from_yolo_fastest(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of the authors' backbone; of a whole detector, its own part is taken."""
    whole = any(key.startswith(_PREFIX) for key in state_dict)
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        if whole and not key.startswith(_PREFIX):
            continue
        name = key.removeprefix(_PREFIX)
        for theirs, ours in _TO_OURS:
            name = name.replace(theirs, ours)
        renamed[name] = value
    return renamed


def to_yolo_fastest(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our keys to those of the authors' backbone; a classifier's last convolution and head are left out."""
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        if re.match(r"(conv5|fc)\.", key):
            continue
        name = key
        for theirs, ours in _TO_OURS:
            name = name.replace(ours, theirs)
        renamed[name] = value
    return renamed
