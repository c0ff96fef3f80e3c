"""Anchors proposed by the encoder: every position predicts classes and a box, and the best positions become queries.

Zhu et al., "Deformable DETR", ICLR 2021, section 4.2 (two-stage); as there, a query's content comes from its position.
README.md lists the differences.

Names: B images, S positions of the feature map (h rows, w columns), D ``embed_dim``, Q ``num_queries``, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lab.layers.mlp import MLP
from lab.ops.precision import full_precision

ABSENT = -1e4  # logit of a class at a padded position: probability 0 in every precision, and finite


class ProposalHead(nn.Module):
    """Classes and a box for each position of the encoder's memory.

    Args:
        embed_dim: D.
        num_classes: K.
        size: width and height, as shares of the image, of a position's initial box.
    """

    def __init__(self, embed_dim: int, num_classes: int, size: float = 0.3) -> None:
        super().__init__()
        self.size = size
        self.class_embed = nn.Linear(embed_dim, num_classes)
        self.bbox_embed = MLP(embed_dim, embed_dim, 4, 2)
        self.content = nn.Linear(embed_dim, embed_dim)
        for parameter in self.bbox_embed.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, memory: Tensor, height: int, width: int, padding_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Propose.

        Args:
            memory: (B, S, D), the encoder's output.
            height: h.
            width: w.
            padding_mask: (B, h, w) bool, True where padded; None when nothing is padded.

        Returns:
            Class logits (B, S, K) and the logits (B, S, 4) of boxes, cxcywh in 0..1 of each unpadded image.
        """
        if padding_mask is None:
            padding_mask = torch.zeros(1, height, width, dtype=torch.bool, device=memory.device)
            logits = self.class_embed(memory)
        else:
            logits = self.class_embed(memory).masked_fill(padding_mask.flatten(1)[..., None], ABSENT)
        return logits, full_precision(self.bbox_embed(memory)) + place_logits(~padding_mask, self.size)

    def select(self, memory: Tensor, logits: Tensor, boxes: Tensor, num_queries: int) -> tuple[Tensor, Tensor]:
        """Select the positions whose best class is most likely.

        Args:
            memory: (B, S, D).
            logits: (B, S, K).
            boxes: (B, S, 4) logits.
            num_queries: Q; fewer are returned if there are fewer positions.

        Returns:
            The queries' content (B, Q, D) and their anchors (B, Q, 4), logits without gradient.
        """
        best = logits.detach().amax(-1).topk(min(num_queries, logits.shape[1]), dim=1).indices[..., None]
        content = self.content(memory.gather(1, best.expand(-1, -1, memory.shape[-1])))
        return content, boxes.detach().gather(1, best.expand(-1, -1, 4))


def place_logits(inside: Tensor, size: float) -> Tensor:
    """Return (B, h * w, 4) logits of a box of one size at each position of ``inside`` (B, h, w), True in the image."""
    rows, columns = inside.cumsum(1, dtype=torch.float32), inside.cumsum(2, dtype=torch.float32)
    y = (rows - 0.5) / rows[:, -1:].clamp(min=1)
    x = (columns - 0.5) / columns[:, :, -1:].clamp(min=1)
    side = torch.full_like(x, size)
    return torch.stack((x, y, side, side), dim=-1).flatten(1, 2).logit(eps=1e-3)
