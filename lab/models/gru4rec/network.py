"""GRU4Rec: a GRU reads sessions, and each of its states scores the possible next items.

Hidasi, Karatzoglou, Baltrunas and Tikk, "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016;
Hidasi and Karatzoglou, "Recurrent Neural Networks with Top-k Gains for Session-based Recommendations", CIKM 2018.
Parameters and arithmetic are those of the authors' PyTorch code, whose item ``i`` is our item ``i + 1``.

Shapes: m lanes of a batch, B lanes in all, h the width of the last layer, C candidates of a step (each item once), I
items, Q queries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from lab.checking import check_range
from lab.errors import CheckpointError, ConfigError
from lab.layers.row_table import RowTable
from lab.models.gru4rec.cells import GRUCell, GRUEmbedding
from lab.models.gru4rec.losses import lane_loss
from lab.ranges import Dropout, MinLen, NonNegative, Size
from lab.structures import LaneBatch, LaneTargets, SequenceBatch, Term

LANES = "lanes"
"""The normaliser of the loss: the configured number of lanes, including lanes that have ended."""


@dataclass
class GRU4RecOutputs:
    """The network's outputs for a step.

    Attributes:
        states: (m, h) states of the lanes.
        rows: (C, h) output embeddings of the candidates.
        bias: (C, 1) their biases.
    """

    states: Tensor
    rows: Tensor
    bias: Tensor


class GRU4Rec(nn.Module):
    """GRU4Rec, trained on lanes (``LaneBatch``), without gradients through time.

    Args:
        num_items: I.
        layers: width of each GRU layer.
        embedding: the input embeddings: ``constrained``: the output embeddings; ``separate``: another table; ``none``:
            none, the first layer's input matrix is the table (``GRUEmbedding``).
        embed_dim: width of the separate table; None for that of the first layer.
        loss: see ``lab.models.gru4rec.losses``.
        logq: exponent of the correction for sampling frequencies in ``cross_entropy``; 0 for none.
        bpreg: weight of the score regularisation of ``bpr_max``.
        elu: alpha of the ELU on the scores of ``bpr_max``; 0 for none.
        dropout_embed: dropout of the inputs; with ``embedding=none`` of the first layer's states.
        dropout_hidden: dropout of each layer's states; states are carried to the next step after dropout.

    Raises:
        ConfigError: a width or a dropout is impossible.
    """

    batching = "lanes"

    def __init__(
        self,
        num_items: int,
        layers: Annotated[Sequence[Size], MinLen(1)] = (100,),
        embedding: Literal["constrained", "separate", "none"] = "constrained",
        embed_dim: Size | None = None,
        loss: Literal["cross_entropy", "bpr_max", "bpr", "top1", "top1_max"] = "cross_entropy",
        logq: NonNegative = 0.0,
        bpreg: NonNegative = 1.0,
        elu: NonNegative = 0.5,
        dropout_embed: Dropout = 0.0,
        dropout_hidden: Dropout = 0.0,
    ) -> None:
        super().__init__()
        if not layers or min(layers) < 1:
            raise ConfigError(f"layers={list(layers)}: the width of each layer, one layer at least")
        check_range("dropout_embed", dropout_embed, least=0, below=1)
        check_range("dropout_hidden", dropout_hidden, least=0, below=1)
        if embed_dim is not None and embedding != "separate":
            raise ConfigError(f"embed_dim={embed_dim} is of embedding=separate, not of embedding={embedding}")
        self.num_items, self.layers, self.embedding = num_items, tuple(layers), embedding
        self.loss_kind, self.logq, self.bpreg, self.elu = loss, logq, bpreg, elu
        inputs = layers[-1]
        if embedding == "separate":
            inputs = embed_dim or layers[0]
            self.E = RowTable(num_items, inputs)
        elif embedding == "none":
            self.GE = GRUEmbedding(num_items, layers[0])
        widths = [inputs, *layers] if embedding != "none" else list(layers)
        self.G = nn.ModuleList(GRUCell(*pair) for pair in pairwise(widths))
        self.drop_embed, self.drop_hidden = nn.Dropout(dropout_embed), nn.Dropout(dropout_hidden)
        self.Wy = RowTable(num_items, layers[-1])
        self.By = RowTable(num_items, 1)
        self.reset_parameters()
        self._hidden: list[Tensor] = []
        self._own: Tensor | None = None

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw every matrix from U(-s, s), s = sqrt(6 / (rows + columns)) of each gate's block; biases are zero."""
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2 or name == "By.weight":
                nn.init.zeros_(parameter)
                continue
            rows, columns = parameter.shape
            gates = {"weight_ih": (3, 1), "weight_hh": (3, 1), "Wrz0": (1, 2)}.get(name.rpartition(".")[2], (1, 1))
            if name == "GE.Wx0.weight":
                gates = (1, 3)
            bound = math.sqrt(6 / (rows / gates[0] + columns / gates[1]))
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, batch: LaneBatch) -> GRU4RecOutputs:
        """Read one event in each lane; in training the lanes' states are updated."""
        candidates, count = batch.targets.items - 1, len(batch.targets.items)
        bias, _ = self.By.find(candidates, count, batch.slots[:0])
        if self.embedding == "constrained":
            rows, inputs = self.Wy.find(batch.touched - 1, count, batch.touched_slots)
        else:
            rows, _ = self.Wy.find(candidates, count, batch.slots[:0])
            table = self.E if self.embedding == "separate" else self.GE.Wx0
            _, inputs = table.find(batch.current - 1, 0, batch.slots)
        hidden = self._resume(batch, inputs)
        states = self._layers(inputs, hidden)
        if self.training:
            for before, state in zip(self._hidden, states, strict=True):
                before.index_copy_(0, batch.lanes, state.detach().to(before.dtype))
        return GRU4RecOutputs(states[-1], rows, bias)

    def _layers(self, inputs: Tensor, hidden: Sequence[Tensor]) -> list[Tensor]:
        """Return the next state of each layer, after dropout.

        Args:
            inputs: (m, d) embeddings, or (m, 3h) rows of the first layer's table.
            hidden: (m, width) of each layer.
        """
        states: list[Tensor] = []
        if self.embedding == "none":
            states.append(self.drop_embed(self.GE(inputs, hidden[0])))
        else:
            inputs = self.drop_embed(inputs)
        for cell, state in zip(self.G, hidden[len(states) :], strict=True):
            states.append(self.drop_hidden(cell(states[-1] if states else inputs, state)))
        return states

    def _resume(self, batch: LaneBatch, like: Tensor) -> list[Tensor]:
        """Return the state of each lane in each layer, zero where a session begins."""
        if self._own is None or len(self._own) != batch.num_lanes:
            self._hidden = [like.new_zeros(batch.num_lanes, width) for width in self.layers]
            self._own = torch.zeros(batch.num_lanes, dtype=torch.bool, device=like.device)
        elif self._own.device != like.device:
            self._hidden = [kept.to(like.device) for kept in self._hidden]
            self._own = self._own.to(like.device)
        if self.training:
            self._own.index_fill_(0, batch.lanes, True)
        goes_on = (~batch.starts)[:, None].to(like.dtype)
        return [kept.index_select(0, batch.lanes).to(like.dtype) * goes_on for kept in self._hidden]

    def totals(self, targets: LaneTargets) -> Mapping[str, float]:
        """Return this batch's share of the configured lanes, including ended ones: the authors' divisor."""
        return {LANES: targets.share}

    def loss(self, outputs: GRU4RecOutputs, targets: LaneTargets) -> dict[str, Term]:
        """Return the loss over the lanes, to be divided by the configured number of lanes."""
        states, rows, bias = outputs.states, outputs.rows, outputs.bias.squeeze(1)
        total = lane_loss(self.loss_kind, states, rows, bias, targets, self.logq, self.bpreg, self.elu)
        return {f"loss_{self.loss_kind}": Term(total, LANES)}

    def encode(self, batch: SequenceBatch, queries: Tensor) -> Tensor:
        """Return the last layer's states (Q, h) at the queries; every sequence starts with a state of zero.

        Args:
            batch: (B, L) items.
            queries: (Q, 2) (row, position).
        """
        items = (batch.items - 1).clamp(min=0)
        if self.embedding == "none":
            table = self.GE.Wx0.weight
        else:
            table = self.Wy.weight if self.embedding == "constrained" else self.E.weight
        hidden = [table.new_zeros(len(items), width) for width in self.layers]
        states = []
        for step in items.unbind(dim=1):
            hidden = self._layers(table.index_select(0, step), hidden)
            states.append(hidden[-1])
        return torch.stack(states, dim=1)[queries[:, 0], queries[:, 1]]

    def score(self, states: Tensor, items: slice | Tensor) -> Tensor:
        """Return the scores (Q, n) of some items.

        Args:
            states: (Q, h).
            items: ``slice(first, last)`` of item numbers, or (Q, n) item numbers; 0 gets the score of item 1.
        """
        if isinstance(items, slice):
            rows = slice(items.start - 1, items.stop - 1)
            return torch.addmm(self.By.weight[rows, 0], states, self.Wy.weight[rows].T)
        numbers = (items - 1).clamp(min=0)
        return (self.Wy(numbers) @ states[:, :, None]).squeeze(2) + self.By(numbers).squeeze(2)

    def training_state(self) -> dict[str, Tensor]:
        """Return the states of the lanes, zero for lanes of other ranks, so that the ranks' states can be added up.

        Returns:
            ``hidden.<layer>`` (B, width) for each layer; nothing before the first step.
        """
        if self._own is None:
            return {}
        own = self._own[:, None]
        return {f"hidden.{number}": kept * own for number, kept in enumerate(self._hidden)}

    def remember(self) -> Callable[[], None]:
        """Return a function that restores the lanes' current states."""
        hidden, own = [kept.clone() for kept in self._hidden], None if self._own is None else self._own.clone()

        def put_back() -> None:
            self._hidden, self._own = [kept.clone() for kept in hidden], None if own is None else own.clone()

        return put_back

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the states of all lanes, the sum of ``training_state`` over the ranks.

        Raises:
            CheckpointError: they do not fit the layers.
        """
        if not state:
            self._hidden, self._own = [], None
            return
        device = self.Wy.weight.device
        found = [state[name].to(device, copy=True) for name in sorted(state, key=lambda name: int(name[7:]))]
        widths = [kept.shape[1] for kept in found]
        if widths != list(self.layers):
            raise CheckpointError(f"the checkpoint's lanes have states of widths {widths}, not {list(self.layers)}")
        self._hidden = found
        self._own = torch.zeros(len(found[0]), dtype=torch.bool, device=device)
