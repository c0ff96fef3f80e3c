"""A decoder whose queries are boxes: conditional cross-attention, anchors refined layer by layer.

Meng et al., "Conditional DETR for Fast Training Convergence", ICCV 2021, section 3.3, and Liu et al., "DAB-DETR:
Dynamic Anchor Boxes are Better Queries for DETR", ICLR 2022, section 4. README.md lists the differences from them.

Each query's content and position are projected separately and concatenated in every head, so that positions are
compared with positions and content with content. Both papers project the memory in every layer; here all layers share
one matrix product, as the memory is the same for all of them.

Names: B images, S positions of the feature map, G groups, Q queries of a group, D ``embed_dim``, L layers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lab.layers.attention import attend
from lab.layers.mlp import MLP
from lab.layers.position import encode_boxes
from lab.layers.transformer import activation_function
from lab.ops.precision import full_precision

EPSILON = 1e-5  # anchors stay within EPSILON..1 - EPSILON
LOGIT_LIMIT = math.log((1 - EPSILON) / EPSILON)


def spread_anchors(num_queries: int, size: float = 0.3) -> Tensor:
    """Return (num_queries, 4) logits of boxes of the same size whose centres cover the image evenly.

    The centres follow the additive recurrence with the plastic number (Roberts, "The Unreasonable Effectiveness of
    Quasirandom Sequences", 2018): every prefix of the sequence is evenly spread too.
    """
    plastic = 1.32471795724474602596
    steps = torch.tensor([1 / plastic, 1 / plastic**2], dtype=torch.float64)
    centers = (0.5 + torch.arange(1, num_queries + 1, dtype=torch.float64)[:, None] * steps) % 1.0
    return torch.cat((centers, torch.full_like(centers, size)), dim=1).logit(eps=EPSILON).float()


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Turn (..., D) into (..., num_heads, D / num_heads)."""
    return x.unflatten(-1, (num_heads, -1))


class FusedLinear(nn.Linear):
    """Several linear maps of one input as one matrix product; each is initialised separately by Xavier's uniform rule.

    Args:
        embed_dim: D, the width of the input and of each output.
        count: number of maps.
    """

    def __init__(self, embed_dim: int, count: int) -> None:
        self.count = count
        super().__init__(embed_dim, count * embed_dim)

    def reset_parameters(self) -> None:
        """Initialise every block of the matrix, and zero the bias."""
        for block in self.weight.detach().chunk(self.count):
            nn.init.xavier_uniform_(block)
        nn.init.zeros_(self.bias)

    def parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map (..., D) to ``count`` tensors (..., D)."""
        return self(x).chunk(self.count, dim=-1)


class AnchorDecoderLayer(nn.Module):
    """Self-attention of the queries, conditional cross-attention, a feed-forward network.

    Args:
        embed_dim: D.
        num_heads: heads of both attentions.
        feedforward_dim: hidden width of the feed-forward net.
        dropout: probability, on attention weights, between the two linear layers and on the residual branches.
        activation: ``relu``, ``gelu`` or ``silu``.
        is_first: the first layer adds the position to the content, as there is no content yet.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, feedforward_dim: int, dropout: float, activation: str, is_first: bool
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_dropout = dropout
        self.self_content = FusedLinear(embed_dim, 3)  # queries, keys, values
        self.self_place = FusedLinear(embed_dim, 2)  # queries, keys
        self.self_out = nn.Linear(embed_dim, embed_dim)
        self.cross_content = nn.Linear(embed_dim, embed_dim)
        self.cross_first = nn.Linear(embed_dim, embed_dim) if is_first else None
        self.cross_place = nn.Linear(embed_dim, embed_dim)
        self.cross_out = nn.Linear(embed_dim, embed_dim)
        self.linear1 = nn.Linear(embed_dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, embed_dim)
        self.norm1 = nn.LayerNorm(embed_dim)
        self.norm2 = nn.LayerNorm(embed_dim)
        self.norm3 = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.activation = activation_function(activation)

    def forward(
        self,
        x: Tensor,
        query_position: Tensor,
        query_sine: Tensor,
        memory: tuple[Tensor, Tensor, Tensor],
        mask: Tensor | None,
        num_groups: int,
    ) -> Tensor:
        """Refine the queries.

        Args:
            x: (B, G * Q, D).
            query_position: (B, G * Q, D) learned code of each anchor.
            query_sine: (B, G * Q, D) sine code of each anchor's centre, scaled.
            memory: projected content keys, place keys and values, each (B or 1, S, D).
            mask: (B, 1, 1, S) bool, True where attention is allowed.
            num_groups: G; queries attend to those of their own group only.

        Returns:
            (B, G * Q, D).
        """
        x = self.norm1(x + self.dropout(self.attend_queries(x, query_position, num_groups)))
        x = self.norm2(x + self.dropout(self.attend_memory(x, query_position, query_sine, memory, mask)))
        hidden = self.dropout(self.activation(self.linear1(x)))
        return self.norm3(x + self.dropout(self.linear2(hidden)))

    def attend_queries(self, x: Tensor, query_position: Tensor, num_groups: int) -> Tensor:
        """Self-attention within each group."""
        query, key, value = self.self_content.parts(x)
        query_place, key_place = self.self_place.parts(query_position)
        grouped = [
            tensor.unflatten(1, (num_groups, -1)).flatten(0, 1)
            for tensor in (query + query_place, key + key_place, value)
        ]
        mixed = attend(grouped[0], grouped[1], grouped[2], self.num_heads, dropout=self._dropout_now())
        return self.self_out(mixed.unflatten(0, (-1, num_groups)).flatten(1, 2))

    def attend_memory(
        self,
        x: Tensor,
        query_position: Tensor,
        query_sine: Tensor,
        memory: tuple[Tensor, Tensor, Tensor],
        mask: Tensor | None,
    ) -> Tensor:
        """Cross-attention by content and position: the score is the sum of both products."""
        key, key_place, value = memory
        query = self.cross_content(x)
        if self.cross_first is not None:
            query, key = query + self.cross_first(query_position), key + key_place
        query_place = self.cross_place(query_sine)
        queries = torch.cat([split_heads(part, self.num_heads) for part in (query, query_place)], dim=-1).flatten(-2)
        parts = [split_heads(part.expand_as(value), self.num_heads) for part in (key, key_place)]
        keys = torch.cat(parts, dim=-1).flatten(-2)
        return self.cross_out(attend(queries, keys, value, self.num_heads, mask, self._dropout_now()))

    def _dropout_now(self) -> float:
        return self.attention_dropout if self.training else 0.0


class AnchorDecoder(nn.Module):
    """A stack of ``AnchorDecoderLayer`` that refines boxes.

    Args:
        num_layers: L.
        embed_dim: D, a multiple of 4.
        num_heads: heads of both attentions of a layer.
        feedforward_dim: hidden width of the feed-forward nets.
        dropout: probability in every layer.
        activation: ``relu``, ``gelu`` or ``silu``.
        temperature: of the sine code of the anchors.
    """

    def __init__(
        self,
        num_layers: int,
        embed_dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float = 0.1,
        activation: str = "relu",
        temperature: float = 10000.0,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.temperature = temperature
        self.layers = nn.ModuleList(
            AnchorDecoderLayer(embed_dim, num_heads, feedforward_dim, dropout, activation, is_first=index == 0)
            for index in range(num_layers)
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.memory_proj = FusedLinear(embed_dim, 2 * num_layers)  # keys of all layers, values of all layers
        self.place_proj = FusedLinear(embed_dim, num_layers)
        self.position_head = MLP(2 * embed_dim, embed_dim, embed_dim, 2)
        self.sine_scale = MLP(embed_dim, embed_dim, embed_dim, 2)
        self.size_head = MLP(embed_dim, embed_dim, 2, 2)
        for module in self.modules():
            if isinstance(module, nn.Linear) and not isinstance(module, FusedLinear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(
        self,
        anchors: Tensor,
        memory: Tensor,
        position: Tensor,
        box_head: nn.Module,
        mask: Tensor | None = None,
        num_groups: int = 1,
        content: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode.

        Args:
            anchors: (B, G * Q, 4) logits of cxcywh in 0..1.
            memory: (B, S, D), the encoder's output.
            position: (B or 1, S, D) encoding of the positions.
            box_head: maps states (..., D) to corrections (..., 4) of the anchors' logits.
            mask: (B, 1, 1, S) bool, True where attention is allowed.
            num_groups: G.
            content: (B, G * Q, D) initial content of the queries; None for zeros.

        Returns:
            Normalised states (L, B, G * Q, D) and boxes (L, B, G * Q, 4), cxcywh in 0..1.
        """
        num_layers = len(self.layers)
        keys_values = self.memory_proj.parts(memory)
        places = self.place_proj.parts(position)
        x = memory.new_zeros(*anchors.shape[:2], self.embed_dim) if content is None else content
        logits = full_precision(anchors)
        states, boxes = [], []
        for index, layer in enumerate(self.layers):
            box = logits.detach().sigmoid() if index else logits.sigmoid()
            query_position, query_sine = self.encode_anchors(box, x, is_first=index == 0)
            projected = (keys_values[index], places[index], keys_values[num_layers + index])
            x = layer(x, query_position, query_sine, projected, mask, num_groups)
            states.append(self.norm(x))
            logits = logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT) + full_precision(box_head(states[-1]))
            boxes.append(logits.sigmoid())
        return torch.stack(states), torch.stack(boxes)

    def encode_anchors(self, box: Tensor, x: Tensor, is_first: bool) -> tuple[Tensor, Tensor]:
        """Return the learned code and the scaled sine code, each (B, G * Q, D), of boxes (B, G * Q, 4)."""
        code = encode_boxes(box, self.embed_dim // 2, self.temperature).to(x.dtype)
        sine = code[..., : self.embed_dim]
        if not is_first:
            sine = sine * self.sine_scale(x)
        # The wider the box, the flatter the attention along that side: DAB-DETR, equation 8. The code is y, then x.
        ratio = (self.size_head(x).sigmoid() / box[..., 2:].to(x.dtype)).flip(-1)
        sine = (sine.unflatten(-1, (2, -1)) * ratio[..., None]).flatten(-2)
        return self.position_head(code), sine
