"""Augmentation against PIL, torchvision's transforms v2, and numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from lab.data.images.colors import ColorChange, adjust_color
from lab.data.images.pixels import dense
from lab.data.images.resizing import resized_size, sample_generator
from lab.errors import ConfigError
from lab.tasks.detection.data.transforms import DetectionTransform
from tests.data_factory import make_image

BOXES = torch.tensor([[10.0, 20.0, 60.0, 80.0], [0.0, 0.0, 160.0, 120.0], [100.0, 90.0, 140.0, 119.0]])
LABELS = torch.tensor([3, 1, 2])


def generator(epoch: int = 0, index: int = 0) -> torch.Generator:
    return sample_generator(7, epoch, index)


@pytest.mark.parametrize(
    ("size", "short", "max_size", "expected"),
    [
        ((480, 640), 800, 1333, (800, 1066)),  # 800 * 640 / 480 = 1066.67, cut down
        ((480, 640), 480, 1333, (480, 640)),
        ((640, 427), 800, 1333, (1199, 800)),  # 800 * 640 / 427 = 1199.06
        ((300, 900), 800, 1333, (444, 1332)),  # 1333 / 3 = 444.33 -> 444; 444 * 3 = 1332
        ((640, 240), 800, 1333, (1333, 500)),  # 1333 * 240 / 640 = 499.875 -> 500; 500 * 640 / 240 = 1333.3
        ((500, 500), 600, None, (600, 600)),
    ],
)
def test_resized_size_rounds_as_detr(size, short, max_size, expected):
    assert resized_size(*size, short, max_size) == expected


@pytest.mark.parametrize("size", [(480, 640), (333, 500), (640, 427)])
def test_evaluation_is_within_one_level_of_pil(size):
    """Of a detector of 205 photos only map_75 changed, by 0.0001 (docs/augmentation.md)."""
    image = make_image(*size)
    done = DetectionTransform(train=False)(image, BOXES, LABELS, generator())
    height, width = resized_size(*size, 800, 1333)
    expected = image.resize((width, height), Image.Resampling.BILINEAR)
    difference = (done.image.int() - F.pil_to_tensor(expected).int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.002  # worst measured: 0.00075
    ratio = torch.tensor([width / size[1], height / size[0]]).repeat(2)
    torch.testing.assert_close(done.boxes, BOXES * ratio)


@pytest.mark.parametrize("short", [120, 333, 480, 800])
def test_pictures_and_tensors_are_resized_alike(short):
    image = make_image(480, 640)
    transform = DetectionTransform(train=False, scales=[short])
    from_picture, from_tensor = (
        transform(item, BOXES, LABELS, generator()).image for item in (image, F.pil_to_tensor(image))
    )
    assert torch.equal(from_picture, from_tensor)
    assert dense(from_picture) is from_picture


@pytest.mark.parametrize("vertical", [False, True])
def test_flips_equal_torchvision(vertical):
    image = F.pil_to_tensor(make_image(120, 160))
    masks = torch.zeros(3, 120, 160, dtype=torch.bool)
    masks[0, 20:80, 10:60] = True
    options = {"flip": 0.0, "vertical_flip": 1.0} if vertical else {"flip": 1.0}
    done = DetectionTransform(train=True, size=(120, 160), **options)(image, BOXES, LABELS, generator(), masks)
    flip = v2.RandomVerticalFlip(1) if vertical else v2.RandomHorizontalFlip(1)
    boxes = tv_tensors.BoundingBoxes(BOXES, format="XYXY", canvas_size=(120, 160))
    expected = flip({"image": tv_tensors.Image(image), "boxes": boxes, "masks": tv_tensors.Mask(masks)})
    assert torch.equal(done.image, expected["image"])
    assert torch.equal(done.boxes, expected["boxes"].as_subclass(torch.Tensor))
    assert torch.equal(done.masks, expected["masks"])


def test_fixed_size_equals_torchvision():
    image = F.pil_to_tensor(make_image(120, 160))
    done = DetectionTransform(train=True, size=(50, 90), flip=0.0)(image, BOXES, LABELS, generator())
    boxes = tv_tensors.BoundingBoxes(BOXES, format="XYXY", canvas_size=(120, 160))
    expected_image, expected_boxes = v2.Resize((50, 90))(tv_tensors.Image(image), boxes)
    assert torch.equal(done.image, expected_image)
    torch.testing.assert_close(done.boxes, expected_boxes.as_subclass(torch.Tensor))


def test_crop_branch_replays_with_torchvision():
    """The window is found by looking for the boxes; pixels and boxes then equal torchvision's crop and resizes."""
    image = F.pil_to_tensor(make_image(120, 160))
    transform = DetectionTransform(
        True, scales=[100], max_size=300, crop_scales=[90], crop_range=(50, 60), crop_probability=1.0, flip=0.0
    )
    whole = torch.tensor([[0.0, 0.0, 160.0, 120.0]])
    for index in range(20):
        draws = generator(0, index)
        torch.rand((), generator=draws)  # the choice of the branch
        torch.randint(1, (), generator=draws)  # the only crop scale
        width, height = (int(torch.randint(50, 61, (), generator=draws)) for _ in range(2))
        top = int(torch.randint(0, 90 - height + 1, (), generator=draws))
        left = int(torch.randint(0, 120 - width + 1, (), generator=draws))
        done = transform(image, torch.cat([BOXES, whole]), torch.tensor([3, 1, 2, 0]), generator(0, index))
        boxes = tv_tensors.BoundingBoxes(torch.cat([BOXES, whole]), format="XYXY", canvas_size=(120, 160))
        expected = v2.functional.crop(F.resize(image, [90, 120]), top, left, height, width)
        expected_boxes = v2.functional.crop(v2.Resize((90, 120))(boxes), top, left, height, width)
        expected_boxes = v2.ClampBoundingBoxes()(expected_boxes)
        size = list(resized_size(height, width, 100, 300))
        expected_boxes = v2.Resize(size)(expected_boxes)
        keep = (expected_boxes[:, 2] > expected_boxes[:, 0]) & (expected_boxes[:, 3] > expected_boxes[:, 1])
        assert torch.equal(done.image, F.resize(expected, size))
        torch.testing.assert_close(done.boxes, expected_boxes[keep].as_subclass(torch.Tensor))
        assert done.labels.tolist() == torch.tensor([3, 1, 2, 0])[keep].tolist()


