"""What a table and the optimizer of its weight tell each other: plain, kept and handed-over gradients are the same."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from lab.layers.row_table import RowTable, TableRows
from lab.training.row_adagrad import Adagrad

STEPS = (([1, 5, 7], 2, [2, 2, 0]), ([0, 8], 2, []), ([3, 4], 0, [1, 0]))


def make(serve: bool = False, private: bool = False) -> RowTable:
    table = RowTable(9, 3)
    with torch.no_grad():
        table.weight.copy_(torch.randn(9, 3, generator=torch.Generator().manual_seed(0)))
    if serve:
        table.rows.serve(table.weight, private)
    return table


def loss(table: RowTable, touched: list[int], leading: int, slots: list[int]) -> Tensor:
    first, single = table.find(torch.tensor(touched), leading, torch.tensor(slots).long())
    return (first**2).sum() + (single**3).sum()


def test_the_kept_gradient_is_the_plain_one() -> None:
    """Step after step, accumulated, of two losses at once, and twice through one graph."""
    plain, kept = make(), make(serve=True)
    for touched, leading, slots in STEPS:
        for table in (plain, kept):
            table.weight.grad = None
            loss(table, touched, leading, slots).backward()
        torch.testing.assert_close(kept.weight.grad, plain.weight.grad, rtol=0, atol=1e-6)
        assert kept.rows._buffer is not None
        assert kept.weight.grad is not None
        assert kept.weight.grad.data_ptr() == kept.rows._buffer.data_ptr()
    for table in (plain, kept):
        loss(table, [2, 3], 2, [1]).backward()  # on top
        (loss(table, [1], 1, []) + loss(table, [5, 1], 2, [0])).backward()
        table.weight.grad = None
        (loss(table, [6], 1, []) + loss(table, [5, 1], 2, [0])).backward()
        twice = loss(table, [4, 2], 1, [0])
        twice.backward(retain_graph=True)
        twice.backward()
    torch.testing.assert_close(kept.weight.grad, plain.weight.grad, rtol=0, atol=1e-6)


@pytest.mark.parametrize("private", [False, True])
def test_an_optimizer_reads_the_touched_rows(private: bool) -> None:
    """Whatever way the gradient takes; of two micro-batches too."""
    plain, served = make(), make(serve=True, private=private)
    for touched, leading, slots in STEPS:
        for table in (plain, served):
            table.weight.grad = None
            table.rows.forget()
            for _ in range(2):
                loss(table, touched, leading, slots).backward()
        assert (served.weight.grad is None) == private
        found = served.rows.gradient()
        assert plain.weight.grad is not None
        assert found is not None
        assert found[0].tolist() == touched
        torch.testing.assert_close(found[1], plain.weight.grad[touched], rtol=0, atol=1e-6)
    served.rows.forget()
    served.weight.grad = None
    assert served.rows.gradient() is None
    assert plain.rows.gradient() is None


def test_only_the_weight_that_is_served_is_read_by_rows() -> None:
    """A strategy that computes with another tensor (FSDP's gathered one) gets a plain gradient."""
    table = make(serve=True, private=True)
    sharded = table.weight
    table.weight = nn.Parameter(sharded.detach().clone())
    loss(table, *STEPS[0]).backward()
    assert table.weight.grad is not None
    assert sharded.grad is None
    assert table.rows.touched is None
    assert not table.rows.gradients


def test_rows_move_and_others_stay() -> None:
    table = make()
    before = table.weight.detach().clone()
    optimizer = Adagrad([table.weight], 0.1, 0.5, tables=[table.weight], rows={table.weight: table.rows}, private=True)
    for touched, leading, slots in STEPS[:1] * 2:
        optimizer.zero_grad()
        loss(table, touched, leading, slots).backward()
        optimizer.step()
    moved = (table.weight != before).any(dim=1).nonzero()[:, 0].tolist()
    assert moved == [1, 5, 7]
    assert not table.rows.gradients


def test_without_gradients_and_in_copies() -> None:
    table = make(serve=True)
    with torch.no_grad():
        first, _ = table.find(torch.tensor([2, 4]), 1, torch.tensor([1]))
    assert torch.equal(first, table.weight[2:3])
    for other in (copy.deepcopy(table), pickle.loads(pickle.dumps(table))):
        assert other.rows is not table.rows
        assert other.rows.weight is None
        assert torch.equal(other.weight, table.weight)
    table.rows.release()
    loss(table, *STEPS[0]).backward()
    assert table.rows._buffer is None
    assert set(table.state_dict()) == {"weight"}
    assert isinstance(copy.copy(table.rows), TableRows)
