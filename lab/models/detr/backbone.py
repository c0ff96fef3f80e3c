"""DETR's backbone: a registered model, or a small stem of convolutions for CPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from lab.registry.create import create_model


def build_backbone(
    name: str, norm: str, dilation: bool, stem_widths: Sequence[int] = (64, 96)
) -> tuple[nn.Module, int]:
    """Return a module that maps images to a list of feature maps, and the channels of the last map.

    Args:
        name: a registered model; ``conv_stem`` takes ``stem_widths``, others ``norm`` and ``dilation``.
        norm: norm layers of a registered model.
        dilation: keep the resolution in the last stage of a registered model.
        stem_widths: channels of each stage of ``conv_stem``.
    """
    options: dict[str, Any]
    if name == "conv_stem":
        options = {"out_indices": (len(stem_widths),), "widths": tuple(stem_widths)}
    else:
        dilations = (False, False, dilation)
        options = {"out_indices": (4,), "norm": norm, "replace_stride_with_dilation": dilations}
    body: Any = create_model(name, features_only=True, **options)
    return body, body.num_channels[-1]
