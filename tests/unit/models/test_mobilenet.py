"""MobileNetV2's blocks in inference on a CPU: as few images at once as a cache holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import lab
from lab.models.mobilenet import network
from lab.models.mobilenet.network import InvertedResidual
from tests.kernels import take_way


def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list of the images that each block computes at once, which grows."""
    seen: list[int] = []
    block = InvertedResidual._block

    def counted(self: InvertedResidual, x: Tensor, *rest: Any) -> Tensor:
        seen.append(len(x))
        return block(self, x, *rest)

    monkeypatch.setattr(InvertedResidual, "_block", counted)
    return seen


@pytest.mark.parametrize("deployed", [False, True])
def test_few_images_at_once_give_the_same(deployed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    take_way(monkeypatch, "parts", small=False)
    torch.manual_seed(0)
    net = lab.create_model("mobilenet_v2", num_classes=3).eval()
    net = lab.deploy(net) if deployed else net
    images = torch.randn(5, 3, 64, 64)
    monkeypatch.setattr(network, "CACHED", 1 << 40)
    with torch.no_grad():
        wanted = net(images)
    seen = sizes(monkeypatch)
    monkeypatch.setattr(network, "CACHED", 2 * 96 * 32 * 32 * 4)  # two images of the widest map
    with torch.no_grad():
        found = net(images)
    assert {1, 2, 5} <= set(seen)
    assert found.is_contiguous()
    assert (found - wanted).abs().max() <= 1e-6 * wanted.abs().max()


def test_batches_stay_whole_where_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """For gradients and batch statistics, for a hook, which waits on a map of all images, and where it is faster."""
    take_way(monkeypatch, "parts", small=False)
    torch.manual_seed(0)
    net = lab.create_model("mobilenet_v2", num_classes=3).eval()
    images = torch.randn(4, 3, 32, 32)
    monkeypatch.setattr(network, "CACHED", 1)
    seen = sizes(monkeypatch)
    net(images)
    assert set(seen) == {4}
    net.train()
    seen.clear()
    with torch.no_grad():
        net(images)
    assert set(seen) == {4}
    net.eval()
    seen.clear()
    shapes: list[int] = []
    net.get_submodule("features.2.conv.1.0").register_forward_hook(lambda _, __, out: shapes.append(len(out)))
    with torch.no_grad():
        net(images)
    assert shapes == [4]
    assert seen.count(4) == 1
    assert set(seen) == {1, 4}
    take_way(monkeypatch, "torch", small=False)
    seen.clear()
    with torch.no_grad():
        net(images)
    assert set(seen) == {4}


def test_an_exported_graph_takes_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = lab.create_model("mobilenet_v2", num_classes=3).eval()
    monkeypatch.setattr(network, "CACHED", 1)
    batch = torch.export.Dim("batch", min=1, max=8)
    with torch.no_grad():
        captured = torch.export.export(
            net, (torch.randn(2, 3, 32, 32),), dynamic_shapes={"images": {0: batch}}
        ).module()
        images = torch.randn(5, 3, 32, 32)
        torch.testing.assert_close(captured(images), net(images))
