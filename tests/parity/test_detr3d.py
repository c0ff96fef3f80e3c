"""DETR3D's head against a slow form of the published maths: every query in every camera, masks by multiplication.

The form below is written from the paper and the description of the authors' code, on the names of their checkpoints,
with torch's own multi-head attention and ``grid_sample``.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.models.detr3d.criterion import LOSS_OPTIONS
from lab.models.detr3d.head import Detr3dHead
from lab.models.detr3d.nested import tree
from lab.models.detr3d.options import Detr3dOptions
from lab.registry.build import build
from tests.agreement import Compared
from tests.rigs import rig

CLASSES, CAMERAS, LEVELS, QUERIES, DIM, HEADS, LAYERS, FRAMES = 5, 6, 3, 40, 32, 4, 3, 2
IMAGE = (96, 160)
RANGE = (-20.0, -24.0, -2.0, 20.0, 24.0, 4.0)
OPTIONS = Detr3dOptions(
    num_classes=CLASSES,
    num_cameras=CAMERAS,
    point_range=RANGE,
    num_queries=QUERIES,
    embed_dim=DIM,
    num_heads=HEADS,
    num_layers=LAYERS,
    feedforward_dim=48,
    num_levels=LEVELS,
    backbone="conv_stem",
    backbone_indices=(1, 2),
    backbone_options={"widths": (8, 16)},
)
TOLERANCE = 1e-5
MUTANTS = ("cameras", "behind", "outside", "inverse_sigmoid", "softmax", "halves", "height", "identity")


PEER = Compared("detr3d", "a slow form by grid_sample")


def fill(module: nn.Module, seed: int = 0) -> None:
    """Fill all parameters, norm affines included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            scale = 1.0 / parameter.shape[-1] ** 0.5 if parameter.dim() > 1 and "embedding" not in name else 0.5
            scale *= 0.3 if "reg_branches" in name else 1.0
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * scale
            is_affine = parameter.dim() == 1 and name.endswith("weight")
            parameter.copy_(values + (1.0 if is_affine else 0.0))


def logit(x: Tensor, mutant: str = "") -> Tensor:
    if mutant == "inverse_sigmoid":
        return x
    return torch.log(x.clamp(0, 1).clamp(min=1e-5) / (1 - x.clamp(0, 1)).clamp(min=1e-5))


def slow_head(
    state: Mapping[str, Tensor], maps: list[Tensor], projections: Tensor, mutant: str = ""
) -> tuple[Tensor, Tensor]:
    """Return logits (L, B, Q, K) and codes (L, B, Q, 10) with centres in metres."""

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (x.shape[-1],), state[f"{name}.weight"], state[f"{name}.bias"])

    if mutant == "cameras":
        projections = projections.roll(1, dims=1)
    position, content = state["query_embedding.weight"].split(DIM, dim=1)
    if mutant == "halves":
        position, content = content, position
    position = position.expand(FRAMES, -1, -1)
    x = content.expand(FRAMES, -1, -1)
    reference = linear(position, "transformer.reference_points").sigmoid()
    low, high = (torch.tensor(RANGE[i : i + 3], dtype=x.dtype) for i in (0, 3))
    all_logits, all_codes = [], []
    for index in range(LAYERS):
        name = f"transformer.decoder.layers.{index}"
        attn = f"{name}.attentions.0.attn"
        placed = (x + position).transpose(0, 1)
        mixed, _ = F.multi_head_attention_forward(
            placed,
            placed,
            x.transpose(0, 1),
            DIM,
            HEADS,
            state[f"{attn}.in_proj_weight"],
            state[f"{attn}.in_proj_bias"],
            None,
            None,
            False,
            0.0,
            state[f"{attn}.out_proj.weight"],
            state[f"{attn}.out_proj.bias"],
            training=False,
        )
        x = norm(x + mixed.transpose(0, 1), f"{name}.norms.0")

        cross = f"{name}.attentions.1"
        metres = reference * (high - low) + low
        homogeneous = torch.cat([metres, torch.ones_like(metres[..., :1])], -1)
        weights = linear(x + position, f"{cross}.attention_weights").view(FRAMES, QUERIES, CAMERAS, LEVELS)
        weights = weights.flatten(2).softmax(-1).view_as(weights) if mutant == "softmax" else weights.sigmoid()
        total = torch.zeros_like(x)
        for frame in range(FRAMES):
            for camera in range(CAMERAS):
                seen = homogeneous[frame] @ projections[frame, camera].T
                depth = seen[:, 2:3]
                divisor = depth if mutant == "behind" else torch.maximum(depth, torch.full_like(depth, 1e-5))
                uv = seen[:, :2] / divisor / torch.tensor([IMAGE[1], IMAGE[0]], dtype=x.dtype)
                uv = (uv - 0.5) * 2
                mask = ((uv > -1) & (uv < 1)).all(-1)
                if mutant != "behind":
                    mask &= depth[:, 0] > 1e-5
                if mutant == "outside":
                    mask = torch.ones_like(mask)
                for level in range(LEVELS):
                    features = maps[level][frame * CAMERAS + camera][None]
                    sampled = F.grid_sample(features, uv[None, :, None], align_corners=False)[0, :, :, 0].T
                    share = weights[frame, :, camera, level] * mask
                    total[frame] = total[frame] + sampled.nan_to_num() * share[:, None]
        encoded = logit(reference)
        for step in (0, 3):
            encoded = linear(encoded, f"{cross}.position_encoder.{step}")
            encoded = norm(encoded, f"{cross}.position_encoder.{step + 1}").relu()
        identity = x + position if mutant == "identity" else x
        x = norm(linear(total, f"{cross}.output_proj") + identity + encoded, f"{name}.norms.1")
        hidden = linear(x, f"{name}.ffns.0.layers.0.0").relu()
        x = norm(x + linear(hidden, f"{name}.ffns.0.layers.1"), f"{name}.norms.2")

        hidden = x
        for step in (0, 3):
            hidden = norm(linear(hidden, f"cls_branches.{index}.{step}"), f"cls_branches.{index}.{step + 1}").relu()
        all_logits.append(linear(hidden, f"cls_branches.{index}.6"))
        raw = x
        for step in (0, 2):
            raw = linear(raw, f"reg_branches.{index}.{step}").relu()
        raw = linear(raw, f"reg_branches.{index}.4")
        height = 2 if mutant == "height" else 4
        places = torch.stack([raw[..., 0], raw[..., 1], raw[..., height]], -1)
        center = (places + logit(reference, mutant)).sigmoid()
        metres = center * (high - low) + low
        rest = [raw[..., i] for i in range(10)]
        rest[0], rest[1], rest[4] = metres.unbind(-1)
        all_codes.append(torch.stack(rest, -1))
        reference = center.detach()
    return torch.stack(all_logits), torch.stack(all_codes)


