"""The three SASRecs against each one's published arithmetic, put together here from torch's own parts or in numpy.

Every reference reads one window, padded as its code pads it. Compared are the states that ``encode`` gives (at several
positions, of sequences shorter and longer than the window), the logits of each position in training, and for the torch
references the gradient of the loss by every parameter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from lab import create_model
from lab.models.sasrec.network import SASRec
from lab.models.sasrec.weights import convert, from_pmixer, from_recbole, to_pmixer, to_recbole
from lab.structures import SequenceBatch, SequenceTargets
from lab.training.terms import batch_terms
from tests.agreement import Compared

ITEMS, LONGEST, WIDTH, HEADS, BLOCKS = 30, 7, 16, 2, 2
TOLERANCE = 1e-5
Floats = npt.NDArray[np.float64]
State = Callable[[list[int]], Tensor]
"""Maps the events of a window to the states (n, D) of all of them."""


PEER = Compared("sasrec", "the authors' arithmetic, written again", ("sasrec",))
PMIXER_PEER = Compared("sasrec", "pmixer's arithmetic, written again", ("sasrec_pmixer",))
RECBOLE = Compared("sasrec", "RecBole's arithmetic, written again", ("sasrec_recbole",))


def make_net(name: str, **changes: object) -> SASRec:
    """Return a network in evaluation, every parameter away from what it is initialised to."""
    net = create_model(name, num_items=ITEMS, max_length=LONGEST, embed_dim=WIDTH, num_heads=HEADS, **changes).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, value in net.named_parameters():
            noise = torch.rand(value.shape, generator=generator) - 0.5
            value.copy_(noise + 1 if "norm" in key and key.endswith("weight") else noise)
        net.item_emb.weight[0] = 0
        if len(net.pos_emb.weight) > LONGEST:
            net.pos_emb.weight[0] = 0
    return net


def make_batch(lengths: list[int], negatives: int = 2) -> SequenceBatch:
    """Return sequences of these lengths; some events have no target."""
    generator = torch.Generator().manual_seed(1)
    shape = (len(lengths), max(lengths))
    real = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    items = torch.randint(1, ITEMS + 1, shape, generator=generator) * real
    asked = real & (torch.rand(shape, generator=generator) < 0.8)
    following = torch.randint(1, ITEMS + 1, shape, generator=generator) * asked
    others = torch.randint(1, ITEMS + 1, (*shape, negatives), generator=generator) * asked[..., None]
    targets = SequenceTargets(following, tuple(asked.sum(1).tolist()), others)
    ids, valid = torch.arange(len(lengths)), torch.ones(len(lengths), dtype=torch.bool)
    return SequenceBatch(items, torch.tensor(lengths), targets, ids, valid)


def padded(window: list[int]) -> Tensor:
    return torch.tensor([[0] * (LONGEST - len(window)) + window])


class Feed(nn.Module):
    """pmixer's feed-forward net: convolutions of width 1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(WIDTH, WIDTH, 1), nn.Conv1d(WIDTH, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D)."""
        out: Tensor = self.conv2(self.conv1(x.transpose(1, 2)).relu()).transpose(1, 2)
        return out


class Pmixer(nn.Module):
    """pmixer's layout, of the versions since May 2025 (``post``, ``pre``) and before (``query``)."""

    def __init__(self, norm: str, rows: int, mutant: str = "") -> None:
        super().__init__()
        self.item_emb = nn.Embedding(ITEMS + 1, WIDTH, padding_idx=0)
        self.pos_emb = nn.Embedding(rows, WIDTH, padding_idx=0 if rows > LONGEST else None)
        self.attention_layernorms = nn.ModuleList(nn.LayerNorm(WIDTH, eps=1e-8) for _ in range(BLOCKS))
        self.attention_layers = nn.ModuleList(nn.MultiheadAttention(WIDTH, HEADS) for _ in range(BLOCKS))
        self.forward_layernorms = nn.ModuleList(nn.LayerNorm(WIDTH, eps=1e-8) for _ in range(BLOCKS))
        self.forward_layers = nn.ModuleList(Feed() for _ in range(BLOCKS))
        self.last_layernorm = nn.LayerNorm(WIDTH, eps=1e-8)
        self.norm, self.mutant = norm, mutant

    def forward(self, window: list[int]) -> Tensor:
        """Return the states (n, D) of a window's events."""
        items = padded(window)
        real = items > 0
        x = self.item_emb(items) * math.sqrt(WIDTH)
        if len(self.pos_emb.weight) > LONGEST:
            places = torch.arange(1, LONGEST + 1) * real
        else:
            places = torch.arange(LONGEST)[None]
        if self.mutant != "no places":
            x = x + self.pos_emb(places)
        kept = real[..., None] if len(self.pos_emb.weight) == LONGEST else 1
        future = torch.ones(LONGEST, LONGEST, dtype=torch.bool).triu(1)
        if self.mutant == "no causal mask":
            future = torch.zeros_like(future)
        parts = zip(
            self.attention_layernorms,
            self.attention_layers,
            self.forward_layernorms,
            self.forward_layers,
            strict=True,
        )
        for attention_norm, attention, forward_norm, feed in parts:
            x = x * kept

            def mix(query: Tensor, keys: Tensor, attention: nn.Module = attention) -> Tensor:
                query, keys = query.transpose(0, 1), keys.transpose(0, 1)
                hidden = ~real if self.mutant == "pads masked" else None
                found: Tensor = attention(query, keys, keys, attn_mask=future, key_padding_mask=hidden)[0]
                return found.transpose(0, 1).nan_to_num()

            if self.norm == "post":
                x = attention_norm(x + mix(x, x))
                x = forward_norm(x + feed(x))
            elif self.norm == "pre":
                normed = attention_norm(x)
                x = x + mix(normed, normed)
                x = x + feed(forward_norm(x))
            else:
                normed = attention_norm(x)
                x = forward_norm((x if self.mutant == "residual" else normed) + mix(normed, x))
                x = x + feed(x)
        states: Tensor = self.last_layernorm(x)[0, LONGEST - len(window) :]
        return states


