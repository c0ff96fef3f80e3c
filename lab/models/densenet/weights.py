"""Key names of torchvision's and timm's DenseNets, both ways.

Ours are theirs; torchvision's files still hold the names that its layers had before 2018 (``norm.1``, ``conv.2``).
"""

from __future__ import annotations

import re

from torch import Tensor

from lab.registry.renaming import StateDict

_LEGACY = re.compile(r"(.*\.denselayer\d+\.(?:norm|conv))\.([12]\..+)")


def from_torchvision(state_dict: StateDict) -> dict[str, Tensor]:
    """Take torchvision's state dict or file, with the names of today or before: ``norm.1`` becomes ``norm1``."""
    return {_LEGACY.sub(r"\1\2", key): value for key, value in state_dict.items()}


def to_torchvision(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict that loads strictly into torchvision's ``DenseNet``, and timm's."""
    return dict(state_dict)


def convert(state_dict: StateDict) -> dict[str, Tensor]:
    """Bring any known layout into ours, and leave ours as it is: what the registry loads weights with."""
    return from_torchvision(state_dict)
