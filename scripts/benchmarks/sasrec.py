"""SASRec's training step and evaluation against pmixer's form of it, built from torch's own modules.

Sequences are generated with the lengths of Amazon Video (median 6, mean 9) in windows of 50; items follow a power law.
lab's network is ``sasrec_pmixer``, with the same arithmetic and weights. A training step is forward, loss, backward and
Adam on a batch that is in memory. The peer computes logits of all positions and then selects some. It evaluates like
pmixer's code: one user in a forward pass, ranked among 100 drawn items. lab ranks the same users among all items.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from benchmarks.pairs import Made, Pair, Size, loss_of
from torch import Tensor, nn

from lab import create_model
from lab.models.sasrec.weights import to_pmixer
from lab.structures import RecommendationSpec, SequenceBatch, SequenceTargets
from lab.tasks.recommendation.task import RecommendationTask
from lab.training.optimizers import make_optimizer

WIDTH, BLOCKS, NEGATIVES = 50, 2, 100
ADAM = {"name": "adam", "lr": 1e-3, "betas": [0.9, 0.98], "eps": 1e-8, "weight_decay": 0.0}
ADAM |= {"no_decay_norm_bias": False, "groups": []}
EVAL: dict[str, Any] = {"name": "ranking", "protocol": "full", "also": None, "ks": [10], "monitor": None}
EVAL |= {"ties": "standard", "exclude_seen": False, "exclude_train": False, "num_negatives": NEGATIVES}
EVAL |= {"distribution": "uniform", "seed": 0, "max_sequences": None, "top_k": 10}


class Feed(nn.Module):
    """Two convolutions of width 1."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(WIDTH, WIDTH, 1), nn.Conv1d(WIDTH, WIDTH, 1)
        self.dropout1, self.dropout2 = nn.Dropout(rate), nn.Dropout(rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D)."""
        hidden = self.dropout1(self.conv1(x.transpose(1, 2))).relu()
        out: Tensor = self.dropout2(self.conv2(hidden)).transpose(1, 2)
        return out


class Plain(nn.Module):
    """The network written with torch's modules: norms after each branch, windows padded at the left."""

    def __init__(self, num_items: int, length: int, rate: float) -> None:
        super().__init__()
        self.item_emb = nn.Embedding(num_items + 1, WIDTH, padding_idx=0)
        self.pos_emb = nn.Embedding(length + 1, WIDTH, padding_idx=0)
        self.drop = nn.Dropout(rate)
        self.attention_layernorms = nn.ModuleList(nn.LayerNorm(WIDTH, eps=1e-8) for _ in range(BLOCKS))
        self.attention_layers = nn.ModuleList(nn.MultiheadAttention(WIDTH, 1, rate) for _ in range(BLOCKS))
        self.forward_layernorms = nn.ModuleList(nn.LayerNorm(WIDTH, eps=1e-8) for _ in range(BLOCKS))
        self.forward_layers = nn.ModuleList(Feed(rate) for _ in range(BLOCKS))
        self.last_layernorm = nn.LayerNorm(WIDTH, eps=1e-8)

    def states(self, items: Tensor) -> Tensor:
        """Map windows (B, L) to (B, L, D)."""
        places = torch.arange(1, items.shape[1] + 1, device=items.device) * (items > 0)
        x = self.drop(self.item_emb(items) * WIDTH**0.5 + self.pos_emb(places))
        future = torch.ones(items.shape[1], items.shape[1], dtype=torch.bool, device=items.device).triu(1)
        parts = (self.attention_layernorms, self.attention_layers, self.forward_layernorms, self.forward_layers)
        for attention_norm, attention, forward_norm, feed in zip(*parts, strict=True):
            turned = x.transpose(0, 1)
            mixed, _ = attention(turned, turned, turned, attn_mask=future)
            x = attention_norm(turned + mixed).transpose(0, 1)
            x = forward_norm(x + feed(x))
        out: Tensor = self.last_layernorm(x)
        return out

    def loss(self, items: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
        """Binary cross-entropy with one negative a position; all (B, L), padded at the left."""
        states = self.states(items)
        own = (states * self.item_emb(targets)).sum(-1)
        other = (states * self.item_emb(negatives)).sum(-1)
        asked = targets > 0
        bce = nn.functional.binary_cross_entropy_with_logits
        own, other = own[asked], other[asked]
        return bce(own, torch.ones_like(own)) + bce(other, torch.zeros_like(other))

    def predict(self, items: Tensor, candidates: Tensor) -> Tensor:
        """Return the scores (n,) of candidates (n,) after a window (1, L)."""
        return self.item_emb(candidates) @ self.states(items)[0, -1]


def make_batch(count: int, length: int, num_items: int) -> SequenceBatch:
    """Return sequences with a target and a negative at every position."""
    generator = np.random.default_rng(0)
    lengths = np.minimum(generator.lognormal(1.8, 0.85, count).astype(np.int64) + 1, length)
    weights = 1 / np.arange(1, num_items + 1) ** 0.8
    real = np.arange(lengths.max()) < lengths[:, None]
    drawn = generator.choice(num_items, (count, real.shape[1] + 1), p=weights / weights.sum()) + 1
    negatives = generator.integers(1, num_items + 1, real.shape) * real
    items, following, others = (
        torch.from_numpy(table) for table in (drawn[:, :-1] * real, drawn[:, 1:] * real, negatives)
    )
    targets = SequenceTargets(following, tuple(lengths.tolist()), others[..., None])
    return SequenceBatch(
        items, torch.from_numpy(lengths), targets, torch.arange(count), torch.ones(count, dtype=torch.bool)
    )


def left_padded(table: Tensor, lengths: Tensor, length: int) -> Tensor:
    """Move each row's first entries, as many as given for it, to the right end of ``length`` columns."""
    columns = torch.arange(length) - (length - lengths)[:, None]
    return torch.where(columns >= 0, table.gather(1, columns.clamp(0, table.shape[1] - 1)), 0)


def make(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return lab's network and, for pmixer's form, the plain one; compared by the states of the last events.

    Args:
        name: a registered SASRec.
        batch: sequences.
        size: (length of the windows, items).
        device: to compute on.
        training: training mode.
        dropout: whether states and attention have dropout.
    """
    length, num_items = size
    rate, peer = (0.5 if dropout else 0.0), None
    if name == "sasrec_pmixer":
        ours, peer = networks(num_items, length, rate, device)
        peer.train(training)
    else:
        torch.manual_seed(0)
        rates = {"dropout": rate} if name == "sasrec" else {}
        ours = create_model(name, num_items=num_items, max_length=length, **rates).to(device)
    ours.train(training)
    found = make_batch(batch, length, num_items)
    windows = left_padded(found.items, found.lengths, length).to(device)
    queries = torch.stack([torch.arange(batch), found.lengths - 1], 1).to(device)
    found = found.to(device)
    pair = Pair(ours, lambda: ours.encode(found, queries), batch, lambda: loss_of(ours, ours(found), found.targets))
    if peer is not None:
        pair.peer, pair.peer_outputs = peer, lambda: peer.states(windows)[:, -1]
    return pair


def networks(num_items: int, length: int, rate: float, device: torch.device) -> tuple[Any, Plain]:
    """Return lab's network and the peer with the same weights."""
    torch.manual_seed(0)
    ours: Any = create_model("sasrec_pmixer", num_items=num_items, max_length=length, dropout=rate)
    peer = Plain(num_items, length, rate)
    peer.load_state_dict(to_pmixer(ours.state_dict()), strict=True)
    return ours.to(device), peer.to(device)


def sasrec_train(batch: int, size: Size, device: torch.device) -> Made:
    """A training step with dropout; compared by the loss without dropout.

    Args:
        batch: sequences.
        size: (length of the windows, items).
        device: to compute on.
    """
    length, num_items = size
    ours, peer = networks(num_items, length, 0.5, device)
    found = make_batch(batch, length, num_items)
    assert found.targets.negatives is not None
    tables = (found.items, found.targets.items, found.targets.negatives[..., 0])
    theirs = [left_padded(table, found.lengths, length).to(device) for table in tables]
    found = found.to(device)
    optimizer = make_optimizer(ours, ADAM, private=True)
    other = torch.optim.Adam(peer.parameters(), lr=1e-3, betas=(0.9, 0.98))

    def loss_of_ours() -> Tensor:
        return loss_of(ours, ours(found), found.targets)

    def run(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> Tensor:
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value.detach()

    ours.eval(), peer.eval()
    with torch.no_grad():
        difference = float(abs(loss_of_ours() / peer.loss(*theirs) - 1))
    ours.train(), peer.train()
    return lambda: run(loss_of_ours, optimizer), lambda: run(lambda: peer.loss(*theirs), other), difference


def sasrec_eval(batch: int, size: Size, device: torch.device) -> Made:
    """Evaluate the last event of ``batch`` users, lab among all items; compared by the scores of 101 items for each.

    Args:
        batch: users.
        size: (length of the windows, items).
        device: to compute on.
    """
    length, num_items = size
    ours, peer = (net.eval() for net in networks(num_items, length, 0.0, device))
    found = make_batch(batch, length, num_items)
    rows, last = torch.arange(batch), found.lengths - 1
    following = torch.zeros_like(found.items)
    following[rows, last] = found.targets.items[rows, last]
    found.targets = SequenceTargets(following, (1,) * batch)
    windows = left_padded(found.items, found.lengths, length)
    histories = [set(window.tolist()) for window in windows]
    names = tuple(str(number) for number in range(1, num_items + 1))
    spec = RecommendationSpec(item_names=names, num_sequences=batch, num_events=int(found.lengths.sum()))
    net = {"_target_": "sasrec_pmixer", "max_length": length}
    task = RecommendationTask(net, spec.to_plain(), ADAM, {"name": "constant", "warmup_steps": 0}, 1, EVAL)
    task.net.load_state_dict(ours.state_dict())
    task.to(device).eval()
    found = found.to(device)
    generator = np.random.default_rng(0)

    @torch.no_grad()
    def run_ours() -> dict[str, float]:
        task.evaluate("val", None, found)
        metrics = task.compute_metrics("val")
        task.reset_metrics("val")
        return metrics

    @torch.no_grad()
    def run_peer() -> tuple[float, float]:
        ndcg, hits = 0.0, 0
        for row, history in enumerate(histories):
            candidates = [int(following[row, last[row]])]
            while len(candidates) <= NEGATIVES:
                drawn = int(generator.integers(1, num_items + 1))
                if drawn not in history:
                    candidates.append(drawn)
            scores = peer.predict(windows[row, None].to(device), torch.tensor(candidates, device=device))
            rank = int((-scores).argsort().argsort()[0])
            if rank < 10:
                ndcg, hits = ndcg + 1 / np.log2(rank + 2), hits + 1
        return ndcg / batch, hits / batch

    with torch.no_grad():
        candidates = torch.arange(batch * 101, device=device).view(batch, 101) % num_items + 1
        places = torch.stack([rows, last], 1).to(device)
        mine = task.net.score(task.net.encode(found, places), candidates)
        theirs = torch.stack([peer.predict(windows[row, None].to(device), candidates[row]) for row in range(batch)])
        difference = float((mine - theirs).abs().max() / theirs.abs().max())
    return run_ours, run_peer, difference
