"""Mosaic and letterbox: painted boxes are followed through them; which samples are mosaics, and from what."""

from __future__ import annotations

import itertools

import pytest
import torch

from lab.data.images.resizing import sample_generator
from lab.data.sampler import TrainBatches
from lab.errors import ConfigError
from lab.tasks.detection.data import mosaic as module
from lab.tasks.detection.data.mosaic import BoxedImage, MosaicOptions, MosaicPlan, make_mosaic
from lab.tasks.detection.data.transforms import DetectionTransform, fitted_size
from tests.unit.tasks.detection.data.painted import BACKGROUND, painted, worst_distance

FOUR = [
    painted(60, 90, [[10, 5, 50, 40]], [0]),
    painted(80, 50, [[8, 30, 44, 70]], [1]),
    painted(64, 64, [[20, 12, 60, 52]], [2]),
    painted(40, 100, [[5, 4, 70, 36]], [3]),
]


def mosaics(letterbox: bool, count: int = 40, **options: float):
    transform = DetectionTransform(
        True, size=(96, 128), flip=0.5, letterbox=letterbox, mosaic=MosaicOptions(1.0, (0.5, 1.5)), **options
    )
    for index in range(count):
        rest = iter(FOUR[1:])
        yield transform(*FOUR[0], sample_generator(3, 0, index), others=lambda _, rest=rest: next(rest))


@pytest.mark.parametrize("letterbox", [False, True])
def test_painted_boxes_stay_where_their_colour_is(letterbox):
    worst, cut = 0.0, 0
    for done in mosaics(letterbox):
        assert done.image.shape == (3, 96, 128)
        assert done.boxes.min() >= 0
        assert bool((done.boxes[:, 2:] <= torch.tensor([128.001, 96.001])).all())
        worst = max(worst, worst_distance(done.image, done.boxes, done.labels))
        cut += len(done.boxes) < 4
    assert worst < 0.75  # measured: see the mutants below for what it is without
    assert cut > 3  # some boxes lay outside


@pytest.mark.parametrize("mutant", ["shift", "ratio", "cut", "order"])
def test_mutants_are_seen(mutant, monkeypatch):
    moved = module._moved
    if mutant == "cut":  # what is cut off before the first pixel that is seen does not count
        monkeypatch.setattr(
            module,
            "_moved",
            lambda boxes, a, *rest: moved(boxes, a._replace(first=0, last=a.last - a.first), *rest),
        )
    elif mutant == "shift":
        monkeypatch.setattr(module, "_moved", lambda boxes, *rest: moved(boxes + 2, *rest))
    elif mutant == "ratio":
        monkeypatch.setattr(module, "_moved", lambda boxes, *rest: moved(boxes * 1.1, *rest))
    else:  # rows and columns exchanged
        monkeypatch.setattr(module, "_moved", lambda boxes, a, b, least: moved(boxes, b, a, least))
    assert max(worst_distance(done.image, done.boxes, done.labels) for done in mosaics(False, 8)) > 1.5


def test_a_mosaic_by_hand():
    """Images of 4 x 4 at their own size meet at (3, 1) of a canvas of 6 x 8: corners worked out on paper."""
    four = [BoxedImage(torch.full((3, 4, 4), level, dtype=torch.uint8), *_whole(level)) for level in (1, 2, 3, 4)]
    done = make_mosaic(four, [(4, 4)] * 4, (3, 1), (6, 8), grey=9)
    expected = torch.tensor([[1, 1, 1, 2, 2, 2, 2, 9]] + [[3, 3, 3, 4, 4, 4, 4, 9]] * 4 + [[9] * 8], dtype=torch.uint8)
    assert torch.equal(done.image, expected.expand(3, -1, -1))
    assert done.boxes.tolist() == [[0, 0, 3, 1], [3, 0, 7, 1], [0, 1, 3, 5], [3, 1, 7, 5]]
    assert done.labels.tolist() == [1, 2, 3, 4]
    half = make_mosaic(four, [(4, 4)] * 4, (3, 1), (6, 8), min_visible=0.25)  # 3 of 16 pixels of the first are seen
    assert half.labels.tolist() == [2, 3, 4]  # 4 of 16, 12 of 16, all
    assert make_mosaic(four, [(4, 4)] * 4, (0, 0), (6, 8)).labels.tolist() == [4]  # three have no place


