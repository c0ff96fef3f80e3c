"""nuScenes' metrics against a slow form from their definition, numbers by hand, and on two ranks.

``scripts/compare_nuscenes.py`` compares them with nuscenes-devkit: on the 81 frames of nuScenes mini's validation, with
three sets of 300 detections a frame, the largest difference is 2.2e-16 (2026-11-29).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.data.nuscenes_names import ATTRIBUTES, CAMERAS, CLASSES
from lab.errors import DataError
from lab.structures.detection3d import Detection3dPredictions, MultiviewBatch
from lab.tasks.detection3d import scoring
from lab.tasks.detection3d.data.nuscenes.frames import Frame, FrameSource, in_our_order
from lab.tasks.detection3d.data.nuscenes.infos import read_infos
from lab.tasks.detection3d.metrics import NuScenesMetric, best_of, class_ranges
from lab.tasks.detection3d.poses import GlobalBoxes, to_global
from lab.tasks.detection3d.scoring import NuScenesScore, PlacedBoxes
from scripts.compare_nuscenes import NAMES, jittered, ours, truth_of
from tests.distributed import run_distributed
from tests.unit.tasks.detection3d.makers import pose
from tests.unit.tasks.detection3d.slow_score import slow_score

LIMITS = class_ranges(CLASSES, None)


def tilted(x: float, y: float, yaw: float) -> np.ndarray[Any, Any]:
    """Return a pose that is rolled and pitched too, as that of a car on a slope."""
    roll = np.eye(4)
    roll[:3, :3] = [[0.999, 0.0, 0.0447], [0.0, 1.0, 0.0], [-0.0447, 0.0, 0.999]]
    roll[:3, :3] = np.linalg.qr(roll[:3, :3])[0] * [-1, -1, -1]
    return pose(x, y, yaw).numpy() @ (roll if np.linalg.det(roll[:3, :3]) > 0 else np.eye(4))


def made_up(frames: int, boxes: int, seed: int) -> FrameSource:
    """Return frames with boxes of all classes but trailers, some without points, some with unknown velocities."""
    random, source = np.random.default_rng(seed), FrameSource("made up")
    names = [name for name in CLASSES if name != "trailer"]
    for number in range(frames):
        found = np.zeros((boxes, 9))
        found[:, :2] = random.uniform(-45, 45, (boxes, 2))
        found[:, 3:6] = random.uniform(0.5, 5, (boxes, 3))
        found[:, 6:] = random.normal(0, 1.5, (boxes, 3))
        found[random.random(boxes) < 0.1, 7:] = np.nan
        points = random.integers(0, 6, boxes)
        frame = (f"frame-{number}", (), pose(0.9, 0, 1.57).numpy(), tilted(300 + number, 700, 0.3 * number), found)
        labels = tuple(str(name) for name in random.choice(names, boxes))
        source.frames.append(Frame(*frame, labels, np.full(boxes, -1), points, points > 0, points > 0, True))
    return source


def compared(source: FrameSource, seed: int, queries: int) -> tuple[float, dict[str, Any], NuScenesScore]:
    """Return the largest difference of ours from the slow form, the slow form, and ours."""
    batch = truth_of(source, seed)
    found = jittered(batch, queries, seed)
    mine, slow = ours(found, batch)[0], slow_score(found, batch, NAMES)
    figures = mine.figures()
    apart = [abs(figures[name] - slow[name]) for name in ("map", "nds")]
    for fast, other in ((mine.precisions, slow["precisions"]), (mine.errors, slow["errors"])):
        assert (np.isnan(fast) == np.isnan(other)).all()
        apart.append(float(np.nanmax(np.abs(fast - np.array(other)))))
    return max(apart), slow, mine


def test_metrics_are_those_of_the_definition() -> None:
    apart, slow, mine = compared(made_up(8, 60, 0), 0, 90)
    assert apart < 1e-12  # worst measured: 9.1e-14
    assert 0.1 < slow["map"] < 0.5
    assert int(mine.counts.sum()) == slow["count"]
    assert int(mine.counts[CLASSES.index("trailer")]) == 0


def test_metrics_are_those_of_the_definition_on_nuscenes(data_dir: Path) -> None:
    path = data_dir / "nuscenes_mini_val_infos" / "nuscenes_infos_val.pkl"
    if not path.is_file():
        pytest.skip("needs nuscenes_mini_val_infos")
    source = read_infos(path, CAMERAS)
    in_our_order(source, "auto")
    source.frames = source.frames[::9]
    apart, slow, _ = compared(source, 1, 120)
    assert apart < 1e-12  # worst measured: 2.3e-13
    assert slow["map"] > 0.05


def earlier_first(scores: Any) -> Any:
    """Return the order by score with the earlier of equal ones first, a mutant of ``by_score``."""
    return np.argsort(-scores, kind="stable")


def in_space(found: Any, true: Any, groups: Any, place: Any, limits: Any) -> Any:
    """Match with twice the distances, a mutant of ``match``."""
    return scoring_match(found, true, groups, place, [limit / 2 for limit in limits])


scoring_match = scoring.match


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("by_score", earlier_first),
        ("match", in_space),
        ("_outside_racks", lambda side, racks, names: side),
        ("_running_mean", lambda values: np.nancumsum(values) / np.arange(1, len(values) + 1)),
        ("NOT_MEASURED", {}),
    ],
)
def test_mutants_are_seen(name: str, mutant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, name, mutant)
    try:
        apart = compared(made_up(4, 50, 2), 2, 60)[0]
    except AssertionError:
        return
    assert apart > 1e-4


def one_class(xs: list[float], scores: list[float], truth: list[float]) -> NuScenesScore:
    """Return the score of cars at places along x, of one frame with the rig at the ego vehicle's place."""

    def side(places: list[float], more: list[float]) -> PlacedBoxes:
        count = len(places)
        boxes = np.zeros((count, 9))
        boxes[:, 0] = places
        boxes[:, 3:6] = 2.0
        same = np.broadcast_to(np.eye(4), (count, 4, 4))
        none = np.zeros(count, dtype=np.int64)
        return PlacedBoxes(none, none, none - 1, to_global(boxes, same, same), np.array(more), none - 1)

    return scoring.score(side(xs, scores), side(truth, []), ["car"], [50.0])


