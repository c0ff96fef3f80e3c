"""Augmentation of label maps against PIL and OpenCV's formulas, the crop's limit, the generated scenes as segments."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor

from lab.data.images import draws
from lab.data.images.resizing import sample_generator
from lab.data.scenes.shapes import ShapesDataset, semantic_mask
from lab.errors import ConfigError
from lab.structures import NO_SEGMENT, SegmentationSample
from lab.tasks.detection.data import shapes as shapes_of_detection
from lab.tasks.segmentation.data import transforms as segmentation_transforms
from lab.tasks.segmentation.data.collate import collate_segmentation
from lab.tasks.segmentation.data.segments import drop_empty, merge_classes
from lab.tasks.segmentation.data.shapes import ShapesDataModule
from lab.tasks.segmentation.data.transforms import SegmentationTransform, distort_color
from tests.data_factory import make_image

LABELS = torch.arange(4)


def noise(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(-1, 4, (height, width), dtype=np.int16))


@pytest.mark.parametrize("short", [17, 40, 61, 133])
def test_evaluation_resizes_as_pil_does(short: int) -> None:
    image, segments = make_image(40, 60), noise(40, 60)
    done = SegmentationTransform(False, [short])(image, segments, LABELS, torch.Generator())
    height, width = done.segments.shape
    assert min(height, width) == short
    wanted = Image.fromarray(segments.numpy().astype(np.int32)).resize((width, height), Image.Resampling.NEAREST)
    assert done.segments.tolist() == np.asarray(wanted).tolist()
    by_pil = pil_to_tensor(image.resize((width, height), Image.Resampling.BILINEAR))
    difference = (done.image.int() - by_pil.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.01  # of a small image; worst measured: 0.0039


def test_image_and_map_stay_together() -> None:
    # The image shows the map: after any resize, crop and flip, away from edges its values say the segment.
    blocks = torch.from_numpy(np.kron(np.arange(24).reshape(4, 6), np.ones((20, 20)))).to(torch.int16)
    image = (blocks * 10).to(torch.uint8).expand(3, -1, -1)
    transform = SegmentationTransform(
        True, [60, 80, 133], 300, crop=(50, 70), detr_crop_scales=[70], detr_crop_range=(40, 60)
    )
    sizes = set()
    for index in range(30):
        done = transform(image, blocks, torch.arange(24), sample_generator(0, 0, index))
        shown = done.image[0].float() / 10
        wanted = done.labels[done.segments.long()].float()
        assert done.image.shape[1:] == done.segments.shape
        flat = (shown - shown.round()).abs() < 1e-3
        assert flat.float().mean() > 0.5
        assert ((shown == wanted) | ~flat).float().mean() > 0.95  # worst 0.963: blends that are a block's value
        sizes.add(tuple(done.segments.shape))
    assert len(sizes) == 3


def test_crops_keep_to_the_limit_of_a_class() -> None:
    # 3/4 of the columns are of class 0: half of all square crops of the height would be of it alone.
    segments = torch.zeros(50, 400, dtype=torch.int16)
    segments[:, 300:] = 1
    image = torch.zeros(3, 50, 400, dtype=torch.uint8)
    shares = {}
    for limit in (1.0, 0.75):
        transform = SegmentationTransform(True, crop=50, max_class_share=limit, flip=0.0)
        done = [transform(image, segments, torch.arange(2), sample_generator(0, 0, index)) for index in range(300)]
        areas = [torch.bincount(sample.segments.ravel().long(), minlength=2).max() / 2500 for sample in done]
        shares[limit] = sum(bool(area <= 0.75) for area in areas) / len(areas)
    # A crop begins at 0..350; those at 263..287 keep to the limit: 25 of 351. With 10 tries: 1 - (326 / 351)^10.
    assert shares[1.0] == pytest.approx(25 / 351, abs=0.04)
    assert shares[0.75] == pytest.approx(1 - (326 / 351) ** 10, abs=0.07)


def test_colour_is_changed_as_ssd_does(monkeypatch: pytest.MonkeyPatch) -> None:
    image = pil_to_tensor(make_image(12, 16))
    drawn = iter([20.0, 0.3, -0.2, 0.05])  # brightness, contrast, saturation, hue
    monkeypatch.setattr(draws, "chance", lambda probability, generator: True)
    monkeypatch.setattr(draws, "uniform", lambda low, high, generator: next(drawn))
    found = distort_color(image, 1.0, torch.Generator()).float()
    bright = ((image.float() + 20).clamp(0, 255) * 1.3).clamp(0, 255) / 255
    wanted = []
    for pixel in bright.reshape(3, -1).T.tolist():
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        wanted.append(colorsys.hsv_to_rgb((hue + 0.05) % 1, min(1, saturation * 0.8), value))
    difference = (found.reshape(3, -1).T - 255 * torch.tensor(wanted)).abs()
    assert difference.max() <= 6  # HSV of 8 bits; the unchanged image is more than 80 away
    assert difference.mean() < 1.5


def test_colour_leaves_the_image_where_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "chance", lambda probability, generator: False)
    image = pil_to_tensor(make_image(12, 16))
    assert torch.equal(distort_color(image, 1.0, torch.Generator()), image)


def test_a_sample_depends_on_its_generator_only() -> None:
    image, segments = pil_to_tensor(make_image(40, 60)), noise(40, 60)
    transform = SegmentationTransform(True, [30, 50], crop=24, color=1.0)
    one, same, other = (transform(image, segments, LABELS, sample_generator(0, epoch, 5)) for epoch in (1, 1, 2))
    assert torch.equal(one.image, same.image)
    assert torch.equal(one.segments, same.segments)
    assert not torch.equal(one.image, other.image)


def test_numbers_out_of_range_are_refused() -> None:
    for options in ({"max_class_share": 2}, {"crop_tries": 0}, {"crop": 0}, {"scales": [0]}, {"crop": [1, 2, 3]}):
        with pytest.raises(ConfigError):
            SegmentationTransform(True, **options)  # type: ignore[arg-type]
    assert segmentation_transforms.SSD_HUE == 18 / 180


def test_empty_segments_are_left_out_and_classes_merged() -> None:
    segments = torch.tensor([[0, 3, NO_SEGMENT], [3, 1, 0]], dtype=torch.int16)
    labels = torch.tensor([5, 2, 9, 5])
    kept, left = drop_empty(segments, labels)
    assert (kept.tolist(), left.tolist()) == ([[0, 2, -1], [2, 1, 0]], [5, 2, 5])
    kept, left = drop_empty(segments, labels, torch.tensor([True, False, True, True]))
    assert (kept.tolist(), left.tolist()) == ([[0, 1, -1], [1, -1, 0]], [5, 5])
    merged, classes = merge_classes(segments, labels)
    assert (merged.tolist(), classes.tolist()) == ([[1, 1, -1], [1, 0, 1]], [2, 5])


@pytest.mark.parametrize("kind", ["semantic", "panoptic"])
def test_scenes_have_the_pixels_of_the_detection_benchmark(kind: str) -> None:
    data = ShapesDataModule(task="segmentation", segments=kind)  # type: ignore[arg-type]
    detection = ShapesDataset("val", 256, masks=True)
    for index in range(20):
        sample, scene = data.dataset("val")[0, index], detection[0, index]
        assert scene.masks is not None
        wanted = semantic_mask(scene.masks, scene.labels)
        assert torch.equal(sample.image, scene.image)
        assert torch.equal(sample.labels[sample.segments.long()], wanted)
        assert torch.equal(sample.truth.labels[sample.truth.pixels.view(64, 64).long()], wanted)
        assert sample.truth.labels.tolist() == [*(scene.labels + 1).tolist(), 0]
        assert len(sample.labels) == (len(wanted.unique()) if kind == "semantic" else len(scene.labels) + 1)
    assert data.spec.thing_labels == (1, 2, 3, 4)
    assert data.spec.class_names[0] == "background"
    assert data.fingerprint() != shapes_of_detection.ShapesDataModule().fingerprint()


def test_batches_pad_maps_with_no_segment_and_pack_truth() -> None:
    def sample(height: int, width: int, count: int) -> SegmentationSample:
        segments = torch.arange(height * width).view(height, width).clamp(max=count - 1).to(torch.int16)
        return SegmentationSample(
            torch.full((3, height, width), 9, dtype=torch.uint8), segments, torch.arange(count), height, (height, width)
        )

    batch = collate_segmentation([sample(2, 5, 3), sample(4, 3, 1)])
    assert batch.targets.segments.dtype == torch.int16
    assert batch.targets.segments[0].tolist() == [[0, 1, 2, 2, 2], [2] * 5, [-1] * 5, [-1] * 5]
    assert batch.targets.segments[1].tolist() == [[0, 0, 0, -1, -1]] * 4
    assert (batch.targets.counts, batch.targets.num_pixels) == ((3, 1), (10, 12))
    assert batch.targets.labels.tolist() == [0, 1, 2, 0]
    assert batch.targets.sizes.tolist() == [[2, 5], [4, 3]]
    assert batch.padding_mask is not None
    assert torch.equal(batch.padding_mask, batch.targets.segments == NO_SEGMENT)
    data = ShapesDataModule(task="segmentation")
    batch = collate_segmentation([data.dataset("val")[0, index] for index in range(3)])
    assert batch.truth is not None
    assert batch.truth.pixels.shape == (3 * 64 * 64,)
    assert batch.truth.rows(slice(1, 2)).labels.tolist() == data.dataset("val")[0, 1].truth.labels.tolist()
    with pytest.raises(ValueError, match="at least one"):
        collate_segmentation([])


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.task=pose: these scenes are for segmentation"):
        ShapesDataModule(task="pose")
    with pytest.raises(ConfigError, match=r"data\.segments='instances'"):
        ShapesDataModule(segments="instances").dataset("val")  # type: ignore[arg-type]
