"""The deformable convolution against torchvision's, in float64, forward and every gradient."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F

from lab.errors import ConfigError
from lab.ops import deform_conv
from lab.ops.deform_conv import deform_conv2d
from tests.classifiers import worst

# stride, padding, dilation, groups, deform groups, kernel
GEOMETRIES = [
    ((1, 1), (1, 1), (1, 1), 1, 1, (3, 3)),
    ((2, 2), (1, 1), (1, 1), 2, 1, (3, 3)),
    ((1, 1), (2, 2), (2, 2), 4, 2, (3, 3)),
    ((2, 1), (0, 1), (1, 2), 1, 4, (3, 2)),
]
NAMES = ("x", "offset", "weight", "mask", "bias")


def arguments(geometry: Any, dtype: torch.dtype = torch.float64, reach: float = 3.0) -> dict[str, Tensor]:
    """Offsets of several pixels, so that many places lie outside and on every side."""
    stride, padding, dilation, groups, deform_groups, kernel = geometry
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    out = F.conv2d(torch.zeros(1, 1, 7, 9), torch.zeros(1, 1, *kernel), None, stride, padding, dilation).shape[2:]
    taps = kernel[0] * kernel[1]
    return {
        "x": noise(2, 8, 7, 9),
        "offset": noise(2, 2 * deform_groups * taps, *out) * reach,
        "weight": noise(12, 8 // groups, *kernel),
        "mask": noise(2, deform_groups * taps, *out).sigmoid(),
        "bias": noise(12),
    }


def results(function: Any, given: dict[str, Tensor], geometry: Any) -> list[Tensor]:
    """Return the output and the gradients of all arguments."""
    leaves = {name: value.clone().requires_grad_() for name, value in given.items()}
    stride, padding, dilation = geometry[:3]
    out = function(**leaves, stride=stride, padding=padding, dilation=dilation)
    weights = torch.sin(torch.arange(out.numel(), dtype=out.dtype)).view(out.shape)
    (out * weights).sum().backward()
    return [out.detach(), *(leaves[name].grad for name in NAMES if name in leaves)]  # type: ignore[list-item]


def theirs(x: Tensor, **rest: Any) -> Tensor:
    return torchvision.ops.deform_conv2d(x, **rest)


def test_more_channels_than_pixels() -> None:
    """The columns are brought into the weight's order then, and not the other way round."""
    generator = torch.Generator().manual_seed(0)
    given = arguments(GEOMETRIES[0])
    given["weight"] = torch.randn(150, 8, 3, 3, generator=generator, dtype=torch.float64)
    given["bias"] = torch.randn(150, generator=generator, dtype=torch.float64)
    found, expected = (results(function, given, GEOMETRIES[0]) for function in (deform_conv2d, theirs))
    assert max(map(worst, found, expected)) < 1e-13  # worst measured: 6.3e-15


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("masked", [True, False])
def test_forward_and_gradients_equal_torchvision(geometry: Any, masked: bool) -> None:
    given = arguments(geometry)
    if not masked:
        del given["mask"]
    errors = list(map(worst, results(deform_conv2d, given, geometry), results(theirs, given, geometry)))
    assert max(errors) < 1e-13  # worst measured: 3.3e-15


@pytest.mark.parametrize("channels_last", [False, True])
def test_single_and_half_precision(channels_last: bool) -> None:
    geometry = GEOMETRIES[0]
    given = arguments(geometry)
    expected = results(theirs, given, geometry)
    single = {name: value.float() for name, value in given.items()}
    if channels_last:
        single["x"] = single["x"].contiguous(memory_format=torch.channels_last)
    found = results(deform_conv2d, single, geometry)
    assert max(worst(ours.double(), peer) for ours, peer in zip(found, expected, strict=True)) < 5e-6  # 1.7e-6
    half = {name: value.bfloat16() for name, value in given.items()}
    out = deform_conv2d(**half, stride=(1, 1), padding=(1, 1))
    assert out.dtype == torch.bfloat16
    exact = theirs(**{name: value.double() for name, value in half.items()}, stride=(1, 1), padding=(1, 1))
    assert worst(out.double(), exact) < 1e-2  # of the result's rounding to 8 bits


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_the_first_step_of_new_offsets_equals_torchvision(geometry: Any) -> None:
    """All of them are 0: every place is a pixel, or lies on the edge of what is seen."""
    given = arguments(geometry, reach=0.0)
    errors = list(map(worst, results(deform_conv2d, given, geometry), results(theirs, given, geometry)))
    assert max(errors) < 1e-13  # worst measured: 3.3e-15


