"""DETR3D's network, loss and predictions on a small rig."""

from __future__ import annotations

import copy
import math

import pytest
import torch

import lab
from lab.errors import ConfigError
from lab.models.detr3d.sampling import Views
from lab.models.detr3d.transformer import spread_points
from lab.structures.detection3d import Detection3dTargets, Detector3d
from lab.training.terms import batch_terms
from tests.rigs import rig

WIDTH, HEIGHT = 160, 96


def targets() -> Detection3dTargets:
    boxes = [
        [10, 0, 0, 4, 2, 1.5, 0.3, 1, 0],
        [5, 5, 0, 4, 2, 1.5, -2, math.nan, 0],
        [-8, 3, 0, 1, 1, 1.7, 0, 0, 0],
    ]
    return Detection3dTargets(torch.tensor(boxes), torch.tensor([0, 3, 8]), (2, 1))


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return lab.create_model("detr3d_tiny", num_classes=10)


def test_it_learns_two_frames(net: torch.nn.Module) -> None:
    assert isinstance(net, Detector3d)
    torch.manual_seed(1)
    images, projections, wanted = torch.randn(2, 6, 3, HEIGHT, WIDTH), rig(), targets()
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    losses = []
    for _ in range(15):
        loss = torch.stack(list(batch_terms(net, net(images, projections), wanted).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        assert all(part.grad is not None for part in net.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    found = net.predict(net(images, projections))  # type: ignore[operator]
    assert found.boxes.shape == (2, 100, 9)
    assert (found.scores[:, :-1] >= found.scores[:, 1:]).all()


def test_rows_of_all_cameras_give_the_same_as_those_of_seen_points() -> None:
    """What other devices compute, so that the host does not wait."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(12, 8, *size, generator=generator) for size in ((12, 20), (6, 10))]
    views = Views.of(maps, rig(), (-20, -20, -2, 20, 20, 2), (HEIGHT, WIDTH))
    points, weights = torch.rand(2, 50, 3, generator=generator), torch.rand(2, 50, 6, 2, generator=generator)
    places, seen = views.project(points)
    assert 0.1 < seen.float().mean() < 0.3
    few = views._sum(views._visible_pairs(places, seen, weights))
    every = views._sum(views._all_pairs(places, seen, weights))
    torch.testing.assert_close(few, every, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(few.view(2, 50, 8), views.sample(points, weights))


def test_a_point_that_no_camera_sees_gets_zeros() -> None:
    views = Views.of([torch.ones(6, 8, 4, 4)], rig(num_frames=1), (-1, -1, 50, 1, 1, 60), (HEIGHT, WIDTH))
    assert not views.project(torch.rand(1, 7, 3))[1].any()
    assert torch.equal(views.sample(torch.rand(1, 7, 3), torch.ones(1, 7, 6, 1)), torch.zeros(1, 7, 8))


def test_it_runs_without_memory(net: torch.nn.Module) -> None:
    """As ``check=true`` does."""
    outputs = copy.deepcopy(net).to("meta")(torch.empty(1, 6, 3, HEIGHT, WIDTH, device="meta"), rig(6, 1).to("meta"))
    assert outputs.all_codes.shape == (2, 1, 100, 10)


@pytest.mark.parametrize("cameras", [5, 7])
def test_another_number_of_cameras_is_refused(net: torch.nn.Module, cameras: int) -> None:
    with pytest.raises(ConfigError, match=f"weights for 6 cameras and 2 levels of features, the batch has {cameras}"):
        net(torch.zeros(1, cameras, 3, HEIGHT, WIDTH), rig(cameras, 1))


def test_pictures_without_cameras_are_refused(net: torch.nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"expected images \(B, N, 3, H, W\)"):
        net(torch.zeros(6, 3, HEIGHT, WIDTH), rig(6, 1))


def test_a_spread_begins_all_over_the_ground() -> None:
    points = spread_points(103)
    assert points.shape == (103, 3)
    distance = torch.cdist(points, points) + torch.eye(103)
    assert distance.min() > 0.09  # ten by ten would be 0.1
    assert (points[:, :2].mean(0) - 0.5).abs().max() < 0.02


def test_gradients_do_not_depend_on_how_rows_are_gathered() -> None:
    """Rows of seen points with sparse gradients of the features, rows of all cameras with dense ones."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(12, 8, *size, generator=generator).requires_grad_() for size in ((12, 20), (6, 10))]
    points, weights = (torch.rand(2, 50, count, generator=generator).requires_grad_() for count in (3, 12))
    mix = torch.randn(100, 8, generator=generator)
    found = []
    for visible in (True, False):
        views = Views.of(maps, rig(), (-20, -20, -2, 20, 20, 2), (HEIGHT, WIDTH))
        places, seen = views.project(points)
        gather = views._visible_pairs if visible else views._all_pairs
        total = (views._sum(gather(places, seen, weights.unflatten(-1, (6, 2))), sparse=visible) * mix).sum()
        found.append(torch.autograd.grad(total, [*maps, points, weights]))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_it_trains_in_half_precision(net: torch.nn.Module) -> None:
    """Features, points and codes stay in float32; what the network predicts differs by the rounding of bfloat16."""
    torch.manual_seed(1)
    images, projections, wanted = torch.randn(2, 6, 3, HEIGHT, WIDTH), rig(), targets()
    exact = net(images, projections)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = net(images, projections)
        loss = torch.stack(list(batch_terms(net, outputs, wanted).values())).sum()
    assert outputs.all_codes.dtype == torch.float32
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(part.grad is not None and part.grad.isfinite().all() for part in net.parameters())
    assert (outputs.all_codes - exact.all_codes).abs().mean() < 0.05


def test_points_are_projected_exactly_whatever_the_networks_precision() -> None:
    """A product of matrices under autocast would be off by many pixels."""
    maps = [torch.randn(12, 8, 12, 20, generator=torch.Generator().manual_seed(0))]
    views = Views.of(maps, rig(), (-20, -20, -2, 20, 20, 2), (HEIGHT, WIDTH))
    points = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(1))
    expected, seen = views.project(points)
    assert seen.any()
    exact = torch.einsum("bnij,bqj->bqni", views.matrices[..., :3].double(), points.double())
    exact = exact + views.matrices[:, None, :, :, 3].double()
    places = (exact[..., :2] / exact[..., 2:].clamp(min=1e-5))[seen]
    assert float((expected[seen] - places).abs().max()) * WIDTH < 1e-3
    with torch.autocast("cpu", torch.bfloat16):
        found, also = views.project(points)
    assert torch.equal(also, seen)
    assert torch.equal(found, expected)
