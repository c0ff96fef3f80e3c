"""The ResNets for small images against torchvision's basic blocks, put together by hand as the paper's section 4.2."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab import create_model
from lab.errors import ConfigError
from tests.agreement import Compared
from tests.classifiers import fill, gradients_apart, images, logits_apart, multiplications, worst

torchvision = pytest.importorskip("torchvision")


PEER = Compared("resnet", "torchvision's blocks", ("resnet20",))


class Shortcut(nn.Module):
    """Option A: every second pixel, and as many channels of zeros."""

    def __init__(self, step: int = 2, before: int = 0) -> None:
        super().__init__()
        self.step, self.before = step, before

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        x = F.max_pool2d(x, 1, self.step)
        return F.pad(x, (0, 0, 0, 0, channels * self.before, channels * (1 - self.before)))


def peer(blocks: int, shortcut: nn.Module | None = None) -> nn.Module:
    basic = torchvision.models.resnet.BasicBlock
    model = nn.Sequential()
    model.conv1, model.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
    model.relu = nn.ReLU()
    channels = 16
    for stage, planes in enumerate((16, 32, 64)):
        first = basic(channels, planes, 2, shortcut or Shortcut()) if stage else basic(16, 16)
        model.add_module(f"layer{stage + 1}", nn.Sequential(first, *(basic(planes, planes) for _ in range(blocks - 1))))
        channels = planes
    model.pool, model.flat, model.fc = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    fill(model)
    return model


def test_logits_and_gradients_equal_torchvisions_blocks() -> None:
    ours, theirs = create_model("resnet20"), peer(3)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert PEER.agrees("logits", logits_apart(ours, theirs, images()), 3e-6)  # worst measured: 2.3e-7
    # In float64: in float32 a ReLU's input next to 0 has another sign in the peer, and one channel's gradient differs.
    x = images(batch=8).double()
    apart = gradients_apart(ours.double(), theirs.double(), x)
    assert PEER.agrees("training in double precision", apart, 1e-11)  # worst measured: 6.6e-13


@pytest.mark.parametrize("mutant", [Shortcut(before=1), nn.Sequential(nn.ZeroPad2d((-1, 1, 0, 0)), Shortcut())])
def test_mutants_are_seen(mutant: nn.Module) -> None:
    theirs = peer(3, mutant)
    ours = create_model("resnet20")
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert logits_apart(ours, theirs, images()) > 1e-2


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),  # parameters: table 6 of the paper, in millions; products counted by hand
    [("resnet20", 0.27, 40.55), ("resnet32", 0.46, 68.86), ("resnet56", 0.85, 125.49), ("resnet110", 1.7, 252.89)],
)
def test_size_is_that_of_the_paper(name: str, parameters: float, gmacs: float) -> None:
    model = create_model(name)
    count = sum(value.numel() for value in model.parameters())
    assert count / 1e6 == pytest.approx(parameters, abs=0.01 if parameters < 1 else 0.05)
    assert 1e3 * multiplications(model, torch.zeros(1, 3, 32, 32)) == pytest.approx(gmacs, abs=0.01)


def test_as_a_backbone() -> None:
    ours, theirs = create_model("resnet20", features_only=True, out_indices=(0, 1, 2, 3)).eval(), peer(3).eval()
    ours.load_state_dict({key: value for key, value in theirs.state_dict().items() if "fc" not in key}, strict=True)
    x = theirs.relu(theirs.bn1(theirs.conv1(images())))
    expected = [x]
    for layer in (theirs.layer1, theirs.layer2, theirs.layer3):
        expected.append(layer(expected[-1]))
    with torch.no_grad():
        found = ours(images())
    assert PEER.agrees("maps", max(map(worst, found, expected)), 3e-6)  # worst measured: 8.6e-7
    assert (ours.num_channels, ours.strides) == ((16, 16, 32, 64), (1, 1, 2, 4))


def test_another_depth_is_refused() -> None:
    from lab.models.resnet.cifar import CifarResNet

    with pytest.raises(ConfigError, match="depth=18 of a ResNet for small images: expected 6 n"):
        CifarResNet(depth=18)
