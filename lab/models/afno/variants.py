"""The registered AFNO networks: FourCastNet's, and smaller ones of our own for CPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

from lab.models.afno.classifier import AFNOClassifier
from lab.models.afno.network import AFNO
from lab.models.afno.precipitation import PrecipitationNet
from lab.ranges import (
    Count,
    Divides,
    Dropout,
    Flat,
    Gt,
    Layers,
    Le,
    Len,
    MultipleOf,
    NonNegative,
    OneOf,
    Pixels,
    Positive,
    Probability,
    Size,
)
from lab.registry.models import register_model


@dataclass(frozen=True)
class AFNOOptions(Flat):
    """What all of these names take, see ``AFNO``."""

    mlp_ratio: Annotated[float, Gt(0), Le(100)] = 4.0
    sparsity: NonNegative = 0.01
    keep_modes: Annotated[float, Gt(0), Le(1)] = 1.0
    dropout: Dropout = 0.0
    drop_path_rate: Probability = 0.0
    hidden_factor: Positive = 1
    memory_efficient: bool = False


OPTIONS = AFNOOptions()


@register_model(converter="lab.models.afno.weights.convert")
def afno_fourcastnet(
    image_size: Annotated[Sequence[Pixels], Len(1, 2)] = (720, 1440),
    in_channels: Size = 20,
    out_channels: Size = 20,
    patch_size: Pixels | Annotated[Sequence[Pixels], Len(1, 2)] = 8,
    embed_dim: Size = 768,
    num_layers: Layers = 12,
    num_blocks: Annotated[Size, Divides("embed_dim")] = 8,
    mode_cut: Annotated[str, OneOf("height", "tokens", "axes")] = "height",
    double_skip: bool = True,
    unused_norm: bool = True,
    options: AFNOOptions = OPTIONS,
) -> AFNO:
    """Build FourCastNet's backbone: 74.7 M parameters, 20 variables on 720 x 1440 points (0.25 degrees)."""
    sizes = (image_size, in_channels, out_channels, patch_size, embed_dim, num_layers, num_blocks)
    return _afno(sizes, mode_cut, double_skip, unused_norm, options)


@register_model(converter="lab.models.afno.weights.convert")
def afno_small(
    image_size: Annotated[Sequence[Pixels], Len(1, 2)] = (128, 128),
    in_channels: Size = 1,
    out_channels: Size = 1,
    patch_size: Pixels | Annotated[Sequence[Pixels], Len(1, 2)] = 4,
    embed_dim: Size = 256,
    num_layers: Layers = 6,
    num_blocks: Annotated[Size, Divides("embed_dim")] = 8,
    mode_cut: Annotated[str, OneOf("height", "tokens", "axes")] = "axes",
    double_skip: bool = True,
    unused_norm: bool = False,
    options: AFNOOptions = OPTIONS,
) -> AFNO:
    """Build a network of six layers of width 256: 3.6 M parameters with the defaults."""
    sizes = (image_size, in_channels, out_channels, patch_size, embed_dim, num_layers, num_blocks)
    return _afno(sizes, mode_cut, double_skip, unused_norm, options)


@register_model(converter="lab.models.afno.weights.convert")
def afno_tiny(
    image_size: Annotated[Sequence[Pixels], Len(1, 2)] = (64, 64),
    in_channels: Size = 1,
    out_channels: Size = 1,
    patch_size: Pixels | Annotated[Sequence[Pixels], Len(1, 2)] = 4,
    embed_dim: Size = 64,
    num_layers: Layers = 4,
    num_blocks: Annotated[Size, Divides("embed_dim")] = 4,
    mode_cut: Annotated[str, OneOf("height", "tokens", "axes")] = "axes",
    double_skip: bool = True,
    unused_norm: bool = False,
    options: AFNOOptions = OPTIONS,
) -> AFNO:
    """Build a network of four layers of width 64 that trains on a CPU in minutes."""
    sizes = (image_size, in_channels, out_channels, patch_size, embed_dim, num_layers, num_blocks)
    return _afno(sizes, mode_cut, double_skip, unused_norm, options)


@register_model(converter="lab.models.afno.weights.convert")
def afno1d(
    image_size: Annotated[Sequence[Pixels], Len(1, 1)] = (256,),
    in_channels: Size = 1,
    out_channels: Size = 1,
    patch_size: Pixels | Annotated[Sequence[Pixels], Len(1, 1)] = 4,
    embed_dim: Size = 64,
    num_layers: Layers = 4,
    num_blocks: Annotated[Size, Divides("embed_dim")] = 4,
    options: AFNOOptions = OPTIONS,
) -> AFNO:
    """Build a network for series (B, in_channels, N), whose filters are AFNO-transformer's ``AFNO1D``."""
    sizes = (image_size, in_channels, out_channels, patch_size, embed_dim, num_layers, num_blocks)
    return _afno(sizes, "tokens", True, False, options)


@register_model(converter="lab.models.afno.weights.convert")
def precipitation_net(
    image_size: Annotated[Sequence[Pixels], Len(2, 2)] = (720, 1440),
    in_channels: Size = 20,
    out_channels: Size = 1,
    patch_size: Pixels | Annotated[Sequence[Pixels], Len(2, 2)] = 8,
    embed_dim: Size = 768,
    num_layers: Layers = 12,
    num_blocks: Annotated[Size, Divides("embed_dim")] = 8,
    mode_cut: Annotated[str, OneOf("height", "tokens", "axes")] = "height",
    unused_norm: bool = True,
    winds: bool = True,
    options: AFNOOptions = OPTIONS,
) -> PrecipitationNet:
    """Build FourCastNet's precipitation network, with a frozen wind network of the same sizes before it.

    ``winds``: with that network, whose weights ``pretrained=FILE`` gives; without it the fields are its forecasts, and
    the file is one of precipitation.
    """
    sizes = (patch_size, embed_dim, num_layers, num_blocks)
    rest = (mode_cut, True, unused_norm, options)
    backbone = _afno((image_size, in_channels, out_channels, *sizes), *rest)
    return PrecipitationNet(backbone, _afno((image_size, in_channels, in_channels, *sizes), *rest) if winds else None)


@register_model(classifier="head", converter="lab.models.afno.weights.convert")
def afno_imagenet(
    img_size: Annotated[Pixels, MultipleOf(4)] = 224,
    num_classes: Count = 1000,
    in_chans: Size = 3,
    embed_dim: Size = 384,
    num_layers: Layers = 12,
    num_blocks: Annotated[Size, Divides("embed_dim")] = 8,
    mode_cut: Annotated[str, OneOf("height", "tokens", "axes")] = "tokens",
    double_skip: bool = False,
    options: AFNOOptions = OPTIONS,
) -> AFNOClassifier:
    """Build AFNO-transformer's classifier in the size of ViT-S/4: 16.6 M parameters, 80.9 % on ImageNet (published)."""
    sizes = (img_size, num_classes, in_chans, 4, embed_dim, num_layers, num_blocks)
    return AFNOClassifier(*sizes, mode_cut=mode_cut, double_skip=double_skip, **asdict(options))


FieldNetSizes = tuple[Sequence[int], int, int, int | Sequence[int], int, int, int]


def _afno(shape: FieldNetSizes, mode_cut: str, double_skip: bool, unused_norm: bool, options: AFNOOptions) -> AFNO:
    rest = asdict(options)
    return AFNO(*shape, mode_cut=mode_cut, double_skip=double_skip, unused_norm=unused_norm, **rest)