def test_crop_drops_only_boxes_without_area():
    transform = DetectionTransform(
        True, scales=[60], max_size=60, crop_scales=[60], crop_range=(60, 60), crop_probability=1.0, flip=0.0
    )
    image = torch.zeros(3, 60, 120, dtype=torch.uint8)
    boxes = torch.tensor([[float(x), 10.0, x + 10.0, 20.0] for x in range(0, 110, 10)])
    kept = set()
    for index in range(30):
        done = transform(image, boxes, torch.arange(11), generator(0, index))
        assert done.image.shape == (3, 60, 60)
        widths = done.boxes[:, 2] - done.boxes[:, 0]
        assert (widths > 0).all()
        assert widths.sum() == pytest.approx(min(60.0, 110.0 - _left(done.boxes, done.labels)))
        kept.add(len(done.boxes))
    assert kept >= {6, 7}  # 60 px hold six boxes of 10 px, or five whole ones and two cut ones


def _left(boxes: torch.Tensor, labels: torch.Tensor) -> float:
    return float(10 * labels[-1] + 10 - boxes[-1, 2]) if boxes[-1, 2] < 60 else float(10 * labels[0] + 10 - boxes[0, 2])


def test_min_visible_drops_boxes_that_lose_most():
    image = torch.zeros(3, 100, 100, dtype=torch.uint8)
    boxes = torch.tensor([[0.0, 0.0, 100.0, 100.0], [0.0, 0.0, 2.0, 2.0], [49.0, 49.0, 51.0, 51.0]])
    transform = DetectionTransform(True, size=100, flip=0.0, zoom=(2.0, 2.0), min_visible=0.3)
    for index in range(10):  # the window is 50 x 50: it keeps a quarter of the first box
        done = transform(image, boxes, torch.arange(3), generator(0, index))
        assert 0 not in done.labels