def test_average_precision_by_hand() -> None:
    """Two cars; hit, miss, hit: precision 1 up to a recall of 1/2, then 2/3 at 1, in between on a line.

    The area above a precision of 0.1 at the recalls 0.11, 0.12, ... 1: 40 points of 0.9, and 50 on a line from 1/2
    (the miss, where np.interp takes the last of equal recalls) to 2/3, less 0.1.
    """
    found = one_class([10.0, 30.0, 20.0], [0.9, 0.8, 0.7], [10.0, 20.0])
    line = [0.5 + (recall - 0.5) / 0.5 * (2 / 3 - 0.5) - 0.1 for recall in np.arange(51, 101) / 100]
    first = [0.9] * 39 + [0.5 - 0.1]
    assert found.precisions[0, 0] == pytest.approx(np.mean(first + line) / 0.9)
    assert found.errors[0].tolist() == pytest.approx([0.0, 0.0, 0.0, 0.0, 1.0])


def test_a_box_at_the_threshold_is_no_match_and_the_nearest_free_one_is_taken() -> None:
    assert one_class([10.5], [0.9], [10.0]).precisions[0].tolist() == pytest.approx([0.0, 1.0, 1.0, 1.0])
    both = one_class([10.2, 10.1], [0.9, 0.8], [10.0, 11.0])  # the first takes 10.0, the second 11.0 within 1 m
    assert both.precisions[0].tolist()[1:] == pytest.approx([1.0, 1.0, 1.0])
    assert both.precisions[0, 0] < 1.0


