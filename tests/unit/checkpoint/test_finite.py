"""What is found in a tensor that is not finite, wherever it stands, and what is not taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lab.checkpoint.finite import check_finite, not_finite, require_finite
from lab.checkpoint.format import CheckpointReader, Piece
from lab.checkpoint.writer import write_checkpoint
from lab.errors import CheckpointError

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


def test_weights_of_a_diverged_training_are_refused_in_one_line() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    net[1].running_mean.fill_(-INF)  # type: ignore[union-attr, operator]
    require_finite(net, "w.pth")
    torch.nn.init.constant_(net[0].weight, NAN)  # type: ignore[arg-type]
    torch.nn.init.constant_(net[1].bias, INF)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError) as refused:
        require_finite(net, "w.pth")
    words = "w.pth: 0.weight and 1 more parameters hold numbers that are not finite, from a training that diverged"
    assert str(refused.value) == words


@pytest.mark.parametrize("name", ["model/net.weight", "optimizer/net.weight/sum", "average/net.weight"])
def test_a_checkpoint_of_before_is_not_gone_on_from(tmp_path: Path, name: str) -> None:
    tensors = {
        key: torch.ones(3)
        for key in ("model/net.weight", "optimizer/net.weight/sum", "average/net.weight", "model/mask")
    }
    tensors["model/mask"][0] = -INF
    pieces = {key: Piece(tensor, (3,), (0,)) for key, tensor in tensors.items()}
    write_checkpoint(tmp_path / "good", pieces, {}, 1)
    check_finite(CheckpointReader(tmp_path / "good"))
    tensors[name][2] = NAN
    write_checkpoint(tmp_path / "bad", pieces, {}, 1)
    with pytest.raises(CheckpointError, match=f"bad: {name} holds numbers that are not finite"):
        check_finite(CheckpointReader(tmp_path / "bad"))
