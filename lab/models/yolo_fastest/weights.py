"""Key names of YOLO-FastestV2's published files, both ways: only the backbone's differ from ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

BACKBONE = "backbone."
_NAMES = (("backbone.first_conv.", "backbone.conv1."), (".branch_main.", ".branch2."), (".branch_proj.", ".branch1."))
"""(theirs, ours)."""


def convert(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring any known layout of keys into ours; ours is not changed."""
    return from_official(state_dict)


def from_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a published file, of the detector or of its backbone alone, whose keys have no prefix."""
    prefix = BACKBONE if any(key.startswith("first_conv.") for key in state_dict) else ""
    return {_renamed(f"{prefix}{key}", _NAMES): value for key, value in state_dict.items()}


def to_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict that loads strictly into the published network."""
    names = tuple((ours, theirs) for theirs, ours in _NAMES)
    return {_renamed(key, names): value for key, value in state_dict.items()}


def _renamed(key: str, names: tuple[tuple[str, str], ...]) -> str:
    for old, new in names:
        key = key.replace(old, new) if key.startswith(BACKBONE) else key
    return key