def test_what_is_out_of_range_or_in_another_band_does_not_count() -> None:
    assert one_class([10.0, 60.0], [0.5, 0.9], [10.0, 55.0]).precisions[0, 0] == pytest.approx(1.0)
    assert one_class([60.0], [0.9], [55.0]).counts.tolist() == [0]
    assert all(math.isnan(value) for value in one_class([60.0], [0.9], [55.0]).figures().values())


def test_quaternions_are_the_rotation() -> None:
    boxes = np.array([[1.0, 2.0, 0.5, 4, 2, 1.5, 0.7, 1.0, 0.0]])
    found: GlobalBoxes = to_global(boxes, pose(0.9, 0, 1.0).numpy()[None], tilted(5, 6, 0.4)[None])
    (w, x, y, z), vector = found.quaternions()[0], np.array([1.0, 0.0, 0.0])
    axis = np.array([x, y, z])
    turned = vector + 2 * np.cross(axis, np.cross(axis, vector) + w * vector)
    assert math.atan2(turned[1], turned[0]) == pytest.approx(found.yaws[0], abs=1e-12)
    assert w >= 0


def made_batch() -> tuple[Detection3dPredictions, MultiviewBatch]:
    batch = truth_of(made_up(5, 30, 4), 4)
    return jittered(batch, 40, 4), batch


def on_rank(rank: int, world_size: int, counts: tuple[int, ...]) -> list[dict[str, float]]:
    """Measure every second frame on this rank, the last one filled up with a frame that is not valid."""
    results, (found, batch) = [], made_batch()
    for count in counts:
        metric = NuScenesMetric(CLASSES, ATTRIBUTES, LIMITS)
        for number in range(-(-count // world_size)):
            index = rank + number * world_size
            row = slice(index % count, index % count + 1)
            part = batch.rows(row)
            assert part.truth is not None
            metric.update(found.rows(row), part.truth, replace(part, valid=torch.tensor([index < count])))
        results.append(metric.score(metric.sides(metric.compute())).figures())
    return results


def test_two_ranks_equal_one() -> None:
    counts = (1, 5)  # of one frame, rank 1 holds only a filler
    expected = on_rank(0, 1, counts)
    for found in run_distributed(on_rank, world_size=2, args=(2, counts)):
        assert str(found) == str(expected)  # NaN equals nothing


def test_a_frame_counted_twice_is_an_error() -> None:
    found, batch = made_batch()
    metric = NuScenesMetric(CLASSES, ATTRIBUTES, LIMITS)
    assert batch.truth is not None
    metric.update(found, batch.truth, batch)
    metric.update(found, batch.truth, batch)
    with pytest.raises(DataError, match="frame id 0 was evaluated twice"):
        metric.sides(metric.compute())


def test_what_is_no_box_is_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    found, batch = made_batch()
    assert batch.truth is not None
    found.boxes[0, 0, 3] = torch.nan
    found.scores[1, 2] = torch.inf
    found.boxes[2, 1, 4] = 0.0
    metric = NuScenesMetric(CLASSES, ATTRIBUTES, LIMITS)
    metric.update(found, batch.truth, batch)
    metric.sides(metric.compute())
    assert metric.no_boxes == 3
    assert "3 detections do not count: a number is not finite, or a side not above 0" in caplog.text


def test_the_best_candidates_in_single_precision() -> None:
    scores = torch.arange(600).remainder(300)[None] / 512
    found = best_of(
        Detection3dPredictions(torch.zeros(1, 600, 9).bfloat16(), scores.bfloat16(), torch.arange(600)[None])
    )
    assert found.boxes.shape == (1, 500, 9)
    assert {found.boxes.dtype, found.scores.dtype} == {torch.float32}
    assert found.scores[0].tolist() == sorted(found.scores[0].tolist(), reverse=True)
    whole = best_of(Detection3dPredictions(torch.zeros(1, 600, 9), scores, torch.arange(600)[None]))
    assert whole.labels[0, :4].tolist() == [299, 599, 298, 598]  # of equal ones the first