def make_head(dtype: torch.dtype) -> Detr3dHead:
    head: Detr3dHead = build(tree(OPTIONS, LOSS_OPTIONS)["pts_bbox_head"])
    fill(head)
    return head.to(dtype).eval()


def make_inputs(dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.randn(FRAMES * CAMERAS, DIM, 3, 5, generator=generator, dtype=torch.float64) / 2
    sizes = [(12, 20), (6, 10), (3, 5)]
    maps = [F.interpolate(coarse, size, mode="bilinear") for size in sizes]  # smooth, as those of pictures
    return [item.to(dtype) for item in maps], rig(CAMERAS, FRAMES, IMAGE).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_head_equals_the_slow_form(dtype: torch.dtype) -> None:
    """Worst measured: float32 2.4e-6 of logits and 3.8e-6 of codes (up to 24 m), float64 1.4e-14."""
    head, (maps, projections) = make_head(dtype), make_inputs(dtype)
    with torch.no_grad():
        found = head(maps, projections, IMAGE)
        logits, codes = slow_head(dict(head.named_parameters()), maps, projections)
    scale = 1.0 if dtype == torch.float32 else 1e-6
    precision = "" if dtype == torch.float32 else " in double precision"
    for what, mine, peer in (("logits", found.all_logits, logits), ("codes", found.all_codes, codes)):
        apart = float(((mine - peer).abs() / (1 + peer.abs())).max())
        assert PEER.agrees(f"{what}{precision}", apart, TOLERANCE * scale)


def test_gradients_equal_those_of_the_slow_form() -> None:
    """Of all parameters, the features and the projections, in float64. Worst measured: 2.2e-14 of the largest."""
    head, (maps, projections) = make_head(torch.float64), make_inputs(torch.float64)
    wanted = [*head.parameters(), *maps, projections]
    for item in wanted:
        item.requires_grad_()
    found = head(maps, projections, IMAGE)
    generator = torch.Generator().manual_seed(5)
    mix = [torch.randn(item.shape, generator=generator).double() for item in (found.all_logits, found.all_codes)]

    def gradients(logits: Tensor, codes: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((logits * mix[0]).sum() + (codes * mix[1]).sum(), wanted)

    ours = gradients(found.all_logits, found.all_codes)
    theirs = gradients(*slow_head(dict(head.named_parameters()), maps, projections))
    worst = max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-12)) for a, b in zip(ours, theirs, strict=True))
    assert PEER.agrees("gradients in double precision", worst, 1e-9)
    assert all(item.abs().max() > 0 for item in ours)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_seen(mutant: str) -> None:
    head, (maps, projections) = make_head(torch.float32), make_inputs(torch.float32)
    with torch.no_grad():
        found = head(maps, projections, IMAGE)
        logits, codes = slow_head(dict(head.named_parameters()), maps, projections, mutant)
    worst = max(float((found.all_logits - logits).abs().max()), float((found.all_codes - codes).abs().max()))
    assert worst > 100 * TOLERANCE
