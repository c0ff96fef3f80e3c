"""Continuations of BLOOM against transformers' ``generate`` and its logits processors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lab import create_model
from lab.models.bloom.network import Bloom
from lab.models.bloom.sampling import Sampling
from lab.models.bloom.weights import to_transformers

transformers = pytest.importorskip("transformers")
VOCAB = 61


@pytest.fixture(scope="module", params=[4, 12])
def networks(request: pytest.FixtureRequest) -> tuple[Bloom, Any]:
    torch.manual_seed(request.param)
    shape = {"vocab_size": VOCAB, "embed_dim": 48, "num_layers": 2, "num_heads": request.param, "init_std": 0.3}
    ours: Bloom = create_model("bloom_tiny", **shape).eval()
    config = transformers.BloomConfig(
        vocab_size=VOCAB, hidden_size=48, n_layer=2, n_head=request.param, hidden_dropout=0.0, attention_dropout=0.0
    )
    theirs = transformers.BloomForCausalLM(config).eval()
    theirs.load_state_dict(to_transformers(ours.state_dict()), strict=True)
    return ours, theirs


def continued(theirs: Any, ids: Tensor, mask: Tensor, count: int, end: int | None = None, **how: Any) -> Tensor:
    found: Tensor = theirs.generate(
        ids, attention_mask=mask.long(), max_new_tokens=count, do_sample=False, eos_token_id=end, pad_token_id=0, **how
    )
    return found


@pytest.mark.parametrize("length", [1, 9, 30])
def test_greedy_tokens_are_the_same(networks: tuple[Bloom, Any], length: int) -> None:
    ours, theirs = networks
    ids = torch.randint(0, VOCAB, (4, length), generator=torch.Generator().manual_seed(length))
    whole = torch.ones_like(ids, dtype=torch.bool)
    assert torch.equal(ours.generate(ids, 24), continued(theirs, ids, whole, 24))
    mask = torch.arange(length) >= (torch.arange(4) * 2).clamp(max=length - 1)[:, None]
    found = ours.generate(ids, 24, mask)
    assert torch.equal(found, continued(theirs, ids, mask, 24))
    end = int(found[2, length + 7])  # comes up: texts end at different places
    assert torch.equal(ours.generate(ids, 24, mask, end_of_text=end, pad=0), continued(theirs, ids, mask, 24, end))
    penalised = ours.generate(ids, 24, repetition_penalty=1.3)
    assert torch.equal(penalised, continued(theirs, ids, whole, 24, repetition_penalty=1.3))


@pytest.mark.parametrize(
    "how",
    [
        {"repetition_penalty": 1.4},
        {"temperature": 0.7},
        {"top_k": 5},
        {"top_p": 0.6},
        {"repetition_penalty": 1.4, "temperature": 0.7, "top_k": 9, "top_p": 0.8},
    ],
    ids=str,
)
def test_processed_logits_are_the_same(how: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, VOCAB, generator=generator) * 3
    ids = torch.randint(0, VOCAB, (6, 12), generator=generator)
    made = {
        "repetition_penalty": transformers.RepetitionPenaltyLogitsProcessor,
        "temperature": transformers.TemperatureLogitsWarper,
        "top_k": transformers.TopKLogitsWarper,
        "top_p": transformers.TopPLogitsWarper,
    }
    expected = transformers.LogitsProcessorList([made[name](value) for name, value in how.items()])(ids, logits.clone())
    seen = torch.zeros(6, VOCAB, dtype=torch.bool).scatter_(1, ids, True)
    found = Sampling(sample=True, **how).process(logits, seen)
    assert torch.equal(found.isinf(), expected.isinf())
    assert torch.allclose(found, expected, atol=0, rtol=1e-6)
