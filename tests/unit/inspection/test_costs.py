"""Costs of modules against hand calculations and published numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lab
from lab.inspection.costs import Node, measure, tree_of
from lab.inspection.difference import Difference, differences


class Twice(nn.Module):
    """A convolution, a part that is run twice, another name of it, and one that is never run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.parts = nn.ModuleList([nn.Linear(5, 5), nn.ReLU()])
        self.again = self.parts[0]
        self.unused = nn.Linear(7, 1)
        self.register_buffer("scale", torch.ones(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return self.parts[1](self.parts[0](self.again(x)))


def nodes(tree: Node) -> dict[str, Node]:
    return {node.name: node for node in tree.walk()}


def test_by_hand() -> None:
    net, x = Twice().train(), torch.ones(1, 2, 6, 5)
    net.norm.weight.requires_grad_(False)
    tree = measure(net, lambda: net(x), repeats=2)
    found = nodes(tree)
    assert list(found) == ["", "conv", "norm", "parts", "parts.0", "parts.1", "again", "unused"]
    assert (tree.parameters, tree.trainable, tree.buffers) == (72 + 8 + 30 + 8, 72 + 4 + 30 + 8, 9 + 3)
    assert tree.num_bytes == 4 * 118 + 4 * 11 + 8
    assert found["conv"].macs == 6 * 5 * 4 * 2 * 9
    assert found["parts.0"].macs == 2 * 4 * 6 * 5 * 5
    assert found["parts"].macs == found["parts.0"].macs
    assert tree.macs == found["conv"].macs + found["parts.0"].macs
    assert (found["parts.0"].calls, found["unused"].calls, found["parts"].calls) == (2, 0, 0)
    assert found["again"].same_as == "parts.0"
    assert (found["conv"].inputs, found["conv"].outputs) == ([(1, 2, 6, 5)], [(1, 4, 6, 5)])
    # The convolution keeps its input, the norm its own and two statistics of none in evaluation, linear layers theirs,
    # the ReLU its output.
    assert found["conv"].kept_bytes == 4 * 60
    assert found["parts.1"].kept_bytes == 4 * 120
    assert tree.kept_bytes == sum(found[name].kept_bytes for name in ("conv", "norm", "parts.0", "parts.1"))
    assert net.training
    inside = sum(found[name].seconds for name in ("conv", "norm", "parts.0", "parts.1"))
    assert tree.own_seconds == pytest.approx(tree.seconds - inside)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
    assert tree.to_plain()["children"][0]["name"] == "conv"


@pytest.mark.parametrize(
    ("name", "published"),
    [("resnet50", 4.09), ("vit_base_patch16_224", 17.56), ("shufflenet_v2_x0_5", 0.04)],
)
def test_multiplications_are_those_published(name: str, published: float) -> None:
    """Of torchvision (ResNet 4.089, ShuffleNet 0.0405) and timm; attention is in them (ViT-B without it: 11.3)."""
    with torch.device("meta"):
        net = lab.create_model(name)
    tree = measure(net, lambda: net(torch.empty(1, 3, 224, 224, device="meta")), repeats=0)
    assert round(tree.macs / 1e9, 2) == published


def test_our_own_kernels_do_not_hide_multiplications() -> None:
    """On a CPU large products are oneDNN's, which PyTorch's counter does not know. By hand, 65 tokens of 192 features:

    twelve times qkv, projection, feed-forward net and attention, then patches and nothing for the head.
    """
    net = lab.create_model("vit_tiny_patch16_224", num_classes=0, img_size=128)
    x = torch.ones(4, 3, 128, 128)
    block = 65 * 192 * (3 + 1 + 4 + 4) * 192 + 2 * 65 * 65 * 192
    assert measure(net, lambda: net(x), repeats=0).macs == 4 * (12 * block + 64 * 768 * 192)


def test_an_error_leaves_no_hooks() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(3, 3)).train()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        measure(net, lambda: net(torch.ones(1, 2)))
    assert net.training
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


def tree(**parts: Any) -> Node:
    return tree_of(nn.ModuleDict(parts))


def test_differences() -> None:
    left = tree(a=nn.Linear(2, 3), b=nn.Sequential(nn.Linear(3, 3), nn.ReLU()), c=nn.ReLU())
    right = tree(a=nn.Linear(2, 4, bias=False), b=nn.Sequential(nn.Linear(3, 3), nn.GELU()), d=nn.Linear(1, 1))
    assert differences(left, left) == []
    assert differences(left, right) == [
        Difference("a", "changed", "weight 3x2, bias 3", "weight 4x2, no bias"),
        Difference("b.1", "changed", "ReLU", "GELU"),
        Difference("c", "removed", "ReLU, 0 parameters", ""),
        Difference("d", "added", "", "Linear, 2 parameters"),
    ]
