"""Weights of MMDetection3D's DETR3D, both ways, in both of its conventions of boxes.

The names of the parameters are the same everywhere. What differs is what the last layer of a box branch predicts:
MMDetection3D below 1.0, and with it the authors' own files (WangYueFt/detr3d), has the width before the length, and an
angle that turns clockwise from the y axis: ``yaw' = -yaw - pi / 2``. So these rows change places, and the sine and
cosine their signs too. A file says in its ``meta`` by what it was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lab.errors import CheckpointError
from lab.models.detr3d.criterion import LOSS_OPTIONS
from lab.registry.renaming import StateDict

_CODE_WEIGHTS = "pts_bbox_head.code_weights"
_COUNTER = "num_batches_tracked"
_BOX_LAYER = re.compile(r"(pts_bbox_head\.reg_branches\.\d+)\.(\d+)\.(?:weight|bias)")
_CONVERTED = "detr3d_convert_tag"
"""MMDetection3D's converter leaves this in the ``meta`` of a file of the older convention that it has converted."""


def from_mmdetection3d(state_dict: StateDict) -> dict[str, Tensor]:
    """Take a state dict of MMDetection3D 1.0 or later; the weights of the loss's numbers are no weights here."""
    return {key: value for key, value in state_dict.items() if key != _CODE_WEIGHTS}


def to_mmdetection3d(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict that loads strictly into MMDetection3D 1.0 or later."""
    found = dict(state_dict)
    found[_CODE_WEIGHTS] = torch.tensor(LOSS_OPTIONS.code_weights)
    for key in state_dict:
        if key.endswith("running_mean"):
            found.setdefault(key.replace("running_mean", _COUNTER), torch.tensor(0))  # frozen norms have none
    return found


def from_official(state_dict: StateDict) -> dict[str, Tensor]:
    """Take a state dict of the authors, or of another DETR3D of MMDetection3D below 1.0."""
    return exchanged_convention(from_mmdetection3d(state_dict))


def to_official(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict that loads strictly into the authors' network."""
    return to_mmdetection3d(exchanged_convention(state_dict))


def exchanged_convention(state_dict: StateDict) -> dict[str, Tensor]:
    """Return weights of the other convention of boxes; applied twice they are what they were."""
    last: dict[str, int] = {}
    for key in state_dict:
        match = _BOX_LAYER.fullmatch(key)
        if match is not None:
            last[match[1]] = max(int(match[2]), last.get(match[1], 0))
    found = dict(state_dict)
    for key, value in state_dict.items():
        match = _BOX_LAYER.fullmatch(key)
        if match is not None and int(match[2]) == last[match[1]]:
            turned = value[[0, 1, 3, 2, 4, 5, 7, 6, *range(8, len(value))]].clone()
            turned[6:8].neg_()
            found[key] = turned
    return found


def convert(state_dict: StateDict, meta: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
    """Convert any known layout into ours; ours is not changed. The registry loads weights with this function.

    Args:
        state_dict: the weights.
        meta: what their file says about itself.

    Raises:
        CheckpointError: they are MMDetection3D's, and do not say which convention of boxes they have.
    """
    if _CODE_WEIGHTS not in state_dict:
        return dict(state_dict)
    meta = meta or {}
    version = meta.get("mmdet3d_version")
    if meta.get(_CONVERTED) or "mmengine_version" in meta or (isinstance(version, str) and version[:1] in "123"):
        return from_mmdetection3d(state_dict)
    if isinstance(version, str) and version.startswith("0."):
        return from_official(state_dict)
    raise CheckpointError(
        "a DETR3D of MMDetection3D that does not say of which version: below 1.0 boxes have another convention; "
        "convert them first (scripts/convert_weights.py --model detr3d --from official for the authors' files, "
        "--from mmdetection3d for version 1.0 or later)"
    )
