"""BLOOM: sizes, masks, options and errors; parity with transformers is in tests/parity/test_bloom.py."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lab import create_model
from lab.errors import ConfigError, DataError
from lab.models.bloom.alibi import CausalBias, alibi_slopes
from lab.models.bloom.blocks import attend_causally
from lab.models.bloom.network import Bloom
from lab.structures.language_modeling import CausalTargets, LanguageModel
from lab.structures.text import TextEncoder
from lab.training.terms import batch_terms

PUBLISHED = {
    "bloom_560m": 559_214_592,
    "bloom_1b1": 1_065_314_304,
    "bloom_1b7": 1_722_408_960,
    "bloom_3b": 3_002_557_440,
    "bloom_7b1": 7_069_016_064,
    "bloom_176b": 176_247_271_424,
}
"""Numbers of parameters in the model cards of bigscience's repositories."""


def tiny(**changes: object) -> Bloom:
    torch.manual_seed(0)
    shape = {"vocab_size": 40, "embed_dim": 24, "num_layers": 2, "num_heads": 3, "init_std": 0.2}
    return create_model("bloom_tiny", **{**shape, **changes}).eval()


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(0, 40, (3, 7), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        net = create_model(name)
    assert sum(parameter.numel() for parameter in net.parameters()) == PUBLISHED[name]
    assert net.word_embeddings.num_embeddings == 250_880


def test_slopes_by_hand() -> None:
    assert alibi_slopes(8).tolist() == [2.0**-index for index in range(1, 9)]
    extra = [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]  # every second one of 16 heads
    assert torch.allclose(alibi_slopes(12), torch.tensor([*(2.0**-index for index in range(1, 9)), *extra]))


@pytest.mark.parametrize("linear", [True, False])
def test_a_bias_is_the_same_for_one_query_as_for_many(linear: bool) -> None:
    bias, like = CausalBias(3, linear), torch.empty(0)
    whole = bias.of(like, 0, 300)
    for place in (0, 7, 255, 299):
        assert torch.equal(bias.of(like, place, place + 1), whole[:, :, place : place + 1, : place + 1])
    expected = alibi_slopes(3)[1] * (2 - 5) if linear else torch.tensor(0.0)
    assert whole[0, -1 if not linear else 1, 5, 2] == expected
    assert whole[0, 0, 5, 6] == -torch.inf


@pytest.mark.parametrize("length", [300, 1100])
def test_attention_in_parts_is_that_of_all_queries(length: int) -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(1, 2, length, 8, requires_grad=True) for _ in range(3)]
    bias = CausalBias(2).of(tensors[0], 0, length)
    found = attend_causally(*tensors, bias)
    expected = torch.nn.functional.scaled_dot_product_attention(*tensors, attn_mask=bias)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    grad = torch.randn_like(found)
    pairs = zip(torch.autograd.grad(found, tensors, grad), torch.autograd.grad(expected, tensors, grad), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_protocols(ids: Tensor) -> None:
    net = tiny()
    assert isinstance(net, LanguageModel)
    assert isinstance(net, TextEncoder)
    features = net.encode(ids, hidden_states=True)
    assert len(features.hidden_states) == 3
    assert torch.equal(features.pooled, features.last_hidden_state[:, -1])


def test_documents_do_not_see_each_other(ids: Tensor) -> None:
    net = tiny()
    documents = torch.tensor([0, 0, 0, 1, 1, 1, 1]).expand(3, -1)
    labels = ids.roll(-1, 1)
    packed = net(ids, targets=CausalTargets(labels, (7, 7, 7), documents))
    alone = net(ids[:, 3:], targets=CausalTargets(labels[:, 3:], (4, 4, 4)))
    assert torch.allclose(packed.last_hidden_state[:, 3:], alone.last_hidden_state, atol=1e-5)
    assert torch.allclose(packed.scores.losses.view(3, 7)[:, 3:], alone.scores.losses.view(3, 4), atol=1e-5)


def test_labels_of_minus_one_are_left_out(ids: Tensor) -> None:
    net = tiny()
    labels = ids.roll(-1, 1)
    labels[:, -1] = -1
    labels[0, :2] = -1
    targets = CausalTargets(labels, (4, 6, 6))
    outputs = net(ids, targets=targets)
    expected = torch.nn.functional.cross_entropy(outputs.logits.flatten(0, 1), labels.flatten(), ignore_index=-1)
    assert torch.allclose(batch_terms(net, outputs, targets)["loss_ce"], expected)
    assert torch.equal(outputs.scores.correct, outputs.logits.argmax(-1)[labels >= 0] == labels[labels >= 0])


def test_errors_in_one_line(ids: Tensor) -> None:
    with pytest.raises(DataError, match="token 40, outside of the vocabulary of 0 to 39"):
        tiny()(ids + (ids == ids.max()) * (40 - ids.max()))
    with pytest.raises(ConfigError, match="sequences of 7 tokens are longer than the table of positions, max_length=5"):
        tiny(positions="learned", max_length=5)(ids)
