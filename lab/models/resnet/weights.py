"""Key names of torchvision's, timm's and MMDetection's ResNets, both ways.

Ours are torchvision's, and timm's where torchvision has no such network (the three convolutions of a deep stem are
``conv1.0``, ``conv1.3`` and ``conv1.6``, the norm of the last is ``bn1``). MMDetection puts all of that stem into
``stem``. The offsets of its deformable convolutions have been called ``conv2_offset``.
"""

from __future__ import annotations

from torch import Tensor

from lab.registry.renaming import Rules, StateDict, beginnings, rename, reverse

_FROM_MMDETECTION: Rules = beginnings([("stem.7.", "bn1."), ("stem.<layer>.", "conv1.<layer>.")])
_TO_MMDETECTION = reverse(_FROM_MMDETECTION)
_OFFSETS: Rules = beginnings([("layer<stage>.<block>.conv2_offset.", "layer<stage>.<block>.conv2.conv_offset.")])


def from_mmdetection(state_dict: StateDict) -> dict[str, Tensor]:
    """Take a state dict of MMDetection's ``ResNet`` or ``ResNetV1d``; one of torchvision's or timm's stays as it is."""
    rules = [*_FROM_MMDETECTION, *_OFFSETS]
    return {rename(key, rules) or key: value for key, value in state_dict.items()}


def to_mmdetection(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict that loads strictly into MMDetection's ``ResNet``; the head, which it lacks, is left out."""
    rules = _TO_MMDETECTION if "conv1.0.weight" in state_dict else ()
    return {rename(key, rules) or key: value for key, value in state_dict.items() if not key.startswith("fc.")}


def convert(state_dict: StateDict) -> dict[str, Tensor]:
    """Bring any known layout into ours, and leave ours as it is: what the registry loads weights with."""
    return from_mmdetection(state_dict)
