"""The head of DETR3D: queries, transformer, and for each layer a branch for classes and one for boxes.

Parameters have the names of the authors' code.

Names: B frames, N cameras, Q ``num_queries``, K classes, D ``embed_dim``, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lab.layers.linear import Linear
from lab.models.detr3d.coder import CENTER, CODE_SIZE, BoxCoder
from lab.models.detr3d.criterion import LOSS_OPTIONS, Detr3dCriterion, Detr3dLossOptions
from lab.models.detr3d.sampling import Views
from lab.models.detr3d.transformer import Detr3dTransformer, with_center
from lab.ranges import Layers, Size

PRIOR = 0.01  # initial probability of a focal classifier: Lin et al., "Focal Loss", 2017, section 4.1


@dataclass
class Detr3dOutputs:
    """The network's outputs of every layer.

    Attributes:
        all_logits: (L, B, Q, K).
        all_codes: (L, B, Q, 10), see ``lab.models.detr3d.coder``; float32, centres in metres.
    """

    all_logits: Tensor
    all_codes: Tensor


class Detr3dHead(nn.Module):
    """From features of all cameras to logits and codes.

    Args:
        transformer: decodes the queries.
        bbox_coder: has the range.
        num_classes: K.
        num_queries: Q.
        num_branch_layers: hidden layers of each branch.
        loss_options: the numbers of matching and loss.

    Attributes:
        views_type: how points are looked up.
    """

    views_type: type[Views] = Views

    def __init__(
        self,
        transformer: Detr3dTransformer,
        bbox_coder: BoxCoder,
        num_classes: Size = 10,
        num_queries: Size = 900,
        num_branch_layers: Layers = 2,
        loss_options: Detr3dLossOptions = LOSS_OPTIONS,
    ) -> None:
        super().__init__()
        self.transformer = transformer
        self.bbox_coder = bbox_coder
        self.num_classes, self.num_queries = num_classes, num_queries
        width, count = transformer.embed_dim, transformer.decoder.num_layers
        self.cls_branches = nn.ModuleList(class_branch(width, num_classes, num_branch_layers) for _ in range(count))
        self.reg_branches = nn.ModuleList(box_branch(width, num_branch_layers) for _ in range(count))
        self.query_embedding = nn.Embedding(num_queries, 2 * width)
        self.criterion = Detr3dCriterion(num_queries, loss_options)

    def forward(self, maps: Sequence[Tensor], projections: Tensor, image_size: tuple[int, int]) -> Detr3dOutputs:
        """Detect.

        Args:
            maps: of each level (B * N, D, h, w).
            projections: (B, N, 4, 4) rig to pixels.
            image_size: (height, width) of the padded pictures.
        """
        views = self.views_type.of(maps, projections, self.bbox_coder.point_range, image_size)
        states, codes = self.transformer(self.query_embedding.weight, views, self.reg_branches)
        logits = [branch(state) for branch, state in zip(self.cls_branches, states, strict=True)]
        stacked = torch.stack(codes)
        centers = self.bbox_coder.to_metres(stacked[..., CENTER])
        return Detr3dOutputs(torch.stack(logits), with_center(stacked, centers))


def class_branch(width: int, num_classes: int, num_layers: int) -> nn.Sequential:
    """Return linear layers with layer norm and ReLU, and the classifier."""
    parts: list[nn.Module] = []
    for _ in range(num_layers):
        parts += [Linear(width, width), nn.LayerNorm(width), nn.ReLU()]
    last = Linear(width, num_classes)
    nn.init.constant_(last.bias, math.log(PRIOR / (1 - PRIOR)))
    return nn.Sequential(*parts, last)


def box_branch(width: int, num_layers: int) -> nn.Sequential:
    """Return linear layers with ReLU, and the map to a code."""
    parts: list[nn.Module] = []
    for _ in range(num_layers):
        parts += [Linear(width, width), nn.ReLU()]
    return nn.Sequential(*parts, Linear(width, CODE_SIZE))
