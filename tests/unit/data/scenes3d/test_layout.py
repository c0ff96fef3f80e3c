"""Layouts keep what they promise: nothing touches, all lies in range, velocities fit attributes."""

from __future__ import annotations

import numpy as np
import pytest

from lab.data.nuscenes_names import ATTRIBUTES, CLASSES
from lab.data.scenes3d.catalogue import KINDS
from lab.data.scenes3d.footprints import corners
from lab.data.scenes3d.layout import GAP, StreetLayout, draw_layout
from lab.data.scenes3d.rig import EGO_CENTRE, EGO_SIZE, boxes_to_rig
from lab.tasks.detection3d.attributes import MOVES_ABOVE

RANGE = (-20.0, -20.0, -3.0, 20.0, 20.0, 3.0)


@pytest.fixture(scope="module")
def layouts() -> list[StreetLayout]:
    return [draw_layout(np.random.default_rng([0, index]), (8, 16), RANGE) for index in range(40)]


def test_objects_and_the_own_car_stay_apart(layouts: list[StreetLayout]) -> None:
    shapely = pytest.importorskip("shapely")
    nearest = np.inf
    for layout in layouts:
        own = np.array([[EGO_CENTRE, 0.0, *EGO_SIZE, 0.0]])
        polygons = [shapely.Polygon(c) for c in corners(np.concatenate([own, layout.boxes[:, [0, 1, 3, 4, 6]]]))]
        distances = [one.distance(other) for i, one in enumerate(polygons) for other in polygons[:i]]
        nearest = min(nearest, *distances)
    assert nearest >= GAP - 1e-9
    assert nearest < 2 * GAP  # the scenes are not so empty that the test says nothing


def test_all_lies_in_range_and_stands_on_the_ground(layouts: list[StreetLayout]) -> None:
    for layout in layouts:
        boxes = boxes_to_rig(layout.boxes)
        assert (boxes[:, :3] > RANGE[:3]).all()
        assert (boxes[:, :3] < RANGE[3:]).all()
        feet = layout.boxes[:, 2] - layout.boxes[:, 5] / 2
        assert np.isin(feet.round(6), [0.0, 0.12]).all()


def test_velocities_lead_forward_and_fit_the_attributes(layouts: list[StreetLayout]) -> None:
    moving = [ATTRIBUTES.index(name) for name in ("vehicle.moving", "pedestrian.moving", "cycle.with_rider")]
    seen = 0
    for layout in layouts:
        velocities, yaws = layout.boxes[:, 7:], layout.boxes[:, 6]
        speeds = np.linalg.norm(velocities, axis=1)
        assert ((speeds > MOVES_ABOVE) == np.isin(layout.attributes, moving)).all()
        forward = (velocities * np.stack([np.cos(yaws), np.sin(yaws)], axis=1)).sum(axis=1)
        assert np.allclose(forward, speeds, atol=1e-12)
        seen += int((speeds > 0).sum())
    assert seen > 50


def test_every_class_occurs_and_few_objects_find_no_place(layouts: list[StreetLayout]) -> None:
    labels = np.concatenate([layout.labels for layout in layouts])
    assert set(labels.tolist()) == set(range(len(CLASSES)))
    placed, wanted = len(labels), sum(layout.wanted for layout in layouts)
    assert placed / wanted > 0.9


def test_a_scene_of_some_classes_has_their_labels() -> None:
    layout = draw_layout(np.random.default_rng(3), (12, 12), RANGE, ("pedestrian", "car"))
    names = [CLASSES[KINDS[kind].label] for kind in layout.kinds]
    assert [("pedestrian", "car")[label] for label in layout.labels] == names
    assert set(names) == {"pedestrian", "car"}
