"""SASRec: "Self-Attentive Sequential Recommendation" (Kang and McAuley, ICDM 2018), and two variants of this name.

A causal transformer reads the items of a user or session; the state of an event ranks the next item by its inner
products with the items' embeddings (section III). ``variant`` chooses the network (see README.md):

- ``official``, the authors': residual sums start from the normalised input, attention has no output projection, padding
  is masked. Positions count from the last event, which is at ``max_length - 1`` as in their left-padded windows.
- ``pmixer``, the widely used PyTorch code: ``nn.MultiheadAttention``, norms after (or before) each branch; padding is
  read like an item, so windows are padded at the left to ``max_length``.
- ``recbole``, RecBole's: BERT's blocks, positions count from the first event.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from lab.checking import check_choice, check_range
from lab.errors import ConfigError
from lab.layers.dropout import dropout as drop
from lab.models.sasrec import losses
from lab.models.sasrec.blocks import Block, OfficialBlock, PmixerBlock, RecboleBlock
from lab.models.sasrec.windows import EventWindows, cut_windows
from lab.ranges import Divides, Dropout, Layers, OneOf, Positive, Probability, Size
from lab.structures import Movable, SequenceBatch, SequenceTargets, Term

BLOCKS: dict[str, type[Block]] = {"official": OfficialBlock, "pmixer": PmixerBlock, "recbole": RecboleBlock}
NORMS = ("post", "pre", "query")
TARGETS = "targets"


@dataclass
class SASRecOutputs(Movable):
    """The outputs for the loss, at the T positions that have a target.

    Attributes:
        target_logits: (T,); None for ``ce``, and for an evaluation batch without negatives.
        negative_logits: (T, n); None in the same cases.
        cross_entropy: () sum over the T positions for ``ce``; otherwise None.
    """

    target_logits: Tensor | None = None
    negative_logits: Tensor | None = None
    cross_entropy: Tensor | None = None


class SASRec(nn.Module):
    """Rank the next item.

    Args:
        num_items: I; items are numbered 1 to I.
        variant: ``official``, ``pmixer`` or ``recbole``.
        max_length: the longest sequence that is read; of longer ones the last events.
        embed_dim: D.
        num_blocks: transformer blocks.
        num_heads: heads of each attention.
        feedforward_dim: hidden width of the feed-forward networks; None for D.
        dropout: probability of dropping embeddings, attention weights and hidden values in training.
        norm: only for ``pmixer``: ``post``, ``pre`` or ``query`` (see ``PmixerBlock``).
        loss: ``bce``, ``gbce``, ``sampled_ce`` (these need negatives: ``model.asks.num_negatives``) or ``ce``.
        calibration: t of ``gbce``.
        position_rows: only for ``pmixer``: rows of the position table, ``max_length + 1`` (row 0 is for padding), or
            ``max_length`` as until June 2024, when padding was set to zero before each block.

    Raises:
        ConfigError: an argument is not one of the choices above.
    """

    def __init__(
        self,
        num_items: Positive,
        variant: Annotated[str, OneOf("official", "pmixer", "recbole")] = "official",
        max_length: Size = 50,
        embed_dim: Size = 50,
        num_blocks: Layers = 2,
        num_heads: Annotated[Size, Divides("embed_dim")] = 1,
        feedforward_dim: Size | None = None,
        dropout: Dropout = 0.5,
        norm: Annotated[str, OneOf("post", "pre", "query")] = "post",
        loss: Annotated[str, OneOf("bce", "gbce", "sampled_ce", "ce")] = "bce",
        calibration: Probability = 0.75,
        position_rows: Positive | None = None,
    ) -> None:
        super().__init__()
        check_choice("variant", variant, BLOCKS)
        check_choice("norm", norm, NORMS)
        check_choice("loss", loss, losses.LOSSES)
        check_range("calibration", calibration, least=0, most=1)
        if norm != "post" and variant != "pmixer":
            raise ConfigError(f"norm={norm} works with variant=pmixer only, not with {variant}")
        rows = max_length + 1 if variant == "pmixer" and position_rows is None else position_rows or max_length
        if rows not in {max_length, max_length + (variant == "pmixer")}:
            raise ConfigError(f"position_rows={rows} must be max_length={max_length}, or one more with variant=pmixer")
        self.num_items, self.variant, self.max_length, self.rate = num_items, variant, max_length, dropout
        self.loss_name, self.calibration = loss, calibration
        self.item_emb = nn.Embedding(num_items + 1, embed_dim, padding_idx=0)
        # The position embedding of padding stays zero.
        self.pos_emb = nn.Embedding(rows, embed_dim, padding_idx=0 if rows > max_length else None)
        hidden = feedforward_dim or embed_dim
        self.blocks = nn.ModuleList(
            BLOCKS[variant](embed_dim, num_heads, hidden, dropout, norm) for _ in range(num_blocks)
        )
        # RecBole normalises the embeddings, the others the last states.
        self.norm = nn.LayerNorm(embed_dim, eps=1e-12 if variant == "recbole" else 1e-8)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise all parameters as the variant's code does."""
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                _fill_matrix(parameter, self.variant, fused=_FUSED.get(name.split(".")[-2], 1))
            elif name.endswith("bias") and (self.variant != "pmixer" or ".linear" not in name):
                parameter.zero_()  # pmixer keeps torch's initialisation for the biases of its convolutions
        self.item_emb.weight[0] = 0
        if len(self.pos_emb.weight) > self.max_length:
            self.pos_emb.weight[0] = 0

    def forward(self, batch: SequenceBatch) -> SASRecOutputs:
        """Compute the outputs for the loss at each position that has a target.

        Raises:
            ConfigError: sequences are longer than ``max_length``, or there are no negatives to learn from.
        """
        width = batch.items.shape[1]
        if width > self.max_length:
            raise ConfigError(f"sequences of {width} events are longer than model.net.max_length={self.max_length}")
        targets = batch.targets
        rows = torch.arange(len(batch.items), device=batch.items.device)
        windows = cut_windows(batch.items, rows, batch.lengths, self.max_length, self.variant == "pmixer")
        sources = windows.sources.clamp(min=0)
        asked = torch.where(windows.items > 0, targets.items.flatten()[sources], 0)
        chosen = torch.nonzero_static(asked, size=sum(targets.counts))[:, 0]
        states, items = self._states(windows)[chosen], asked[chosen]
        if self.loss_name == "ce":
            # Row 0 is for padding.
            return SASRecOutputs(cross_entropy=losses.ce(states, self.item_emb.weight[1:], items - 1))
        if targets.negatives is None and self.training:
            raise ConfigError(f"model.loss={self.loss_name} needs negatives: set model.asks.num_negatives")
        if targets.negatives is None:
            return SASRecOutputs()
        candidates = torch.cat([items[:, None], targets.negatives.flatten(0, 1)[sources[chosen]]], dim=1)
        logits = self.score(states, candidates)
        return SASRecOutputs(target_logits=logits[:, 0], negative_logits=logits[:, 1:])

    def totals(self, targets: SequenceTargets) -> Mapping[str, float]:
        """Return the number of positions that have a target."""
        return {TARGETS: float(sum(targets.counts))}

    def loss(self, outputs: SASRecOutputs, targets: SequenceTargets) -> dict[str, Term]:
        """Return the loss over all positions; empty in an evaluation without negatives."""
        value = outputs.cross_entropy
        if outputs.target_logits is not None and outputs.negative_logits is not None:
            value = self._sampled_loss(outputs.target_logits, outputs.negative_logits)
        if value is None:
            return {}
        return {f"loss_{self.loss_name}": Term(value, TARGETS)}

    def encode(self, batch: SequenceBatch, queries: Tensor) -> Tensor:
        """Return the states (Q, D) of the events in ``queries`` (Q, 2), each as the last event of its window."""
        left_padded = self.variant == "pmixer"
        windows = cut_windows(batch.items, queries[:, 0], queries[:, 1] + 1, self.max_length, left_padded)
        return self._states(windows)[windows.last]

    def score(self, states: Tensor, items: slice | Tensor) -> Tensor:
        """Return the inner products (Q, n) of states (Q, D) with a slice of the items, or with items (Q, n) each."""
        if isinstance(items, slice):
            return states @ self.item_emb.weight[items].T
        return (self.item_emb(items) @ states[:, :, None])[..., 0]

    def _states(self, windows: EventWindows) -> Tensor:
        """Return the state of each token (N, D)."""
        x = self.item_emb(windows.items)
        if self.variant == "recbole":
            x = drop(
                self.norm(x + self.pos_emb(windows.steps.clamp(max=self.max_length - 1))), self.rate, self.training
            )
        else:
            x = drop(x * math.sqrt(x.shape[-1]) + self._places(windows), self.rate, self.training)
        if self.variant == "pmixer":
            return self.norm(self._read_padding(x, windows))
        for block in self.blocks:
            x = block(x, windows.groups)
        return x if self.variant == "recbole" else self.norm(x)

    def _read_padding(self, x: Tensor, windows: EventWindows) -> Tensor:
        """Return what pmixer's blocks make of the tokens (N, D): those before the windows are read but not among them.

        Before the first block they are equal, since their embeddings are zero; dropout makes them differ after it.
        """
        groups = windows.groups
        count = sum(group[0] * group[2] for group in groups)
        if len(self.pos_emb.weight) == self.max_length:  # padding is zero before each block
            events, zero = (windows.items > 0)[:, None], x.new_zeros(1, x.shape[1]) if count else None
            for block in self.blocks:
                x, _ = block(x * events, groups, zero)
            return x
        paddings: Tensor | None = None
        if count:
            nothing = windows.items.new_zeros(1)
            paddings = self.item_emb(nothing) * math.sqrt(x.shape[-1]) + self.pos_emb(nothing)
            if self.training and self.rate and paddings.any():  # weights from elsewhere
                paddings = drop(paddings.expand(count, -1), self.rate, training=True)
        for number, block in enumerate(self.blocks, 1):
            x, paddings = block(x, groups, paddings, number == len(self.blocks))
        return x

    def _places(self, windows: EventWindows) -> Tensor:
        """Return the position embeddings of the tokens."""
        places = (windows.places + self.max_length - 1).clamp(max=self.max_length - 1)
        if len(self.pos_emb.weight) > self.max_length:
            places = torch.where(windows.items > 0, places + 1, 0)
        return self.pos_emb(places)

    def _sampled_loss(self, targets: Tensor, negatives: Tensor) -> Tensor:
        if self.loss_name == "gbce":
            return losses.gbce(targets, negatives, self.num_items, self.calibration)
        return losses.bce(targets, negatives) if self.loss_name == "bce" else losses.sampled_ce(targets, negatives)


_FUSED = {"key_value": 2}


def _fill_matrix(matrix: Tensor, variant: str, fused: int) -> None:
    """Initialise a matrix that consists of ``fused`` matrices, each separately."""
    if variant == "recbole":
        nn.init.normal_(matrix, std=0.02)
        return
    for part in matrix.chunk(fused):
        if variant == "official":
            nn.init.xavier_uniform_(part)
        else:
            nn.init.xavier_normal_(part)
