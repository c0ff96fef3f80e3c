"""Weights that are adapted to a network: files of arrays, channels of the images, a network's own way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lab.errors import CheckpointError
from lab.registry.create import find_weights
from lab.registry.pretrained import adapt_in_chans, load_pretrained, read_state_dict


class Stem(nn.Module):
    """A first convolution, and a table that is cut to its size."""

    def __init__(self, in_chans: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, 4, 3)
        self.table = nn.Parameter(torch.zeros(2))

    def adapt_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if len(state["table"]) < 2:
            raise CheckpointError("table is too short")
        return {**state, "table": state["table"][:2]}


def test_grey_images_give_what_their_copies_would() -> None:
    weight, grey = torch.randn(4, 3, 3, 3), torch.rand(1, 1, 8, 8)
    found = nn.functional.conv2d(grey, adapt_in_chans(weight, 1))
    torch.testing.assert_close(found, nn.functional.conv2d(grey.expand(-1, 3, -1, -1), weight))


@pytest.mark.parametrize("in_chans", [1, 2, 4, 8])
def test_channels_are_adapted_as_timm_does(in_chans: int) -> None:
    timm = pytest.importorskip("timm")
    weight = torch.randn(4, 3, 3, 3)
    expected = timm.models.adapt_input_conv(in_chans, weight)
    torch.testing.assert_close(adapt_in_chans(weight, in_chans), expected, rtol=0, atol=0)


def test_a_network_adapts_what_it_is_given(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = {**Stem(3).state_dict(), "table": torch.arange(5.0)}
    torch.save(state, tmp_path / "weights.pth")
    model = Stem(4)
    load_pretrained(model, tmp_path / "weights.pth")
    assert "conv.weight is adapted from 3 to 4 channels of the images" in caplog.text
    assert model.table.tolist() == [0.0, 1.0]
    assert torch.equal(model.conv.weight, adapt_in_chans(state["conv.weight"], 4))
    torch.save({**state, "table": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"weights\.pth do not fit: table is too short"):
        load_pretrained(model, tmp_path / "weights.pth")


def test_other_shapes_are_no_matter_of_channels(tmp_path: Path) -> None:
    state = {**Stem(3).state_dict(), "conv.weight": torch.zeros(5, 3, 3, 3)}
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"shape of 1 \(conv.weight \(5, 3, 3, 3\) -> \(4, 1, 3, 3\)"):
        load_pretrained(Stem(1), tmp_path / "weights.pth")


def test_arrays_of_numpy_are_read_and_nothing_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", a=np.arange(3.0), b=np.ones((2, 2), np.float32))
    found = read_state_dict(tmp_path / "weights.npz")
    assert {key: tuple(value.shape) for key, value in found.items()} == {"a": (3,), "b": (2, 2)}
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    with pytest.raises(CheckpointError, match=r"objects\.npz cannot be read as tensors alone"):
        read_state_dict(tmp_path / "objects.npz")
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(CheckpointError, match=r"damaged\.npz cannot be read"):
        read_state_dict(tmp_path / "damaged.npz")
    np.save(tmp_path / "alone.npy", np.ones(2))
    (tmp_path / "alone.npy").rename(tmp_path / "alone.npz")
    with pytest.raises(CheckpointError, match=r"alone\.npz cannot be read"):
        read_state_dict(tmp_path / "alone.npz")
    assert find_weights("resnet18", tmp_path / "absent.npz") == tmp_path / "absent.npz"  # a file, no tag
