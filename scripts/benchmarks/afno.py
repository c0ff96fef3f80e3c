"""AFNO networks beside the published form of plain torch: all modes, zero-filled buffers, a product for each part."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from benchmarks.pairs import Made, Pair, Size, fill_norms, step_of, worst
from torch import Tensor, nn
from torch.nn import functional as F

from lab import create_model
from lab.models.afno.filters import AFNO2D


class PublishedFilter(nn.Module):
    """The mixing of tokens as FourCastNet's code computes it, with the weights of ours."""

    def __init__(self, ours: Any) -> None:
        super().__init__()
        self.w1, self.b1, self.w2, self.b2 = (
            nn.Parameter(w.detach().clone()) for w in (ours.w1, ours.b1, ours.w2, ours.b2)
        )
        self.sparsity, self.keep_modes, self.cut = ours.sparsity, ours.keep_modes, ours.mode_cut

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        _, height, width, channels = x.shape
        modes = torch.fft.rfft2(x.float(), dim=(1, 2), norm="ortho").unflatten(3, (self.w1.shape[1], -1))
        total = (height if self.cut == "height" else height * width) // 2 + 1
        kept = int(total * self.keep_modes)
        rows = slice(total - kept, total + kept) if self.cut == "height" else slice(None)
        part = modes[:, rows, :kept]
        real, imaginary = self._layer(modes, (part.real, part.imag), self.w1, self.b1, (rows, kept), F.relu)
        parts = (real[:, rows, :kept], imaginary[:, rows, :kept])
        found = torch.stack(self._layer(modes, parts, self.w2, self.b2, (rows, kept)), dim=-1)
        found = torch.view_as_complex(F.softshrink(found, self.sparsity)).reshape(*modes.shape[:3], channels)
        return torch.fft.irfft2(found, s=(height, width), dim=(1, 2), norm="ortho").type(x.dtype) + x

    def _layer(
        self,
        modes: Tensor,
        parts: tuple[Tensor, Tensor],
        weight: Tensor,
        bias: Tensor,
        kept: tuple[slice, int],
        activation: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        def product(part: Tensor, matrix: Tensor) -> Tensor:
            return torch.einsum("...bi,bio->...bo", part, matrix)

        (real, imaginary), act = parts, activation or (lambda value: value)
        shape = (*modes.shape[:4], weight.shape[-1])
        out_real, out_imaginary = torch.zeros(shape, device=weight.device), torch.zeros(shape, device=weight.device)
        place = (slice(None), kept[0], slice(kept[1]))
        out_real[place] = act(product(real, weight[0]) - product(imaginary, weight[1]) + bias[0])
        out_imaginary[place] = act(product(imaginary, weight[0]) + product(real, weight[1]) + bias[1])
        return out_real, out_imaginary


class _PublishedBlock(nn.Module):
    def __init__(self, ours: Any) -> None:
        super().__init__()
        dim = ours.norm1.normalized_shape[0]
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.filter = PublishedFilter(ours.filter)
        self.mlp = nn.Module()
        self.mlp.fc1 = nn.Linear(dim, ours.mlp.fc1.out_features)
        self.mlp.fc2 = nn.Linear(ours.mlp.fc1.out_features, dim)
        self.double_skip = ours.double_skip
        self.load_state_dict(ours.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.filter(self.norm1(x))
        if self.double_skip:
            mixed = x = mixed + x
        return self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(mixed)))) + x


