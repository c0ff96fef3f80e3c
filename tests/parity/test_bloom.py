"""BLOOM against transformers' on the same random weights: states, logits, loss, gradients, padding, half precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lab import create_model
from lab.models.bloom import alibi, blocks
from lab.models.bloom.network import Bloom
from lab.models.bloom.weights import convert, to_transformers
from lab.structures.language_modeling import CausalTargets
from lab.training.terms import batch_terms
from tests.agreement import Compared

transformers = pytest.importorskip("transformers")

VOCAB, WIDTH, LAYERS, LENGTH = 53, 48, 3, 19
TOLERANCE = 1e-5
"""Relative to the largest value. Worst measured: states and logits 1.3e-6, gradients 4.2e-6; the loss is below it."""


PEER = Compared("bloom", "transformers")


def networks(heads: int, dtype: torch.dtype = torch.float32) -> tuple[Bloom, Any]:
    """Return lab's network and transformers' with the same weights, every one away from what it is initialised to."""
    shape = {"vocab_size": VOCAB, "embed_dim": WIDTH, "num_layers": LAYERS, "num_heads": heads}
    ours: Bloom = create_model("bloom_tiny", **shape).eval()
    generator = torch.Generator().manual_seed(heads)
    with torch.no_grad():
        for key, value in ours.named_parameters():
            noise = torch.randn(value.shape, generator=generator) * 0.3
            value.copy_(noise + 1 if "ln_f.w" in key or "layernorm.w" in key else noise)
    settings = {"vocab_size": VOCAB, "hidden_size": WIDTH, "n_layer": LAYERS, "n_head": heads}
    config = transformers.BloomConfig(**settings, hidden_dropout=0.0, attention_dropout=0.0)
    theirs = transformers.BloomForCausalLM(config).eval()
    theirs.load_state_dict(to_transformers(ours.state_dict()), strict=True)
    return ours.to(dtype), theirs.to(dtype)


def tokens() -> Tensor:
    return torch.randint(0, VOCAB, (3, LENGTH), generator=torch.Generator().manual_seed(7))


def padded_left() -> Tensor:
    return torch.arange(LENGTH) >= torch.tensor([0, 5, 11])[:, None]


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest value."""
    return float((found - expected).detach().double().abs().max() / expected.detach().double().abs().max())


@pytest.mark.parametrize("heads", [4, 12])
@pytest.mark.parametrize("padded", [False, True])
def test_states_and_logits(heads: int, padded: bool) -> None:
    ours, theirs = networks(heads)
    ids, mask = tokens(), padded_left() if padded else None
    given = mask if mask is not None else torch.ones_like(ids, dtype=torch.bool)
    with torch.no_grad():
        features, outputs = ours.encode(ids, mask, hidden_states=True), ours(ids, mask)
        expected = theirs(ids, attention_mask=given.long() if padded else None, output_hidden_states=True)
    assert len(features.hidden_states) == len(expected.hidden_states) == LAYERS + 1
    for found, wanted in zip(features.hidden_states, expected.hidden_states, strict=True):
        assert PEER.agrees("states", difference(found[given], wanted[given]), TOLERANCE)
    assert PEER.agrees("logits", difference(outputs.logits[given], expected.logits[given]), TOLERANCE)


@pytest.mark.parametrize("heads", [4, 12])
def test_loss_and_gradients(heads: int) -> None:
    ours, theirs = networks(heads)
    ids = tokens()
    targets = CausalTargets(torch.nn.functional.pad(ids[:, 1:], (0, 1), value=-1), (LENGTH - 1,) * 3)
    loss = batch_terms(ours, ours(ids, targets=targets), targets)["loss_ce"]
    expected = theirs(ids, labels=ids).loss
    assert PEER.agrees("loss", float((loss / expected - 1).detach().abs()), TOLERANCE)
    loss.backward(), expected.backward()
    gradients = {key: value.grad for key, value in theirs.named_parameters()}
    for key, value in ours.named_parameters():
        wanted = gradients[f"transformer.{key}"]
        assert value.grad is not None
        assert wanted is not None
        assert PEER.agrees("gradients", difference(value.grad, wanted), TOLERANCE), key


def test_half_precision_is_within_its_own_rounding() -> None:
    """In bfloat16 both differ from the float64 result; ours by 2.0 %, transformers' by 2.0 %, from each other 1.6 %."""
    exact, _ = networks(12, torch.float64)
    ours, theirs = networks(12, torch.bfloat16)
    ids, mask = tokens(), padded_left()
    with torch.no_grad():
        wanted = exact(ids, mask).logits[mask]
        found, peer = ours(ids, mask).logits[mask], theirs(ids, attention_mask=mask.long()).logits[mask]
    assert difference(found, wanted) < max(0.025, 1.2 * difference(peer, wanted))
    assert difference(found, peer) < 0.04


def _no_slope(number: int) -> Tensor:
    return torch.zeros(number)


def _three_first(self: Any, x: Tensor, bias: Tensor, cache: Any = None, queries: Any = None) -> Tensor:
    """Attention with queries, keys and values of all heads one after the other."""
    parts = self.query_key_value(x).unflatten(-1, (3, -1, self.head_dim)).permute(2, 0, 3, 1, 4)
    out: Tensor = self.dense(self._attend(*parts.unbind(0), bias).transpose(1, 2).flatten(2))
    return out


MUTANTS = {
    "no slopes": (alibi, "alibi_slopes", _no_slope),
    "slopes of twice the heads": (alibi, "alibi_slopes", lambda number: alibi_slopes(2 * number)[:number]),
    "other layout": (blocks.BloomAttention, "forward", _three_first),
    "exact GELU": (torch.nn.functional, "gelu", lambda x, approximate: x * torch.special.ndtr(x)),
    "no padding": (alibi, "_is_padded_right", lambda mask: True),
}
alibi_slopes = alibi.alibi_slopes


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, attribute, mutant = MUTANTS[name]
    ours, theirs = networks(12)
    ids, mask = tokens(), padded_left()
    with torch.no_grad():
        expected = theirs(ids, attention_mask=mask.long()).logits[mask]
        assert difference(ours(ids, mask).logits[mask], expected) < TOLERANCE
        monkeypatch.setattr(place, attribute, mutant)
        fresh = networks(12)[0]
        assert difference(fresh(ids, mask).logits[mask], expected) > 10 * TOLERANCE


def test_weights_go_both_ways() -> None:
    ours, theirs = networks(4)
    state = theirs.state_dict()
    for layout in (state, theirs.transformer.state_dict(), ours.state_dict()):
        found = convert(layout)
        assert found.keys() == ours.state_dict().keys()
        ours.load_state_dict(found, strict=True)
