"""How continuations are drawn, where they end, and what they do not depend on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import lab
from lab import create_model
from lab.errors import ConfigError
from lab.models.bloom import generation
from lab.models.bloom.network import Bloom
from lab.structures.language_modeling import Generator


def tiny(**changes: object) -> Bloom:
    torch.manual_seed(0)
    shape = {"vocab_size": 40, "embed_dim": 24, "num_layers": 2, "num_heads": 3, "init_std": 0.2}
    return create_model("bloom_tiny", **{**shape, **changes}).eval()


@pytest.fixture(scope="module")
def net() -> Bloom:
    return tiny()


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(0, 40, (3, 6), generator=torch.Generator().manual_seed(1))


def decode(tokens: list[int]) -> str:
    return "".join(chr(ord("A") + token) for token in tokens)


def test_protocol(net: Bloom) -> None:
    assert isinstance(net, Generator)


@pytest.mark.parametrize("changes", [{}, {"positions": "learned", "max_length": 20}, {"num_token_types": 2}], ids=str)
def test_steps_are_what_whole_sequences_give(changes: dict[str, object], ids: Tensor) -> None:
    net = tiny(**changes)
    mask = torch.arange(6) >= torch.tensor([0, 2, 5])[:, None]
    found = net.generate(ids, 10, mask)
    for step in range(10):
        so_far = torch.nn.functional.pad(mask, (0, step), value=True)
        with torch.no_grad():
            logits = net(found[:, : 6 + step], so_far).logits
        assert torch.equal(logits[:, -1].argmax(-1), found[:, 6 + step])


def test_draws_follow_the_distribution(net: Bloom) -> None:
    """Shares of 4,000 draws of one token are within four deviations of its probabilities."""
    ids = torch.tensor([[5, 6, 7]]).expand(4000, -1)
    drawn = net.generate(ids, 1, sample=True, temperature=1.5, top_k=6)[:, -1].bincount(minlength=40)
    with torch.no_grad():
        logits = net(ids[:1]).logits[0, -1] / 1.5
    kept = logits.topk(6)
    expected = torch.zeros(40).scatter(0, kept.indices, kept.values.softmax(0))
    assert (drawn[expected == 0] == 0).all()
    deviation = (expected * (1 - expected) / 4000).sqrt()
    assert ((drawn / 4000 - expected).abs() <= 4 * deviation).all()


def test_draws_depend_on_seed_and_row_only(net: Bloom, ids: Tensor) -> None:
    whole = net.generate(ids, 8, sample=True, seed=3, rows=[10, 11, 12])
    alone = net.generate(ids[1:2], 8, sample=True, seed=3, rows=[11])
    assert torch.equal(whole[1:2], alone)
    padded = torch.nn.functional.pad(ids[1:2], (4, 0))
    mask = torch.arange(10)[None] >= 4
    assert torch.equal(net.generate(padded, 8, mask, sample=True, seed=3, rows=[11])[:, 4:], alone)
    assert torch.equal(net.generate(ids, 5, sample=True, seed=3, rows=[10, 11, 12]), whole[:, :11])
    assert not torch.equal(net.generate(ids, 8, sample=True, seed=4, rows=[10, 11, 12]), whole)
    same = net.generate(ids[:1].expand(3, -1), 8, sample=True)
    assert len(set(map(tuple, same.tolist()))) == 3


def test_repetition_penalty_does_not_count_padding(net: Bloom, ids: Tensor) -> None:
    padded = torch.nn.functional.pad(ids, (4, 0), value=int(net.generate(ids, 1)[0, -1]))
    mask = torch.arange(10).expand(3, -1) >= 4
    found = net.generate(padded, 8, mask, repetition_penalty=2.0)
    assert torch.equal(found[:, 4:], net.generate(ids, 8, repetition_penalty=2.0))


def test_texts_end_at_tokens_and_strings(net: Bloom, ids: Tensor) -> None:
    plain = net.generate(ids, 12, sample=True)
    new = plain[:, 6:].tolist()
    pair = new[0][3:5]
    by_tokens = net.generate(ids, 12, sample=True, stop=[pair], pad=39)
    by_text = net.generate(ids, 12, sample=True, stop=[decode(pair)], decode=decode, pad=39)
    assert torch.equal(by_tokens, by_text)
    assert by_tokens[0, 6:].tolist() == new[0][:5] + [39] * (by_tokens.shape[1] - 11)
    assert by_tokens[1, 6:].tolist() == new[1][: by_tokens.shape[1] - 6]
    one = net.generate(ids[:1], 12, sample=True, stop=[pair])
    assert one[0, 6:].tolist() == new[0][:5]  # no longer than the longest text
    end = net.generate(ids[:1], 12, sample=True, end_of_text=new[0][2])
    assert end[0, 6:].tolist() == new[0][: new[0].index(new[0][2]) + 1]


def test_checks_may_come_every_few_steps(net: Bloom, ids: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: texts end where they would, and the result is no longer than the longest one."""
    pair = net.generate(ids[:1], 12, sample=True)[0, 9:11].tolist()
    expected = net.generate(ids[:1], 12, sample=True, stop=[pair])
    monkeypatch.setattr(generation, "_steps_between_checks", lambda device: 4)
    assert torch.equal(net.generate(ids[:1], 12, sample=True, stop=[pair]), expected)
    assert expected.shape[1] == 11


