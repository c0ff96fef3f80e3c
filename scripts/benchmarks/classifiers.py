"""Backbones as classifiers, with the same weights: peers are torchvision, transformers, timm, plain torch."""

from __future__ import annotations

import copy
from typing import Any

import torch
from benchmarks.pairs import Pair, Size, fill_norms, noise_images
from torch import Tensor, nn

from lab import create_model
from lab.models.swin.weights import to_transformers

NUM_CLASSES = 1000


def make_torchvision(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return lab's and torchvision's network of the same name and keys; nothing is dropped in either."""
    import torchvision

    torch.manual_seed(0)
    ours = create_model(name)
    fill_norms(ours)
    peer = getattr(torchvision.models, name)()
    peer.load_state_dict(ours.state_dict())
    for module in (*ours.modules(), *peer.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return _pair(ours, peer, batch, size, device, training)


def make_yolo_fastest(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return ours, whose peer would be the authors' own code, which has no licence: the parity test describes it."""
    torch.manual_seed(0)
    ours = create_model(name)
    fill_norms(ours)
    return _alone(ours, batch, size, device, training)


def make_wide_resnet(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return ours and the same layers by plain modules, in the style of MixMatch's port."""
    torch.manual_seed(0)
    ours: Any = create_model(name, style="port")
    fill_norms(ours)
    return _pair(ours, _PlainWideResNet(copy.deepcopy(ours)), batch, size, device, training)


class _PlainWideResNet(nn.Module):
    """The port's forward pass over the layers of ours: nothing is folded, fused or laid out."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net
        self.act = nn.LeakyReLU(0.1, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K)."""
        net, act = self.net, self.act
        x = net.conv1(x)
        for index in range(net.num_blocks):
            for place, unit in enumerate(net.get_submodule(f"block{index + 1}.layer")):
                out = act(unit.bn1(x)) if unit.activates else x
                x = out if unit.convShortcut is not None and index == place == 0 else x
                shortcut = x if unit.convShortcut is None else unit.convShortcut(x)
                x = shortcut + unit.conv2(act(unit.bn2(unit.conv1(out))))
        logits: Tensor = net.fc(act(net.bn1(x)).mean(dim=(2, 3)))
        return logits


def make_cifar_resnet(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return ours and torchvision's basic blocks in the same order, with shortcuts that have no parameters."""
    torch.manual_seed(0)
    ours: Any = create_model(name)
    fill_norms(ours)
    peer = _stacked_blocks(((int(name.removeprefix("resnet")) - 2) // 6,) * 3)
    peer.load_state_dict(ours.state_dict(), strict=True)
    return _pair(ours, peer, batch, size, device, training)


class _PaddedShortcut(nn.Module):
    """Every second pixel, and as many channels of zeros."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, 2 C, H / 2, W / 2)."""
        return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, x.shape[1]))


def _stacked_blocks(blocks: tuple[int, ...]) -> nn.Module:
    from torchvision.models.resnet import BasicBlock

    model = nn.Sequential()
    model.add_module("conv1", nn.Conv2d(3, 16, 3, padding=1, bias=False))
    model.add_module("bn1", nn.BatchNorm2d(16))
    model.add_module("relu", nn.ReLU(inplace=True))
    for stage, count in enumerate(blocks):
        planes = 16 * 2**stage
        first = BasicBlock(planes // 2, planes, 2, _PaddedShortcut()) if stage else BasicBlock(16, 16)
        rest = (BasicBlock(planes, planes) for _ in range(count - 1))
        model.add_module(f"layer{stage + 1}", nn.Sequential(first, *rest))
    model.add_module("pool", nn.AdaptiveAvgPool2d(1))
    model.add_module("flat", nn.Flatten())
    model.add_module("fc", nn.Linear(64, 10))
    return model


def make_swin(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return lab's and transformers' Swin, both without stochastic depth."""
    from transformers import SwinForImageClassification

    torch.manual_seed(0)
    ours: Any = create_model(name, drop_path_rate=0.0)
    fill_norms(ours)
    peer = SwinForImageClassification(swin_config(name, num_labels=NUM_CLASSES))
    peer.load_state_dict(to_transformers(ours.state_dict()), strict=True)
    return _pair(ours, peer, batch, size, device, training)


def make_vit(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return ours and timm's ViT, which has the same names and keys; our own small one is built by its numbers."""
    import timm
    from timm.models import VisionTransformer

    torch.manual_seed(0)
    ours: Any = create_model(name, img_size=size[0])
    fill_norms(ours)
    peer: Any
    if name == "vit_mini_patch4_32":
        peer = VisionTransformer(size[0], patch_size=4, embed_dim=64, depth=4, num_heads=2)
    else:
        peer = timm.create_model(name, img_size=size[0])
    peer.load_state_dict(ours.state_dict(), strict=True)
    return _pair(ours, peer, batch, size, device, training)


RESNETS_D = ("resnetv1d50", "resnetv1d101", "resnetv1d152", "resnet50d", "resnet101d", "resnet152d")


def make_resnet_d(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return ours and timm's ResNet-D, which has the same keys."""
    import timm

    torch.manual_seed(0)
    ours: Any = create_model(name)
    fill_norms(ours)
    depth = name.removeprefix("resnet").removeprefix("v1d").removesuffix("d")
    peer: Any = timm.create_model(f"resnet{depth}d")
    peer.load_state_dict(ours.state_dict(), strict=True)
    return _pair(ours, peer, batch, size, device, training)


SWIN_SIZES: dict[str, tuple[int, tuple[int, ...], tuple[int, ...]]] = {
    "tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "small": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "base": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "large": (192, (2, 2, 18, 2), (6, 12, 24, 48)),
}
"""Width, depths and heads of each, as published (Liu et al., ICCV 2021, section 3.3)."""
TIMM_SWINS = (
    *(f"swin_{size}_patch4_window7_224" for size in SWIN_SIZES),
    *(f"swin_{size}_patch4_window12_384" for size in ("base", "large")),
)
"""What timm calls them."""


def swin_config(name: str, **more: Any) -> Any:
    """Return transformers' config for a registered name of lab's Swin."""
    from transformers import SwinConfig

    width, depths, heads = SWIN_SIZES[name.split("_")[1]]
    window = 12 if "window12" in name else 7
    return SwinConfig(
        embed_dim=width, depths=list(depths), num_heads=list(heads), window_size=window, drop_path_rate=0.0, **more
    )


def _pair(ours: nn.Module, peer: nn.Module, batch: int, size: Size, device: torch.device, training: bool) -> Pair:
    ours, peer = (model.to(device).train(training) for model in (ours, peer))
    images = noise_images(batch, size, device)
    labels = torch.arange(batch, device=device) % 10

    def outputs(model: nn.Module) -> Tensor:
        found = model(images)
        logits: Tensor = found if isinstance(found, Tensor) else found.logits
        return logits

    def loss(model: nn.Module) -> Tensor:
        return nn.functional.cross_entropy(outputs(model), labels)

    return Pair(ours, lambda: outputs(ours), batch, lambda: loss(ours), peer, lambda: outputs(peer), lambda: loss(peer))


def _alone(ours: nn.Module, batch: int, size: Size, device: torch.device, training: bool) -> Pair:
    """Return a classifier without a peer."""
    ours = ours.to(device).train(training)
    images, labels = noise_images(batch, size, device), torch.arange(batch, device=device) % 10
    return Pair(ours, lambda: ours(images), batch, lambda: nn.functional.cross_entropy(ours(images), labels))


def make_conv_stem(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return lab's small backbone, which has no peer; its loss is the mean square of its last map."""
    torch.manual_seed(0)
    ours: Any = create_model(name)
    fill_norms(ours)
    ours = ours.to(device).train(training)
    images = noise_images(batch, size, device)
    return Pair(ours, lambda: ours(images)[-1], batch, lambda: ours(images)[-1].square().mean())
