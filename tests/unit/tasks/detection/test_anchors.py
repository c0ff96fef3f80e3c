"""Anchors of a dataset: against a slow form of k-means, by hand, and the script that prints them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import lab
from lab.data.images.dataset import Reading
from lab.errors import ConfigError
from lab.tasks.detection.anchors import fit_anchors, iou_of_sizes, measure_anchors, sizes_of
from lab.tasks.detection.data.transforms import DetectionTransform
from lab.tasks.detection.data.voc import VocDataset
from tests.data_factory import make_voc

ROOT = Path(__file__).resolve().parents[4]


def iou(a: tuple[float, float], b: tuple[float, float]) -> float:
    shared = min(a[0], b[0]) * min(a[1], b[1])
    return shared / (a[0] * a[1] + b[0] * b[1] - shared)


def slow(sizes: list[tuple[float, float]], anchors: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Run k-means box by box from given anchors; return the best anchors seen."""
    best, best_iou, before = anchors, -1.0, None
    for _ in range(300):
        nearest = [max(range(len(anchors)), key=lambda k: iou(box, anchors[k])) for box in sizes]
        mean = sum(iou(box, anchors[k]) for box, k in zip(sizes, nearest, strict=True)) / len(sizes)
        if mean > best_iou + 1e-15:
            best, best_iou = anchors, mean
        if nearest == before:
            break
        before, groups = (
            nearest,
            [[box for box, k in zip(sizes, nearest, strict=True) if k == j] for j in range(len(anchors))],
        )
        anchors = [
            (sum(w for w, _ in group) / len(group), sum(h for _, h in group) / len(group)) if group else anchors[j]
            for j, group in enumerate(groups)
        ]
    return sorted(best, key=lambda box: box[0] * box[1])


def boxes(count: int = 120) -> np.ndarray:
    return np.exp(np.random.default_rng(3).normal(3, 1, (count, 2)))


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_slow_form_from_the_same_start(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.tasks.detection import anchors

    starts = []
    first = anchors._first
    monkeypatch.setattr(anchors, "_first", lambda *given: starts.append(first(*given)) or starts[-1])
    fit = fit_anchors(boxes(), 5, seed)
    expected = slow([tuple(box) for box in boxes().tolist()], [tuple(box) for box in starts[0].tolist()])
    assert fit.anchors == pytest.approx(np.array(expected), rel=1e-9)
    assert fit.mean_iou == pytest.approx(iou_of_sizes(boxes(), np.array(expected)).max(1).mean())
    assert (fit_anchors(boxes(), 5, seed).anchors == fit.anchors).all()


def test_groups_that_lie_apart_are_found() -> None:
    centres = np.array([[8.0, 8.0], [40.0, 20.0], [100.0, 200.0]])
    sizes = np.concatenate([centre * np.array([[0.9, 1.1], [1.1, 0.9], [1.0, 1.0]]) for centre in centres])
    fit = fit_anchors(sizes, 3)
    assert fit.anchors == pytest.approx(centres)
    assert (fit.recall, fit.matched) == (1.0, (1.0, 1.0))


def test_numbers_by_hand() -> None:
    fit = measure_anchors(np.array([[10.0, 10.0], [10.0, 5.0], [10.0, 30.0], [10.0, 39.0]]), np.array([[10.0, 10.0]]))
    assert fit.mean_iou == pytest.approx((1 + 0.5 + 1 / 3 + 10 / 39) / 4)
    assert fit.recall == 0.5
    assert fit.matched == (0.25, 1.0)  # a ratio of 2 is not below 2


def test_too_few_boxes() -> None:
    with pytest.raises(ConfigError, match="3 anchors cannot be fitted to 2 different sizes of boxes"):
        fit_anchors(np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]), 3)


def test_boxes_that_hardly_differ() -> None:
    nearly = np.array([[10.0, 10.0], [np.nextafter(10.0, 11), 10.0], [20.0, 10.0]])
    with pytest.raises(ConfigError, match="3 anchors cannot be fitted to 2 sizes of boxes that differ"):
        fit_anchors(nearly, 3)


def test_sizes_are_in_pixels_of_the_input(tmp_path: Path) -> None:
    make_voc(tmp_path, difficult=["ball"])  # images of 48 x 64; the ship is 64 x 24, balls are crowds
    dataset = VocDataset(tmp_path, reading=Reading(transform=DetectionTransform(train=False, size=[32, 32])))
    assert sizes_of(dataset, (96, 96)).tolist() == [[96.0, 48.0]]
    assert sizes_of(dataset, (96, 96), letterbox=True).tolist() == [[96.0, 36.0]]


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fit_anchors", ROOT / "scripts" / "fit_anchors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data=shapes", "data.num_train=24", "--anchors", "6", "--most", "3", "--size", "64"]
    assert script().main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("boxes, input 64x64 stretched, seed 0")
    assert [line.split()[0] for line in lines[2:5]] == ["1", "2", "3"]
    assert lines[-2].startswith("6 anchors: ")
    pairs = lines[-2].removeprefix("6 anchors: ").split()
    assert lines[-1] == f"model.net.anchors=[{','.join(pairs)}]"
    net = lab.compose("model=yolo_fastest_v2", lines[-1]).to_dict()["model"]["net"]
    assert net["anchors"] == [float(side) for pair in pairs for side in pair.split(",")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data=fashion_mnist"], "data=fashion_mnist gives classification"),
        (["data=shapes", "data.num_train=4", "--anchors", "0"], "0 anchors cannot be fitted to"),
        (["data=yolo_txt", "data.root=/nowhere"], "no folder /nowhere"),
        (["data=shape"], "did you mean 'shapes'"),
    ],
    ids=["kind", "none", "folder", "name"],
)
def test_the_script_answers_mistakes_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script().main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("fit_anchors: ")
    assert error.count("\n") == 1


def test_the_script_refuses_sizes_and_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--size", "0"], ["--size", "1", "2", "3"], ["--most", "0"], ["--seed", "-1"]):
        with pytest.raises(SystemExit, match="2"):
            script().main(words)
    assert "a number above 0" in capsys.readouterr().err