class PublishedNetwork(nn.Module):
    """The whole network, fields to fields or images to logits, with the weights of ours."""

    def __init__(self, ours: Any) -> None:
        super().__init__()
        patches = ours.patch_embed.proj
        self.proj = nn.Conv2d(patches.in_channels, patches.out_channels, patches.kernel_size, patches.stride)
        self.proj.load_state_dict(patches.state_dict())
        self.pos_embed = nn.Parameter(ours.pos_embed.detach().clone())
        self.blocks = nn.Sequential(*(_PublishedBlock(block) for block in ours.blocks))
        self.norm: nn.Module | None = None
        if ours.head.bias is not None:
            self.norm = nn.LayerNorm(patches.out_channels, eps=1e-6)
            self.norm.load_state_dict(ours.norm.state_dict())
        self.head = nn.Linear(patches.out_channels, ours.head.out_features, bias=self.norm is not None)
        self.head.load_state_dict(ours.head.state_dict())

    def forward(self, fields: Tensor) -> Tensor:
        """Return what ours returns."""
        x = self.proj(fields)
        grid = x.shape[2:]
        x = self.blocks((x.flatten(2).transpose(1, 2) + self.pos_embed).unflatten(1, grid))
        if self.norm is not None:
            return self.head(self.norm(x.flatten(1, 2)).mean(1))
        sides = self.proj.kernel_size
        x = self.head(x).unflatten(3, (sides[0], sides[1], -1))
        return torch.einsum("bhwpqc->bchpwq", x).reshape(len(x), -1, *fields.shape[2:])


def make(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return an AFNO and its published form, see ``benchmarks.pairs.Make``.

    Args:
        name: a registered model.
        batch: fields or images.
        size: (H, W) of the grid; (1, N) for a series.
        device: to compute on.
        training: training mode.
        dropout: has no meaning here: nothing is dropped by default.
    """
    torch.manual_seed(0)
    if name == "afno_imagenet":
        ours: Any = create_model(name, img_size=size[0])
    elif name == "afno1d":
        ours = create_model(name, image_size=size[1:])
    else:
        ours = create_model(name, image_size=size, mode_cut="height" if name == "afno_fourcastnet" else "tokens")
    fill_norms(ours)
    ours = ours.to(device).train(training)
    peer = PublishedNetwork(ours).to(device).train(training)
    shape = size[1:] if name == "afno1d" else size
    fields = torch.randn(batch, ours.in_channels, *shape, generator=torch.Generator().manual_seed(1)).to(device)

    def theirs() -> Tensor:
        found: Tensor = peer(fields) if name != "afno1d" else peer(fields.unsqueeze(2)).squeeze(2)
        return found

    return Pair(
        ours,
        lambda: ours(fields),
        batch,
        lambda: ours(fields).square().mean(),
        peer,
        theirs,
        lambda: theirs().square().mean(),
    )


def make_precipitation(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return the precipitation network, without a peer; ``size`` is the grid (H, W)."""
    torch.manual_seed(0)
    ours: Any = create_model(name, image_size=size)
    fill_norms(ours)
    ours = ours.to(device).train(training)
    fields = torch.randn(batch, 20, *size, generator=torch.Generator().manual_seed(1)).to(device)
    return Pair(ours, lambda: ours(fields), batch, lambda: ours(fields).square().mean())


def filters(batch: int, size: Size, device: torch.device) -> tuple[nn.Module, nn.Module, Tensor]:
    """Return FourCastNet's mixing of tokens on a grid (768 channels, 8 blocks), its published form, and tokens."""
    torch.manual_seed(0)
    ours = AFNO2D(768, 8)
    for weight in (ours.w1, ours.w2):
        nn.init.normal_(weight, std=1 / math.sqrt(96))
    tokens = torch.randn(batch, *size, 768, generator=torch.Generator().manual_seed(1))
    return ours.to(device), PublishedFilter(ours).to(device), tokens.to(device)


def mixing_row(batch: int, size: Size, device: torch.device) -> Made:
    """Inference of the mixing of tokens alone."""
    ours, peer, tokens = filters(batch, size, device)
    mine, theirs = (torch.inference_mode()(call) for call in (lambda: ours(tokens), lambda: peer(tokens)))
    return mine, theirs, worst(mine(), theirs())


def mixing_step_row(batch: int, size: Size, device: torch.device) -> Made:
    """Forward and backward of the mixing of tokens alone, gradients of tokens and weights."""
    ours, peer, tokens = filters(batch, size, device)
    leaf = tokens.requires_grad_()

    def loss(net: nn.Module) -> Callable[[], Tensor]:
        def call() -> Tensor:
            leaf.grad = None
            return net(leaf).square().mean()

        return call

    difference = worst(ours(leaf).detach(), peer(leaf).detach())
    return step_of(ours, loss(ours)), step_of(peer, loss(peer)), difference