def _whole(label: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([label])


def test_the_point_where_images_meet_covers_what_it_should():
    options = MosaicOptions(1.0, (0.5, 0.5))
    points = [options.draw((100, 200), sample_generator(0, 0, index)) for index in range(200)]
    assert {factor for factor, _ in points} == {0.5}
    xs, ys = zip(*(point for _, point in points), strict=True)
    assert (min(xs), max(xs)) == (50, 150)  # 50 to 150: half-sized images lie in a square of the canvas's size
    assert (min(ys), max(ys)) == (25, 74)
    large = [MosaicOptions(1.0, (1.0, 1.5)).draw((100, 200), sample_generator(0, 0, index)) for index in range(200)]
    assert min(point[0] for _, point in large) < 5
    assert max(point[0] for _, point in large) > 195
    assert 1.0 <= min(factor for factor, _ in large) < 1.05 < 1.45 < max(factor for factor, _ in large) <= 1.5


def test_without_probability_nothing_is_drawn():
    transform = DetectionTransform(True, size=32)
    plain = transform(*FOUR[0], sample_generator(0, 0, 5))
    assert torch.equal(transform(*FOUR[0], sample_generator(0, 0, 5), others=_never).image, plain.image)


def _never(generator: torch.Generator) -> BoxedImage:
    raise AssertionError("no other picture is needed")


def test_masks_and_numbers_out_of_range_are_refused():
    transform = DetectionTransform(True, size=32, mosaic=MosaicOptions(1.0))
    masks = torch.zeros(1, 60, 90, dtype=torch.bool)
    with pytest.raises(ConfigError, match=r"mosaic is for boxes: masks are not put together; set mosaic=0"):
        transform(*FOUR[0], sample_generator(0, 0, 0), masks, _never)
    with pytest.raises(ConfigError, match=r"data\.augmentation\.mosaic .* give data\.augmentation\.size"):
        DetectionTransform(True, mosaic=MosaicOptions(0.5))
    for scale in ([0.4, 1.0], [1.5, 1.0], [0.5, 2.5], [1.0]):
        with pytest.raises(ConfigError, match="mosaic_scale"):
            MosaicOptions(0.5, scale)


def test_the_end_of_a_training_has_no_mosaics():
    batches = TrainBatches(10, 3, seed=4, max_steps=10)  # three steps an epoch
    plan = MosaicPlan(0.2, batches)  # none from step 8 on: the last of the third epoch
    for step, keys in enumerate(batches):
        assert [plan.allows(*key) for key in keys] == [step < 8] * 3
    assert all(MosaicPlan(0.0, batches).allows(epoch, 1) for epoch in range(9))
    assert not any(MosaicPlan(1.0, batches).allows(*key) for key in itertools.chain(*batches))
    for rank in (0, 1):  # step 4 of 7 is the second of the second epoch, whoever reads it
        part = TrainBatches(12, 4, seed=4, max_steps=7, rank=rank, world_size=2)
        plan = MosaicPlan(0.5, part)
        assert [{plan.allows(*key) for key in keys} for keys in part] == [{True}] * 4 + [{False}] * 3


@pytest.mark.parametrize("size", [(60, 90), (80, 50), (33, 47), (500, 20)])
def test_letterbox_keeps_the_aspect_ratio_and_boxes_return_exactly(size):
    """The fitted size by hand: the side that binds is filled, the other is rounded; boxes are scaled side by side."""
    height, width = size
    picture = painted(height, width, [[2, 3, width - 4, height - 5]], [0])
    done = DetectionTransform(False, size=(64, 96), letterbox=True)(*picture, sample_generator(0, 0, 0))
    ratio = min(64 / height, 96 / width)
    assert done.image.shape[1:] == (max(1, round(height * ratio)), max(1, round(width * ratio)))
    assert done.image.shape[1] == 64 or done.image.shape[2] == 96
    back = done.boxes * (torch.tensor([width, height] * 2) / torch.tensor([*done.image.shape[:0:-1]] * 2))
    torch.testing.assert_close(back, picture.boxes, atol=1e-4, rtol=0)  # worst measured: 3e-5
    assert worst_distance(done.image, done.boxes, done.labels) < 0.75 or min(done.image.shape[1:]) < 8
    assert fitted_size(height, width, (64, 96), letterbox=False) == (64, 96)
    assert BACKGROUND != module.GREY
