"""Boxes as lines in pictures, against points that are projected by hand, and sheets of frames."""

from __future__ import annotations

import math

import numpy as np
import torch

from lab.tasks.detection3d.pictures import draw_frame, frame_panels, truth_of
from lab.tasks.detection3d.projection import corners, edges_in_picture, outlines_from_above
from tests.unit.tasks.detection3d.makers import looking, make_batch, make_task, pose


def box(x: float, y: float, yaw: float) -> np.ndarray:
    return np.array([[x, y, 0.0, 4.0, 2.0, 2.0, yaw, 0.0, 0.0]])


def test_edges_are_where_the_camera_sees_them() -> None:
    """The camera is 90 degrees wide at 64 pixels: a point at (x, y, z) is at 32 - 32 y / x, 16 - 32 z / x."""
    edges, seen = edges_in_picture(box(10.0, 0.0, 0.0), looking(0.0).numpy(), (32, 64))
    assert seen.tolist() == [True]
    x, y, z = corners(box(10.0, 0.0, 0.0))[0, 0]  # front, left, below
    assert (x, y, z) == (12.0, 1.0, -1.0)
    np.testing.assert_allclose(edges[0, 0, 0], [32 - 32 / 12, 16 + 32 / 12])
    np.testing.assert_allclose(edges[0, 0, 1], [32 - 32 / 12, 16 - 32 / 12])
    turned = edges_in_picture(box(10.0, 0.0, math.pi / 2), looking(0.0).numpy(), (32, 64))[0]
    np.testing.assert_allclose(turned[0, 0, 0], [32 - 32 * 2 / 9, 16 + 32 / 9])


def test_what_is_behind_is_not_seen_and_what_passes_by_is_cut() -> None:
    edges, seen = edges_in_picture(box(-10.0, 0.0, 0.0), looking(0.0).numpy(), (32, 64))
    assert seen.tolist() == [False]
    assert np.isnan(edges).all()
    edges, seen = edges_in_picture(box(0.5, 2.0, 0.0), looking(0.0).numpy(), (32, 64))
    assert seen.tolist() == [True]
    assert np.isnan(edges).any()
    left = edges[0, 8]  # along the left side below: from x = 2.5 back to where it is cut, 0.1 m before the camera
    np.testing.assert_allclose(left[0], [32 - 32 * 3 / 2.5, 16 + 32 / 2.5])
    np.testing.assert_allclose(left[1], [32 - 32 * 3 / 0.1, 16 + 32 / 0.1])
    assert edges_in_picture(box(10.0, 30.0, 0.0), looking(0.0).numpy(), (32, 64))[1].tolist() == [False]


def test_an_outline_begins_at_its_front() -> None:
    outline = outlines_from_above(box(10.0, 0.0, 0.0), pose(1.0, 2.0, math.pi / 2).numpy())[0]
    np.testing.assert_allclose(outline, [[0.0, 14.0], [2.0, 14.0], [2.0, 10.0], [0.0, 10.0]], atol=1e-12)


def test_a_sheet_shows_truth_and_prediction() -> None:
    task, batch = make_task().eval(), make_batch(2)
    with torch.no_grad():
        panels = list(frame_panels(task, task(batch), batch, 5))
    assert len(panels) == 2
    row = slice(0, 1)
    predictions = task.net.predict(task(batch)).rows(row)
    sheet = np.asarray(draw_frame(batch.rows(row), predictions, task.spec))
    predictions.scores.zero_()
    empty = np.asarray(draw_frame(batch.rows(row), predictions, task.spec))
    assert (sheet != empty).any()
    assert (np.asarray(panels[0]) == sheet).all()


def test_boxes_that_do_not_count_are_not_drawn() -> None:
    batch = make_batch(1)
    assert batch.truth is not None
    batch.truth.points[0], batch.truth.points[1:] = 0, -1  # -1: not known, counts
    drawn = truth_of(batch)
    assert drawn is not None
    np.testing.assert_array_equal(drawn.boxes, batch.truth.boxes[1:].double().numpy())