class Recbole(nn.Module):
    """RecBole's layout: BERT's blocks are torch's encoder layers with GELU and norms behind."""

    def __init__(self, net: SASRec, mutant: str = "") -> None:
        super().__init__()
        theirs = to_recbole(net.state_dict())
        self.items, self.places = theirs["item_embedding.weight"], theirs["position_embedding.weight"]
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.norm.load_state_dict({"weight": theirs["LayerNorm.weight"], "bias": theirs["LayerNorm.bias"]})
        self.layers = nn.ModuleList()
        for number in range(BLOCKS):
            layer = nn.TransformerEncoderLayer(
                WIDTH, HEADS, 24, activation="gelu", layer_norm_eps=1e-12, batch_first=True
            )
            name = f"trm_encoder.layer.{number}."
            keys = {"self_attn.out_proj": "multi_head_attention.dense", "norm1": "multi_head_attention.LayerNorm"}
            keys |= {"linear1": "feed_forward.dense_1", "linear2": "feed_forward.dense_2"}
            keys |= {"norm2": "feed_forward.LayerNorm"}
            loaded = {
                f"{ours}.{k}": theirs[f"{name}{key}.{k}"] for ours, key in keys.items() for k in ("weight", "bias")
            }
            for k in ("weight", "bias"):
                parts = [theirs[f"{name}multi_head_attention.{part}.{k}"] for part in ("query", "key", "value")]
                loaded[f"self_attn.in_proj_{k}"] = torch.cat(parts)
            layer.load_state_dict(loaded)
            self.layers.append(layer)
        self.mutant = mutant
        self.eval()

    def forward(self, window: list[int]) -> Tensor:
        """Return the states (n, D) of a window's events, padded at the right."""
        items = torch.tensor([window + [0] * (LONGEST - len(window))])
        places = self.places if self.mutant != "no places" else torch.zeros_like(self.places)
        x = self.norm(self.items[items] + places)
        future = torch.ones(LONGEST, LONGEST, dtype=torch.bool).triu(1)
        if self.mutant == "no causal mask":
            future = torch.zeros_like(future)
        hidden = items == 0 if self.mutant != "pads read" else None
        for layer in self.layers:
            x = layer(x, src_mask=future, src_key_padding_mask=hidden)
        return x[0, : len(window)]


def layer_norm(x: Floats, weights: Mapping[str, Floats], name: str) -> Floats:
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return weights[f"{name}.weight"] * (x - mean) / (variance + 1e-8) ** 0.5 + weights[f"{name}.bias"]


