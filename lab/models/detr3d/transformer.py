"""The decoder of DETR3D: queries that attend to each other and look up their reference points in all cameras.

Wang et al., "DETR3D", CoRL 2021, section 3.2. Parameters have the names of the authors' code (``decoder.layers``,
``attentions``, ``ffns``, ``norms``), so its checkpoints load.

Names: B frames, N cameras, V levels of features, Q queries, D ``embed_dim``, L layers.
"""

from __future__ import annotations

import copy
from typing import Annotated

import torch
from torch import Tensor, nn

from lab.checking import check_choice, check_range
from lab.errors import ConfigError
from lab.layers.attention import MultiheadAttention
from lab.layers.dropout import CheapDropout
from lab.layers.linear import Linear
from lab.layers.transformer import fill_matrices
from lab.models.detr3d.coder import CENTER, inverse_sigmoid
from lab.models.detr3d.sampling import Views
from lab.ops.precision import full_precision
from lab.ranges import Divides, Dropout, Layers, OneOf, Size

REFERENCES = ("learned", "spread")


class QuerySelfAttention(nn.Module):
    """Attention of the queries to each other, with its residual sum.

    Args:
        embed_dim: D.
        num_heads: divides ``embed_dim``.
        dropout: probability for attention weights and for the residual branch.
    """

    def __init__(
        self, embed_dim: Size = 256, num_heads: Annotated[Size, Divides("embed_dim")] = 8, dropout: Dropout = 0.1
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.attn = MultiheadAttention(embed_dim, num_heads, dropout)
        self.dropout = CheapDropout(dropout)

    def forward(self, x: Tensor, query_position: Tensor, reference: Tensor, views: Views) -> Tensor:
        """Map (B, Q, D) to (B, Q, D); values carry no position, ``reference`` and ``views`` are not used."""
        placed = x + query_position
        return x + self.dropout(self.attn(placed, placed, x))


class CameraCrossAttention(nn.Module):
    """Features at the reference points, weighted by a sigmoid for each camera and level.

    The residual sum has the queries without their positions, and an encoding of the reference points.

    Args:
        embed_dim: D, the channels of the features too.
        num_cameras: N; each camera has weights of its own.
        num_levels: V.
        dropout: probability for the residual branch.
    """

    def __init__(
        self, embed_dim: Size = 256, num_cameras: Size = 6, num_levels: Size = 4, dropout: Dropout = 0.1
    ) -> None:
        super().__init__()
        self.embed_dim, self.num_cameras, self.num_levels = embed_dim, num_cameras, num_levels
        self.attention_weights = nn.Linear(embed_dim, num_cameras * num_levels)
        self.output_proj = Linear(embed_dim, embed_dim)
        self.position_encoder = nn.Sequential(
            nn.Linear(3, embed_dim),
            nn.LayerNorm(embed_dim),
            nn.ReLU(),
            Linear(embed_dim, embed_dim),
            nn.LayerNorm(embed_dim),
            nn.ReLU(),
        )
        self.dropout = CheapDropout(dropout)

    def begin(self) -> None:
        """Give every camera and level the same weight, one half."""
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        nn.init.zeros_(self.output_proj.bias)

    def forward(self, x: Tensor, query_position: Tensor, reference: Tensor, views: Views) -> Tensor:
        """Map (B, Q, D) to (B, Q, D); ``reference`` (B, Q, 3) in 0..1 of the range.

        Raises:
            ConfigError: the batch has another number of cameras or levels.
        """
        found = (views.matrices.shape[1], len(views.sizes))
        if found != (self.num_cameras, self.num_levels):
            raise ConfigError(
                f"the network has weights for {self.num_cameras} cameras and {self.num_levels} levels of features, the "
                f"batch has {found[0]} and {found[1]}"
            )
        weights = self.attention_weights(x + query_position).unflatten(-1, found).sigmoid()
        sampled = self.output_proj(views.sample(reference, weights).to(x.dtype))
        position: Tensor = self.position_encoder(inverse_sigmoid(reference).to(x.dtype))
        return self.dropout(sampled) + x + position


class QueryFeedForward(nn.Module):
    """Two linear layers with ReLU between them, and the residual sum.

    Args:
        embed_dim: D.
        hidden_dim: features between the layers.
        dropout: probability behind each layer.
    """

    def __init__(self, embed_dim: Size = 256, hidden_dim: Size = 512, dropout: Dropout = 0.1) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        inner = nn.Sequential(Linear(embed_dim, hidden_dim), nn.ReLU(), CheapDropout(dropout))
        self.layers = nn.Sequential(inner, Linear(hidden_dim, embed_dim), CheapDropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Q, D) to (B, Q, D)."""
        added: Tensor = self.layers(x)
        return x + added


class Detr3dDecoderLayer(nn.Module):
    """Self-attention, attention to the cameras, feed-forward network; a layer norm behind each.

    Args:
        self_attention: of the queries.
        cross_attention: to the cameras.
        feed_forward: the last part.

    Raises:
        ConfigError: the parts have different widths.
    """

    def __init__(
        self, self_attention: QuerySelfAttention, cross_attention: CameraCrossAttention, feed_forward: QueryFeedForward
    ) -> None:
        super().__init__()
        widths = [self_attention.embed_dim, cross_attention.embed_dim, feed_forward.embed_dim]
        if len(set(widths)) > 1:
            raise ConfigError(f"self_attention, cross_attention and feed_forward have the widths {widths}, not one")
        self.embed_dim = widths[0]
        self.attentions = nn.ModuleList([self_attention, cross_attention])
        self.ffns = nn.ModuleList([feed_forward])
        self.norms = nn.ModuleList(nn.LayerNorm(self.embed_dim) for _ in range(3))

    def forward(self, x: Tensor, query_position: Tensor, reference: Tensor, views: Views) -> Tensor:
        """Map (B, Q, D) to (B, Q, D)."""
        for attention, norm in zip(self.attentions, self.norms, strict=False):
            x = norm(attention(x, query_position, reference, views))
        out: Tensor = self.norms[2](self.ffns[0](x))
        return out


class Detr3dDecoder(nn.Module):
    """Layers of the same kind, each of which refines the reference points; no norm at the end.

    Args:
        layer: one layer; each layer of the decoder is a copy of it with weights of its own.
        num_layers: L.
    """

    def __init__(self, layer: Detr3dDecoderLayer, num_layers: Layers = 6) -> None:
        super().__init__()
        check_range("num_layers", num_layers, least=1)
        self.embed_dim = layer.embed_dim
        self.num_layers = num_layers
        self.layers = nn.ModuleList(fresh_copy(layer) for _ in range(num_layers))

    def forward(
        self, x: Tensor, query_position: Tensor, reference: Tensor, views: Views, branches: nn.ModuleList
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Decode.

        Args:
            x: (B, Q, D).
            query_position: (B, Q, D).
            reference: (B, Q, 3) in 0..1 of the range.
            views: features and cameras.
            branches: of each layer, states (B, Q, D) to raw codes (B, Q, 10).

        Returns:
            Of each layer the states (B, Q, D), and the codes (B, Q, 10) with centres in 0..1 of the range: the raw
            numbers of the centre are added to the logit of the layer's reference point, which is the centre that the
            layer before found; no gradient passes from layer to layer by way of it.
        """
        states, codes = [], []
        for layer, branch in zip(self.layers, branches, strict=True):
            x = layer(x, query_position, reference, views)
            raw = full_precision(branch(x))
            center = (raw[..., CENTER] + inverse_sigmoid(reference)).sigmoid()
            codes.append(with_center(raw, center))
            states.append(x)
            reference = center.detach()
        return states, codes


class Detr3dTransformer(nn.Module):
    """Reference points of the queries, and the decoder.

    Args:
        decoder: of the layers.
        references: ``learned``: a linear map of the queries' positions; ``spread``: a parameter for each query that
            begins on a grid over the ground, in the middle of the range's height.
        num_queries: Q; needed by ``spread`` only.

    Raises:
        ConfigError: an unknown word, or ``spread`` without a number of queries.
    """

    def __init__(
        self,
        decoder: Detr3dDecoder,
        references: Annotated[str, OneOf("learned", "spread")] = "learned",
        num_queries: Size | None = None,
    ) -> None:
        super().__init__()
        check_choice("references", references, REFERENCES)
        self.decoder = decoder
        self.embed_dim = decoder.embed_dim
        fill_matrices(self)
        for part in decoder.modules():
            if isinstance(part, CameraCrossAttention):
                part.begin()
        if references == "learned":
            self.reference_points: nn.Module = nn.Linear(self.embed_dim, 3)
            nn.init.xavier_uniform_(self.reference_points.weight)
            nn.init.zeros_(self.reference_points.bias)
        elif num_queries is None:
            raise ConfigError("references=spread needs num_queries")
        else:
            self.reference_points = nn.Embedding(num_queries, 3, _weight=inverse_sigmoid(spread_points(num_queries)))

    def forward(self, queries: Tensor, views: Views, branches: nn.ModuleList) -> tuple[list[Tensor], list[Tensor]]:
        """Decode queries (Q, 2 D), of which the first half is their position; see ``Detr3dDecoder``."""
        num_frames = len(views.matrices)
        position, content = (part.expand(num_frames, -1, -1) for part in queries.split(self.embed_dim, dim=1))
        if isinstance(self.reference_points, nn.Embedding):
            reference = self.reference_points.weight.expand(num_frames, -1, -1)
        else:
            reference = self.reference_points(position)
        return self.decoder(content, position, full_precision(reference).sigmoid(), views, branches)


def fresh_copy(module: nn.Module) -> nn.Module:
    """Return a copy with weights of its own."""
    copied = copy.deepcopy(module)
    for part in copied.modules():
        if isinstance(part, nn.Linear | nn.LayerNorm):
            part.reset_parameters()
    return copied


def with_center(raw: Tensor, center: Tensor) -> Tensor:
    """Return codes (..., 10) with other centres (..., 3)."""
    return torch.cat([center[..., :2], raw[..., 2:4], center[..., 2:], raw[..., 5:]], -1)


def spread_points(count: int) -> Tensor:
    """Return (count, 3) in 0..1: the ground in rows of equal length as far as possible, half of the height."""
    rows = max(1, round(count**0.5))
    sizes = [count // rows + (row < count % rows) for row in range(rows)]
    points = [((i + 0.5) / size, (row + 0.5) / rows, 0.5) for row, size in enumerate(sizes) for i in range(size)]
    return torch.tensor(points)