def test_zoom_in_takes_a_window_and_zoom_out_sets_on_black():
    image = torch.full((3, 60, 80), 200, dtype=torch.uint8)
    boxes = torch.tensor([[20.0, 30.0, 60.0, 50.0]])
    near = DetectionTransform(True, size=(60, 80), flip=0.0, zoom=(2.0, 2.0))
    far = DetectionTransform(True, size=(60, 80), flip=0.0, zoom=(0.5, 0.5))
    for index in range(5):
        done = near(image, boxes, torch.tensor([1]), generator(0, index))
        assert done.image.unique().tolist() == [200]
        done = far(image, boxes, torch.tensor([1]), generator(0, index))
        sides = done.boxes[0, 2:] - done.boxes[0, :2]
        torch.testing.assert_close(sides, torch.tensor([20.0, 10.0]))
        share = (done.image == 200).float().mean().item()
        assert share == pytest.approx(0.25, abs=0.03)


def test_masks_follow_their_boxes():
    image = F.pil_to_tensor(make_image(120, 160))
    masks = torch.zeros(3, 120, 160, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, BOXES.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = True
    transform = DetectionTransform(
        True, scales=[150], crop_scales=[120], crop_range=(60, 90), crop_probability=1.0, vertical_flip=0.5
    )
    for index in range(20):
        done = transform(image, BOXES, LABELS, generator(0, index), masks)
        assert done.masks.shape == (len(done.boxes), *done.image.shape[1:])
        for mask, box in zip(done.masks, done.boxes, strict=True):
            rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
            found = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            assert (found - box).abs().max() <= 3.0  # a pixel of the crop is 2.5 pixels of the result


def test_a_sample_is_a_function_of_seed_epoch_and_index():
    transform = DetectionTransform(
        True, scales=[60, 80, 100], crop_scales=[70], crop_range=(40, 60), colors=ColorChange(0.4)
    )
    image = make_image(120, 160)
    torch.manual_seed(1)
    first = transform(image, BOXES, LABELS, sample_generator(7, 2, 5))
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    second = transform(image, BOXES, LABELS, sample_generator(7, 2, 5))
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(first.image, second.image)
    assert torch.equal(first.boxes, second.boxes)
    others = [sample_generator(*key) for key in [(8, 2, 5), (7, 3, 5), (7, 2, 6), (7, 5, 2)]]
    assert len({float(torch.rand((), generator=other)) for other in [*others, sample_generator(7, 2, 5)]}) == 5


def test_scales_and_branches_are_drawn_evenly():
    transform = DetectionTransform(True, scales=[40, 50], crop_scales=[60], crop_range=(20, 30), flip=0.5)
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    image[:, :, :20] = 255
    box = torch.tensor([[0.0, 0.0, 40.0, 40.0]])
    counts = {"40": 0, "flipped": 0, "cropped": 0}
    for index in range(400):
        done = transform(image, box, torch.tensor([0]), generator(0, index))
        counts["40"] += min(done.image.shape[1:]) == 40
        counts["flipped"] += bool(done.image[0, 5, 0] == 0 and done.image[0, 5, -1] == 255)
        counts["cropped"] += done.image.shape[1] != done.image.shape[2]
    assert 160 < counts["40"] < 240  # 200 +- 4 standard deviations
    assert 100 < counts["flipped"] < 240
    assert 130 < counts["cropped"] < 240  # half of them, less square crops


def test_color_equals_torchvision_within_rounding():
    image = F.pil_to_tensor(make_image(120, 160)) // 2 + 50  # nothing clips
    for factors in [(1.2, 1.0, 1.0), (1.0, 0.7, 1.0), (1.0, 1.0, 0.5), (1.1, 0.9, 1.2)]:
        # In float, since torchvision cuts uint8 down to an integer after each of the three.
        expected = F.adjust_brightness(image / 255, factors[0])
        expected = F.adjust_saturation(F.adjust_contrast(expected, factors[1]), factors[2]) * 255
        difference = adjust_color(image, *factors) - expected
        assert difference.abs().max() <= 0.501  # worst measured: 0.5002


def test_wrong_arguments_are_named():
    for options, name in [
        ({"scales": []}, "scales"),
        ({"size": (3, 4, 5)}, "size"),
        ({"crop_range": (600, 384)}, "crop_range"),
        ({"zoom": (0, 1)}, "zoom"),
        ({"flip": 2}, "flip"),
    ]:
        with pytest.raises(ConfigError, match=name):
            DetectionTransform(True, **options)
