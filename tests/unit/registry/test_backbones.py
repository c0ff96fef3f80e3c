"""Every registered network that can be a backbone keeps the backbones' contract, and serves DETR and MaskFormer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lab import create_model, list_models
from lab.models.detr.network import DETR
from lab.models.maskformer.network import MaskFormer
from lab.registry.arguments import signature_of
from lab.registry.models import model_entrypoint

SMALL: dict[str, Any] = {"embed_dim": 32, "num_heads": 4, "num_decoder_layers": 1, "feedforward_dim": 32}


def arguments_of(name: str) -> set[str]:
    signature = signature_of(model_entrypoint(name))
    return set(signature.arguments) if signature else set()


BACKBONES = [name for name in list_models() if "features_only" in arguments_of(name)]
NEW = ["mobilenet_v2", "shufflenet_v2_x0_5", "shufflenet_v2_yolo_fastest", "wide_resnet_tiny"]


@pytest.mark.parametrize("name", BACKBONES)
def test_maps_have_the_channels_and_strides_that_are_said(name: str) -> None:
    with torch.device("meta"):
        net: Any = create_model(name, features_only=True).eval()
        maps = net(torch.empty(1, 3, 128, 160))
    assert [item.shape[:2] for item in maps] == [(1, channels) for channels in net.num_channels]
    for item, stride in zip(
        maps, net.strides, strict=True
    ):  # one less without padding, one more where the last is begun
        assert all(abs(side / stride - found) <= 1 for side, found in zip((128, 160), item.shape[2:], strict=True))


@pytest.mark.parametrize("name", NEW)
def test_detr_and_maskformer_stand_on_it(name: str) -> None:
    images = torch.randn(1, 3, 64, 96)
    detr = DETR(3, num_queries=4, num_encoder_layers=1, backbone=name, **SMALL).eval()
    assert not any(item.training for item in detr.backbone.modules())
    masks = MaskFormer(
        3, num_queries=4, mask_dim=32, backbone=name, backbone_options={"norm": "frozen_batch_norm"}, **SMALL
    ).eval()
    with torch.inference_mode():
        assert detr(images).logits.shape[:2] == (1, 4)
        assert masks(images) is not None