class Official:
    """The authors' forward pass in numpy (float64)."""

    def __init__(self, net: SASRec, mutant: str = "") -> None:
        self.weights = {key: value.double().numpy() for key, value in net.state_dict().items()}
        self.mutant = mutant

    def dense(self, x: Floats, name: str, rows: slice = slice(None)) -> Floats:
        return x @ self.weights[f"{name}.weight"][rows].T + self.weights[f"{name}.bias"][rows]

    def attend(self, queries: Floats, keys: Floats, name: str) -> Floats:
        query = self.dense(queries, f"{name}.query")
        key = self.dense(keys, f"{name}.key_value", slice(0, WIDTH))
        value = self.dense(keys, f"{name}.key_value", slice(WIDTH, None))
        width, mixed = WIDTH // HEADS, []
        masks = np.sign(np.abs(keys).sum(-1))
        for head in range(HEADS):
            part = slice(head * width, (head + 1) * width)
            logits = query[:, part] @ key[:, part].T / width**0.5
            if self.mutant != "pads read":
                logits = np.where(masks[None, :] == 0, -(2.0**32) + 1, logits)
            if self.mutant != "no causal mask":
                logits = np.where(np.tril(np.ones_like(logits)) == 0, -(2.0**32) + 1, logits)
            shares = np.exp(logits - logits.max(-1, keepdims=True))
            shares /= shares.sum(-1, keepdims=True)
            shares *= np.sign(np.abs(queries).sum(-1))[:, None]
            mixed.append(shares @ value[:, part])
        return np.concatenate(mixed, axis=-1)

    def __call__(self, window: list[int]) -> Tensor:
        items = padded(window)[0].numpy()
        mask = (items != 0)[:, None]
        x = self.weights["item_emb.weight"][items] * WIDTH**0.5
        if self.mutant != "no places":
            x = x + self.weights["pos_emb.weight"]
        x = x * mask
        for number in range(BLOCKS):
            name = f"blocks.{number}"
            normed = layer_norm(x, self.weights, f"{name}.attention_norm")
            x = (x if self.mutant == "residual" else normed) + self.attend(normed, x, name)
            x = layer_norm(x, self.weights, f"{name}.feedforward_norm")
            x = x + self.dense(np.maximum(self.dense(x, f"{name}.linear1"), 0), f"{name}.linear2")
            x = x * mask
        states = layer_norm(x, self.weights, "norm")
        return torch.from_numpy(states[LONGEST - len(window) :]).float()


def error_of_states(net: SASRec, reference: State) -> float:
    """Return the worst error of a state: at several events of sequences shorter and longer than the window."""
    batch = make_batch([1, 3, LONGEST, LONGEST + 1, 2 * LONGEST + 3, 5])
    queries = torch.tensor([[0, 0], [4, 16], [1, 0], [1, 2], [4, 3], [2, 6], [3, 7], [3, 6], [4, 9], [5, 1], [5, 4]])
    with torch.no_grad():
        states = net.encode(batch, queries)
        scores = net.score(states, slice(1, ITEMS + 1))
        some = torch.arange(len(queries) * 3).view(-1, 3) % ITEMS + 1
        torch.testing.assert_close(net.score(states, some), scores.gather(1, some - 1), atol=1e-5, rtol=0)
        worst = 0.0
        for (row, position), state, score in zip(queries.tolist(), states, scores, strict=True):
            window = batch.items[row, : position + 1].tolist()[-LONGEST:]
            expected = reference(window)[-1]
            worst = max(worst, float((state - expected).abs().max()))
            others = net.item_emb.weight[1:] @ expected
            worst = max(worst, float((score - others).abs().max() / others.abs().max()))
    return worst


def reference_logits(reference: State, weight: Tensor, batch: SequenceBatch, row: int) -> tuple[Tensor, Tensor]:
    window = batch.items[row, : batch.lengths[row]].tolist()
    asked = batch.targets.items[row, : len(window)]
    assert batch.targets.negatives is not None
    chosen = asked > 0
    states = reference(window)[chosen]
    negatives = batch.targets.negatives[row, : len(window)][chosen]
    return (states * weight[asked[chosen]]).sum(-1), (states[:, None] * weight[negatives]).sum(-1)


def error_of_logits(net: SASRec, reference: State) -> float:
    """Return the worst relative error of a training batch's logits, each sequence by itself."""
    batch, worst = make_batch([1, 3, LONGEST, 5, 2]), 0.0
    with torch.no_grad():
        for row in range(len(batch.items)):
            expected = torch.cat(
                [part.flatten() for part in reference_logits(reference, net.item_emb.weight, batch, row)]
            )
            found = net(batch.rows(slice(row, row + 1)))
            ours = torch.cat([found.target_logits.flatten(), found.negative_logits.flatten()])
            if len(expected):
                worst = max(worst, float((ours - expected).abs().max() / expected.abs().max()))
    return worst


def test_official() -> None:
    """The authors' arithmetic; padding is masked, so leaving it out changes nothing."""
    net = make_net("sasrec")
    reference = Official(net)
    assert PEER.agrees("states", error_of_states(net, reference), TOLERANCE)  # worst 4.8e-7
    assert PEER.agrees("logits", error_of_logits(net, reference), TOLERANCE)  # worst 2.5e-7


@pytest.mark.parametrize("mutant", ["residual", "no causal mask", "no places", "pads read"])
def test_mutants_of_official(mutant: str) -> None:
    """What is easily got wrong is seen (least error of a mutant 0.6)."""
    net = make_net("sasrec")
    assert error_of_logits(net, Official(net, mutant)) > 100 * TOLERANCE


