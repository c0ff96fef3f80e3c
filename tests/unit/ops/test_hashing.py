"""SplitMix64 against its published outputs; draws that hang on nothing but their counters."""

from __future__ import annotations

import pytest
import torch

from lab.ops.hashing import hashed, hashed_below, mix


def test_known_outputs() -> None:
    """The first outputs of splitmix64.c from the state 1234567, as Rosetta Code lists them."""
    gamma = 0x9E3779B97F4A7C15
    states = [(1234567 + index * gamma) % 2**64 for index in range(5)]
    signed = torch.tensor([state - 2**64 if state >= 2**63 else state for state in states])
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [value % 2**64 for value in mix(signed).tolist()] == expected


def test_function_of_the_counters_alone() -> None:
    """A draw does not depend on what else is drawn beside it, and changes with the seed and each counter."""
    sequences, draws = torch.arange(50)[:, None], torch.arange(20)
    whole = hashed_below(torch.tensor(1000), 3, sequences, draws)
    alone = hashed_below(torch.tensor(1000), 3, torch.tensor([[17]]), torch.tensor([5]))
    assert alone.item() == whole[17, 5].item()
    for other in (hashed(4, sequences, draws), hashed(3, sequences + 50, draws), hashed(3, sequences, draws + 20)):
        assert not (other == hashed(3, sequences, draws)).any()


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_uniform(limit: int) -> None:
    """Counts of 100 000 draws pass a chi-squared test (the 1 - 1e-6 quantile, by Wilson and Hilferty)."""
    values = hashed_below(torch.tensor(limit), 0, torch.arange(100)[:, None], torch.arange(1000))
    assert values.min() >= 0
    assert values.max() < limit
    counts = torch.bincount(values.flatten(), minlength=limit).double()
    expected, freedom = 1e5 / limit, max(limit - 1, 1)
    bound = freedom * (1 - 2 / (9 * freedom) + 4.75 * (2 / (9 * freedom)) ** 0.5) ** 3
    assert ((counts - expected) ** 2 / expected).sum() <= bound
