"""DETR's backbone: a registered model, or a small stem of convolutions for CPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from lab.registry.arguments import signature_of
from lab.registry.create import create_model
from lab.registry.models import is_model, model_entrypoint


def build_backbone(
    name: str, norm: str, dilation: bool, stem_widths: Sequence[int] = (64, 96)
) -> tuple[nn.Module, int]:
    """Return a module that maps images to a list of feature maps, and the channels of the last map.

    Args:
        name: a registered model; ``conv_stem`` takes ``stem_widths``, others ``norm`` and ``dilation``.
        norm: norm layers of a registered model; ``frozen_batch_norm`` is ignored by a model without batch norm.
        dilation: keep the resolution in the last stage of a registered model.
        stem_widths: channels of each stage of ``conv_stem``.
    """
    options: dict[str, Any]
    if name == "conv_stem":
        options = {"out_indices": (len(stem_widths),), "widths": tuple(stem_widths)}
    else:
        options = {"out_indices": (4,)}
        if norm != "frozen_batch_norm" or _takes(name, "norm"):
            options["norm"] = norm
        if dilation:
            options["replace_stride_with_dilation"] = (False, False, True)
    body: Any = create_model(name, features_only=True, **options)
    return body, body.num_channels[-1]


def _takes(name: str, argument: str) -> bool:
    """Whether a model of ours has an argument."""
    signature = signature_of(model_entrypoint(name)) if is_model(name) else None
    return signature is not None and argument in signature.arguments
