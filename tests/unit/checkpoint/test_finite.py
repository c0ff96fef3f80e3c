"""What is found in a tensor that is not finite, wherever it stands, and what is not taken for it."""

from __future__ import annotations

import pytest
import torch

from lab.checkpoint.finite import not_finite

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("place", [0, 7, 1002])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_one_element_is_found(value: float, place: int, dtype: torch.dtype) -> None:
    tensor = torch.linspace(-1, 1, 1003).to(dtype)
    tensor[place] = value
    assert not_finite({"good": torch.ones(3), "bad": tensor, "counter": torch.tensor(3)}) == ["bad"]


def test_both_infinities_and_single_numbers() -> None:
    tensors = {"both": torch.tensor([INF, -INF]), "number": torch.tensor(NAN), "turned": torch.full((3, 2), INF).T}
    assert not_finite(tensors) == ["both", "number", "turned"]


def test_large_numbers_are_finite() -> None:
    large = {
        "float32": torch.tensor([3e38, -3e38]),
        "float64": torch.tensor([1e300], dtype=torch.float64),
        "float16": torch.tensor([65504.0, -65504.0], dtype=torch.float16),
        "integers": torch.tensor([2**62]),
        "flags": torch.tensor([True]),
        "empty": torch.empty(0),
    }
    assert not_finite(large) == []
    assert not_finite({}) == []
