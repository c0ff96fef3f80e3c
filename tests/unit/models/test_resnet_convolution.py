"""The fused convolution stands aside where tensors are not real: the planner counts with fake ones."""

from __future__ import annotations

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lab.models.resnet.convolution import convolve


def test_fake_tensors_take_the_plain_convolution() -> None:
    with FakeTensorMode(), torch.no_grad():
        convolution, norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4).eval()
        x, add = torch.empty(2, 3, 5, 6), torch.empty(2, 4, 5, 6)
        assert convolve(x, convolution, norm, add).shape == add.shape