PMIXER = [("post", LONGEST + 1), ("pre", LONGEST + 1), ("query", LONGEST), ("query", LONGEST + 1), ("post", LONGEST)]


def pmixer_pair(norm: str, rows: int, mutant: str = "") -> tuple[SASRec, Pmixer]:
    net = make_net("sasrec_pmixer", norm=norm, position_rows=rows)
    reference = Pmixer(norm, rows, mutant).eval()
    reference.load_state_dict(to_pmixer(net.state_dict()), strict=True)
    return net, reference


@pytest.mark.parametrize(("norm", "rows"), PMIXER)
def test_pmixer(norm: str, rows: int) -> None:
    """States, logits, and the gradient of the loss by every parameter, in one batch."""
    net, reference = pmixer_pair(norm, rows)
    assert PMIXER_PEER.agrees("states", error_of_states(net, reference), TOLERANCE)  # worst 1.2e-6
    assert PMIXER_PEER.agrees("logits", error_of_logits(net, reference), TOLERANCE)  # worst 1.5e-6
    batch = make_batch([4, 1, LONGEST, 3], negatives=1)
    (loss,) = batch_terms(net, net(batch), batch.targets).values()
    loss.backward()
    rows_of = [reference_logits(reference, reference.item_emb.weight, batch, row) for row in range(4)]
    targets, negatives = (torch.cat([part.flatten() for part in parts]) for parts in zip(*rows_of, strict=True))
    # Their loss is the sum of two means.
    bce = nn.functional.binary_cross_entropy_with_logits
    expected = bce(targets, torch.ones_like(targets)) + bce(negatives, torch.zeros_like(negatives))
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    ours = from_pmixer({name: value.grad for name, value in reference.named_parameters()})
    largest = max(float(gradient.abs().max()) for gradient in ours.values())
    for name, value in net.named_parameters():
        error = float((value.grad - ours[name]).abs().max()) / largest
        assert PMIXER_PEER.agrees("gradients", error, TOLERANCE), name  # worst 6.7e-7


@pytest.mark.parametrize("mutant", ["residual", "no causal mask", "no places", "pads masked"])
def test_mutants_of_pmixer(mutant: str) -> None:
    """What is easily got wrong is seen (least error of a mutant 0.6)."""
    norm = "query" if mutant == "residual" else "post"
    assert error_of_logits(*pmixer_pair(norm, LONGEST + 1, mutant)) > 100 * TOLERANCE


def test_recbole() -> None:
    """BERT's blocks; padded at the right, where causal attention does not look."""
    net = make_net("sasrec_recbole", loss="bce", feedforward_dim=24)
    reference = Recbole(net)
    assert RECBOLE.agrees("states", error_of_states(net, reference), TOLERANCE)  # worst 1.5e-6
    assert RECBOLE.agrees("logits", error_of_logits(net, reference), TOLERANCE)  # worst 5.9e-7


@pytest.mark.parametrize("mutant", ["no causal mask", "no places"])
def test_mutants_of_recbole(mutant: str) -> None:
    """What is easily got wrong is seen (least error of a mutant 0.6)."""
    net = make_net("sasrec_recbole", loss="bce", feedforward_dim=24)
    assert error_of_logits(net, Recbole(net, mutant)) > 100 * TOLERANCE
    assert error_of_logits(net, Recbole(net, "pads read")) < TOLERANCE, "padding stands where nobody looks"


@pytest.mark.parametrize(
    ("name", "to", "back"),
    [("sasrec_pmixer", to_pmixer, from_pmixer), ("sasrec_recbole", to_recbole, from_recbole)],
)
def test_weights_both_ways(
    name: str,
    to: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
    back: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
) -> None:
    """Nothing is lost on the way to the other layout and back; the registry's converter knows it by its keys."""
    ours = make_net(name).state_dict()
    for again in (back(to(ours)), convert(to(ours)), convert(ours)):
        assert set(again) == set(ours)
        assert all(torch.equal(again[key], value) for key, value in ours.items())


def test_keys_of_recbole() -> None:
    """The names that RecBole gives (its code, version 1.2), written out."""
    keys = set(to_recbole(make_net("sasrec_recbole", num_blocks=1).state_dict()))
    layer = "trm_encoder.layer.0."
    modules = [f"{layer}multi_head_attention.{name}" for name in ("query", "key", "value", "dense", "LayerNorm")]
    modules += [f"{layer}feed_forward.{name}" for name in ("dense_1", "dense_2", "LayerNorm")]
    expected = {f"{module}.{kind}" for module in [*modules, "LayerNorm"] for kind in ("weight", "bias")}
    assert keys == expected | {"item_embedding.weight", "position_embedding.weight"}
