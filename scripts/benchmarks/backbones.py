"""Detectors' backbones: VoVNet beside timm's layers, deformable convolutions beside torchvision's operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from benchmarks.kernels import worst
from benchmarks.pairs import Made, Pair, Size, fill_norms, noise_images
from torch import Tensor, nn

from lab import create_model
from lab.models.resnet.deformable import ModulatedDeformConv2d
from lab.models.vovnet.weights import to_timm
from lab.ops.deform_conv import deform_conv2d

VOVNETS = (
    "vovnet99",
    "vovnet57",
    "vovnet39",
    "vovnet19",
    "vovnet19_slim",
    "vovnet19_dw",
    "vovnet19_slim_dw",
)
CHANNELS = 256
"""Of ResNet-101's layer3, where 23 of DETR3D's 26 deformable convolutions are."""


class _Stages(nn.Module):
    """timm's layers with a squeeze and excitation in every block; returned is the last map."""

    def __init__(self, name: str) -> None:
        super().__init__()
        from timm.models import vovnet

        size = name.removeprefix("vovnet")
        number, _, kind = size.partition("_")
        known = "ese_vovnet39b" if size == "19" else f"ese_vovnet{number}b{kind and '_'}{kind}"
        config = dict(vovnet.model_cfgs[known])
        if size == "19":  # timm has none: 39 with fewer layers and blocks
            config.update(layer_per_block=3, block_per_stage=[1, 1, 1, 1])
        net = vovnet.VovNet(config, num_classes=0)
        for stage in net.stages:
            for block in stage.blocks:
                block.attn = block.attn or vovnet.create_attn("ese", block.conv_concat.conv.out_channels)
        self.stem, self.stages = net.stem, net.stages

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.stages(self.stem(x))
        return found


def make_vovnet(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return ours and timm's layers; outputs are the last map, the loss is its mean square."""
    torch.manual_seed(0)
    ours = create_model(name)
    fill_norms(ours)
    peer = _Stages(name)
    peer.load_state_dict(to_timm(ours.state_dict()), strict=True)
    return _pair(ours, peer, batch, size, device, training)


class _Deformable(nn.Module):
    """The same parameters with torchvision's operator."""

    def __init__(self, layer: ModulatedDeformConv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        from torchvision.ops import deform_conv2d as by_torchvision

        layer = self.layer
        first, second, mask = layer.conv_offset(x).chunk(3, dim=1)
        offset, place = torch.cat((first, second), dim=1), (layer.dilation, layer.dilation)
        stride = (layer.stride, layer.stride)
        found: Tensor = by_torchvision(x, offset, layer.weight, None, stride, place, place, mask.sigmoid())
        return found


def make_deformable(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return a ResNet as DETR3D has it and torchvision's network with torchvision's operator."""
    import torchvision

    torch.manual_seed(0)
    dcn = (False, False, True, True)
    ours: Any = create_model(name, features_only=True, out_indices=(4,), stage_with_dcn=dcn)
    fill_norms(ours)
    with torch.no_grad():
        for module in ours.modules():
            if isinstance(module, ModulatedDeformConv2d):
                module.conv_offset.weight.normal_(std=0.02)
    peer: Any = getattr(torchvision.models, name)()
    for stage in (peer.layer3, peer.layer4):
        for block in stage:
            twin = ModulatedDeformConv2d(block.conv2.in_channels, block.conv2.out_channels, block.conv2.stride[0])
            block.conv2 = twin
    peer.load_state_dict(ours.state_dict(), strict=False)
    for stage in (peer.layer3, peer.layer4):
        for block in stage:
            block.conv2 = _Deformable(block.conv2)
    peer.avgpool, peer.fc = nn.Identity(), nn.Identity()
    return _pair(ours, _Unflattened(peer), batch, size, device, training)


class _Unflattened(nn.Module):
    """torchvision's classifier flattens its last map."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        height, width = (-(-side // 32) for side in x.shape[2:])
        found: Tensor = self.net(x)
        return found.view(len(x), -1, height, width)


def _pair(ours: nn.Module, peer: nn.Module, batch: int, size: Size, device: torch.device, training: bool) -> Pair:
    ours, peer = (model.to(device).train(training) for model in (ours, peer))
    images = noise_images(batch, size, device)

    def theirs() -> Tensor:
        found: Tensor = peer(images)
        return found

    return Pair(
        ours,
        lambda: ours(images)[-1],
        batch,
        lambda: ours(images)[-1].square().mean(),
        peer,
        theirs,
        lambda: theirs().square().mean(),
    )


def deform_conv_row(train: bool) -> Callable[[int, Size, torch.device], Made]:
    """Return a row: 256 to 256 channels, channels last, offsets of about two pixels; with all gradients in training."""

    def row(batch: int, size: Size, device: torch.device) -> Made:
        from torchvision.ops import deform_conv2d as by_torchvision

        torch.manual_seed(0)
        x = torch.randn(batch, CHANNELS, *size).contiguous(memory_format=torch.channels_last)
        offset, mask = torch.randn(batch, 18, *size) * 2, torch.rand(batch, 9, *size)
        weight = torch.randn(CHANNELS, CHANNELS, 3, 3) / (9 * CHANNELS) ** 0.5
        given = [value.to(device).requires_grad_(train) for value in (x, offset, weight, mask)]
        grad = torch.randn(batch, CHANNELS, *size).to(device)

        def run(function: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> Tensor:
            if not train:
                with torch.inference_mode():
                    return function(*given)
            grads = torch.autograd.grad(function(*given), given, grad)
            return grads[0]

        def ours() -> Tensor:
            return run(lambda x, offset, weight, mask: deform_conv2d(x, offset, weight, mask, padding=(1, 1)))

        def peer() -> Tensor:
            return run(lambda x, offset, weight, mask: by_torchvision(x, offset, weight, padding=1, mask=mask))

        return ours, peer, worst(ours(), peer())

    return row