def test_watch_sees_each_step_and_ends_texts(net: Bloom, ids: Tensor) -> None:
    seen: list[Tensor] = []
    logs: list[Tensor] = []

    def watch(tokens: Tensor, probabilities: Tensor) -> Tensor | None:
        seen.append(tokens)
        logs.append(probabilities)
        return torch.tensor([True, False, False]) if len(seen) == 2 else None

    found = net.generate(ids, 5, sample=True, temperature=0.5, watch=watch, pad=39)
    assert torch.equal(torch.stack(seen, 1), found[:, 6:])
    assert found[0, 8:].tolist() == [39] * 3
    with torch.no_grad():
        expected = net(found).logits.log_softmax(-1)[:, 5:-1].gather(2, found[:, 6:, None])[..., 0]
    assert torch.allclose(torch.stack(logs, 1)[1:], expected[1:], atol=1e-5)


def test_padding_of_the_vocabulary_is_never_generated(ids: Tensor) -> None:
    net = tiny(vocab_multiple=64)
    assert net.word_embeddings.num_embeddings == 64
    assert int(net.generate(ids, 30, sample=True, temperature=50.0)[:, 6:].max()) < 40


def test_dropout_is_off_and_the_mode_comes_back(ids: Tensor) -> None:
    net = tiny(hidden_dropout=0.5, attention_dropout=0.5)
    expected = net.generate(ids, 6)
    net.train()
    net.h[1].eval()
    assert torch.equal(net.generate(ids, 6), expected)
    assert net.training
    assert net.h[0].training
    assert not net.h[1].training


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"top_p": 1.5}, "top_p=1.5: should be above 0 and at most 1"),
        ({"temperature": 0}, "temperature=0: should be above 0"),
        ({"stop": ["x"]}, "stop='x' is a text: it needs decode="),
        ({"stop": [[]]}, "an entry is empty"),
        ({"max_new_tokens": 15}, "15 more are longer than the table of positions, max_length=20"),
        ({"attention_mask": torch.arange(6).expand(3, -1) < 4}, "padded at the left"),
        ({"input_ids": torch.zeros(2, 0, dtype=torch.int64)}, "at least one token"),
    ],
    ids=str,
)
def test_errors_in_one_line(how: dict[str, object], message: str, ids: Tensor) -> None:
    net = tiny(positions="learned", max_length=20)
    with pytest.raises(ConfigError, match=message):
        net.generate(**{"input_ids": ids, "max_new_tokens": 3, **how})


def test_a_deployed_copy_continues_the_same(ids: Tensor) -> None:
    net = tiny(embed_dim=96, vocab_size=700, num_heads=4)
    fast = lab.deploy(net, example=ids)
    assert fast.deployment.packed == 8
    assert torch.equal(fast.generate(ids, 6), net.generate(ids, 6))
