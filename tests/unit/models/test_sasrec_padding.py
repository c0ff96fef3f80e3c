"""pmixer's SASRec reads padding. What is equal of it is computed once, and dropout must not tell the difference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lab import create_model
from lab.layers.dropout import dropout, dropped_mean
from lab.models.sasrec import blocks
from lab.models.sasrec.blocks import Before, attend_among_paddings, attend_in_groups
from lab.models.sasrec.windows import cut_windows
from lab.structures import SequenceBatch, SequenceTargets

WIDTH, HEADS, LENGTH, PADDINGS, WINDOWS = 4, 2, 2, 3, 20_000
GROUPS = [(WINDOWS, LENGTH, PADDINGS)]


def attended(equal: bool, seed: int) -> Tensor:
    """Return what tokens and paddings attend to, (windows, tokens and paddings, D); windows differ by dropout only."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(LENGTH, WIDTH).repeat(WINDOWS, 1) for _ in range(3))
    rows = 1 if equal else WINDOWS * PADDINGS
    before = Before(torch.randn(1, WIDTH).repeat(rows, 1), torch.randn(1, WIDTH).repeat(rows, 1))
    torch.manual_seed(seed)
    tokens = attend_in_groups(query, key, value, GROUPS, HEADS, 0.5, before)
    paddings = attend_among_paddings(before, None if equal else before.keys, GROUPS, HEADS, 0.5)
    return torch.cat([tokens.unflatten(0, (WINDOWS, LENGTH)), paddings.unflatten(0, (WINDOWS, PADDINGS))], dim=1)


def far(one: Tensor, other: Tensor) -> list[bool]:
    """Whether mean or mean square differ by more than chance, first of tokens, then of paddings."""
    apart = torch.zeros(LENGTH + PADDINGS, dtype=torch.bool)
    for x, y in ((one, other), (one.square(), other.square())):
        error = ((x.var(0) + y.var(0)) / WINDOWS).sqrt()
        apart |= ((x.mean(0) - y.mean(0)).abs() > 6 * error).any(dim=1)
    return [bool(apart[:LENGTH].any()), bool(apart[LENGTH:].any())]


def test_equal_paddings_have_the_distribution_of_separate_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    separate = attended(equal=False, seed=1)
    assert far(attended(equal=True, seed=2), separate) == [False, False]
    monkeypatch.setattr(blocks, "dropped_mean", lambda counts, p: torch.ones_like(counts))
    assert far(attended(equal=True, seed=2), separate) == [True, True], "none of the paddings' weights is dropped"
    monkeypatch.setattr(blocks, "dropped_mean", lambda counts, p: dropout(torch.ones_like(counts), p, training=True))
    assert far(attended(equal=True, seed=2), separate) == [True, True], "all of them are dropped together"


def test_paddings_whose_embeddings_are_not_zero_are_dropped_one_by_one() -> None:
    """Files of other code may say so; dropout then makes paddings differ before the first block."""
    net = create_model("sasrec_pmixer", num_items=5, max_length=8, embed_dim=4, dropout=0.5).train()
    given: list[Tensor] = []
    net.blocks[0].register_forward_pre_hook(lambda _, inputs: given.append(inputs[2]))
    batch = SequenceBatch(
        torch.tensor([[1, 2], [3, 0]]),
        torch.tensor([2, 1]),
        SequenceTargets(torch.zeros(2, 2, dtype=torch.long), (0, 0)),
        torch.arange(2),
        torch.ones(2, dtype=torch.bool),
    )
    queries = torch.tensor([[0, 1], [1, 0]])
    net.encode(batch, queries)
    with torch.no_grad():
        net.pos_emb.weight[0] = 1
    net.encode(batch, queries)
    net.eval().encode(batch, queries)
    assert [len(rows) for rows in given] == [1, 12, 1]


def test_dropped_mean_is_that_of_dropped_ones() -> None:
    torch.manual_seed(0)
    ones = dropout(torch.ones(50_000, 5), 0.3, training=True).mean(1)
    drawn = dropped_mean(torch.full((50_000,), 5.0), 0.3)
    torch.testing.assert_close(drawn.mean(), ones.mean(), rtol=0, atol=0.01)
    torch.testing.assert_close(drawn.var(), ones.var(), rtol=0.05, atol=0)
    assert sorted(set(drawn.tolist())) == pytest.approx(sorted(set(ones.tolist())))
    assert dropped_mean(torch.tensor([2.0]), 0.0) == 1
    assert dropped_mean(torch.tensor([2.0]), 1.0) == 0


def test_windows_padded_at_the_left_share_groups_of_similar_length() -> None:
    items = torch.tensor([[1, 2, 3, 4, 5, 6], [7, 0, 0, 0, 0, 0], [8, 9, 0, 0, 0, 0]])
    windows = cut_windows(items, torch.arange(3), torch.tensor([6, 1, 2]), 8, left_padded=True)
    assert windows.groups == [(2, 2, 6), (1, 6, 2)]
    assert windows.items.tolist() == [0, 7, 8, 9, 1, 2, 3, 4, 5, 6]
    assert windows.steps.tolist() == [-1, 0, 0, 1, 0, 1, 2, 3, 4, 5]
    assert windows.places.tolist() == [-1, 0, -1, 0, -5, -4, -3, -2, -1, 0]
    assert windows.last.tolist() == [9, 1, 3]