def test_under_autocast_offsets_are_read_in_single_precision() -> None:
    """The map comes in float32 and the offsets in bfloat16, or all in bfloat16; gradients reach every argument."""
    given = {name: value.float() for name, value in arguments(GEOMETRIES[0]).items()}
    exact = deform_conv2d(**given, padding=(1, 1))
    given["offset"], given["mask"] = given["offset"].bfloat16(), given["mask"].bfloat16()
    rounded = {name: value.float() for name, value in given.items()}
    leaves = {name: value.clone().requires_grad_() for name, value in given.items()}
    with torch.autocast("cpu", torch.bfloat16):
        out = deform_conv2d(**leaves, padding=(1, 1))
    out.float().square().sum().backward()
    assert all(value.grad is not None and value.grad.dtype == value.dtype for value in leaves.values())
    assert worst(out.float(), deform_conv2d(**rounded, padding=(1, 1))) < 2e-2  # of the product's 8 bits
    assert worst(exact, deform_conv2d(**rounded, padding=(1, 1))) > 1e-3  # offsets of 8 bits are other offsets


def test_no_offsets_are_an_ordinary_convolution() -> None:
    geometry = GEOMETRIES[2]
    given = arguments(geometry, reach=0.0)
    given["mask"] = torch.ones_like(given["mask"])
    found = deform_conv2d(**given, stride=(1, 1), padding=(2, 2), dilation=(2, 2))
    expected = F.conv2d(given["x"], given["weight"], given["bias"], 1, 2, 2, groups=4)
    assert worst(found, expected) < 1e-14  # worst measured: 3.2e-16


def test_places_on_the_border_and_far_outside() -> None:
    """Whole numbers, where the gradient of an offset jumps, halves beyond the last pixel, and far away."""
    geometry = ((1, 1), (0, 0), (1, 1), 1, 1, (1, 1))
    offsets = torch.tensor([[0.0, 0.0], [-0.5, 8.0], [6.5, 8.5], [-1.0, 3.0], [7.0, 0.0], [1e30, -1e30], [2.0, -0.25]])
    given = arguments(geometry)
    given["offset"] = torch.zeros_like(given["offset"])
    given["offset"][:, :, 0, : len(offsets)] = offsets.t().double()
    given["offset"][:, 1, 0] -= torch.arange(9.0, dtype=torch.float64)
    found, expected = (results(function, given, geometry) for function in (deform_conv2d, theirs))
    assert max(map(worst, found, expected)) < 1e-13  # worst measured: 3.3e-15
    assert all(item.isfinite().all() for item in found)


@pytest.mark.parametrize("mutant", ["axes", "mask", "taps"])
def test_the_comparison_sees_mutants(mutant: str) -> None:
    geometry = GEOMETRIES[2]
    given = arguments(geometry)
    expected = results(theirs, given, geometry)[0]
    changed = dict(given)
    if mutant == "axes":  # right before down
        changed["offset"] = given["offset"].unflatten(1, (-1, 2)).flip(2).flatten(1, 2)
    elif mutant == "mask":  # of the other group
        changed["mask"] = given["mask"].roll(9, 1)
    else:
        changed["weight"] = given["weight"].transpose(2, 3)
    assert worst(results(deform_conv2d, changed, geometry)[0], expected) > 1e-2


def test_a_gpu_takes_torchvisions_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU is needed to see the choice: shapes alone, of a tensor that says that it lies there."""
    called = []
    monkeypatch.setattr(torchvision.ops, "deform_conv2d", lambda x, *rest: called.append(x.shape) or x)
    monkeypatch.setattr(deform_conv, "_check", lambda *_: None)

    class OnGpu:
        is_cuda, shape, dtype = True, (1, 2, 3, 4), torch.bfloat16

        def to(self, dtype: torch.dtype) -> OnGpu:
            called.append(dtype)
            return self

    deform_conv2d(OnGpu(), torch.zeros(1), torch.zeros(1))  # type: ignore[arg-type]
    assert called == [torch.float32, (1, 2, 3, 4), torch.bfloat16]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"weight": torch.zeros(12, 3, 3, 3)}, "a weight (12, 3, 3, 3) does not fit to a map (2, 8, 7, 9)"),
        ({"offset": torch.zeros(2, 17, 7, 9)}, "17 channels of offsets: should be 2 x 9 taps x a divisor of the 8"),
        ({"offset": torch.zeros(2, 18, 6, 9)}, "offset of shape (2, 18, 6, 9): should be (2, 18, 7, 9)"),
        ({"mask": torch.zeros(2, 18, 7, 9)}, "mask of shape (2, 18, 7, 9): should be (2, 9, 7, 9)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(changed: dict[str, Tensor], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        deform_conv2d(**{**arguments(GEOMETRIES[0]), **changed}, padding=(1, 1))
