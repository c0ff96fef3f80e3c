"""Key names of VoVNets, both ways: ours are those of DETR3D's and DD3D's files; timm has its own.

A detector's file has the backbone below ``img_backbone.`` (DETR3D) or ``backbone.bottom_up.`` (DD3D, detectron2).
timm's networks have a squeeze and excitation in the last block of each stage alone: only where every stage has one
block (19) do its files hold all that ours have.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor

from lab.registry.renaming import StateDict

PLACES = ("img_backbone.", "backbone.bottom_up.", "bottom_up.")
"""Where detectors keep the backbone."""
_Rules = tuple[tuple[str, Callable[[re.Match[str]], str]], ...]
_LAYER = {"conv": "conv", "norm": "bn", "dw_conv3x3": "conv_dw", "pw_conv1x1": "conv_pw", "pw_norm": "bn"}
_TO_TIMM: _Rules = (
    (r"stem\.stem_(\d)/(\w+)", lambda found: f"stem.{int(found[1]) - 1}.{_LAYER[found[2]]}"),
    (
        r"stage(\d)\.OSA\d_(\d+)\.layers\.(\d+)\.OSA\w+/(\w+)",
        lambda found: f"{_block(found)}.conv_mid.{found[3]}.{_LAYER[found[4]]}",
    ),
    (r"stage(\d)\.OSA\d_(\d+)\.concat\.\w+/(\w+)", lambda found: f"{_block(found)}.conv_concat.{_LAYER[found[3]]}"),
    (
        r"stage(\d)\.OSA\d_(\d+)\.conv_reduction\.\w+/(\w+)",
        lambda found: f"{_block(found)}.conv_reduction.{_LAYER[found[3]]}",
    ),
    (r"stage(\d)\.OSA\d_(\d+)\.ese\.fc", lambda found: f"{_block(found)}.attn.fc"),
)


def from_detector(state_dict: StateDict) -> dict[str, Tensor]:
    """Take the backbone out of the state dict of DETR3D or DD3D; one of a backbone alone stays as it is."""
    place = next((place for place in PLACES if any(key.startswith(place) for key in state_dict)), "")
    return {key[len(place) :]: value for key, value in state_dict.items() if key.startswith(place)}


def to_timm(state_dict: StateDict) -> dict[str, Tensor]:
    """Return the names that timm's ``VovNet`` has for the same tensors, without a head."""
    found = {}
    for key, value in state_dict.items():
        module, _, own = key.rpartition(".")
        found[f"{_renamed(module)}.{own}"] = value
    return found


def from_timm(state_dict: StateDict) -> dict[str, Tensor]:
    """Return our names for the tensors of timm's ``VovNet``; its head, which a backbone lacks, is left out."""
    depthwise = any(".conv_dw." in key for key in state_dict)
    found = {}
    for key, value in state_dict.items():
        match = re.fullmatch(r"(.+)\.(conv|bn|conv_dw|conv_pw|fc)\.(\w+)", key)
        if match is not None and not key.startswith("head."):
            found[f"{_ours(match[1], match[2], depthwise)}.{match[3]}"] = value
        elif not key.startswith("head."):
            found[key] = value
    return found


def convert(state_dict: StateDict) -> dict[str, Tensor]:
    """Bring any known layout into ours, and leave ours as it is: what the registry loads weights with."""
    if any(key.startswith("stages.0.blocks.") for key in state_dict):
        return from_timm(state_dict)
    return from_detector(state_dict)


def _block(found: re.Match[str]) -> str:
    return f"stages.{int(found[1]) - 2}.blocks.{int(found[2]) - 1}"


def _renamed(module: str) -> str:
    for source, target in _TO_TIMM:
        if (match := re.fullmatch(source, module)) is not None:
            return target(match)
    return module


def _ours(place: str, layer: str, depthwise: bool) -> str:
    """Return our name of a layer of timm's.

    Args:
        place: what holds it, ``stages.0.blocks.1.conv_mid.2``.
        layer: what it is called there.
        depthwise: whether the network has depthwise layers.
    """
    if (stem := re.fullmatch(r"stem\.(\d)", place)) is not None:
        name, separable = f"stem.stem_{int(stem[1]) + 1}", depthwise and stem[1] != "0"
    else:
        match = re.fullmatch(r"stages\.(\d)\.blocks\.(\d+)\.(\w+)(?:\.(\d+))?", place)
        if match is None:
            return f"{place}.{layer}"
        stage, block = int(match[1]) + 2, int(match[2]) + 1
        own, begins = f"OSA{stage}_{block}", f"stage{stage}.OSA{stage}_{block}"
        if match[3] == "attn":
            return f"{begins}.ese.fc"
        parts = {
            "conv_mid": f"layers.{match[4]}.{own}_{match[4]}",
            "conv_concat": f"concat.{own}_concat",
            "conv_reduction": f"conv_reduction.{own}_reduction_0",
        }
        name, separable = f"{begins}.{parts[match[3]]}", depthwise and match[3] == "conv_mid"
    words = {"conv_dw": "dw_conv3x3", "conv_pw": "pw_conv1x1", "bn": "pw_norm" if separable else "norm"}
    return f"{name}/{words.get(layer, layer)}"
