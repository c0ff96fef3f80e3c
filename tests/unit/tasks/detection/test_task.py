"""What a detector sees of a batch, and where its boxes go: letterbox and multi-scale training, with painted boxes.

The detector of these tests finds the rectangle of one colour in what it is given, so that a box that went astray on any
way to the network or back is seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2.functional import to_pil_image

from lab.imagenet import IMAGENET_MEAN, IMAGENET_STD
from lab.structures import DetectionPredictions, DetectionSample, DetectionSpec, DetectionTargets, Term
from lab.tasks.detection.data.collate import Letterbox, collate_detection
from lab.tasks.detection.data.files import ImageFolder
from lab.tasks.detection.data.transforms import DetectionTransform
from lab.tasks.detection.task import DetectionTask
from tests.unit.tasks.detection.data.painted import COLOURS, painted
from tests.unit.training.test_inputs import make_task


@dataclass
class Seen:
    """What the network was given."""

    images: Tensor
    sizes: Tensor


class FindsColour(nn.Module):
    """A detector that returns the extent of the pixels that are about of the first colour."""

    image_statistics = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.targets: DetectionTargets | None = None

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> Seen:
        kept = torch.ones_like(images[:, 0], dtype=torch.bool) if padding_mask is None else ~padding_mask
        return Seen(images, torch.stack((kept.any(2).sum(1), kept.any(1).sum(1)), dim=1).float())

    def totals(self, targets: DetectionTargets) -> Mapping[str, float]:
        return {"boxes": float(len(targets.boxes))}

    def loss(self, outputs: Seen, targets: DetectionTargets) -> Mapping[str, Term]:
        self.targets = targets
        return {"loss": Term(outputs.images.sum() * self.weight, "boxes")}

    def boxes(self, outputs: Seen) -> Tensor:
        near = (outputs.images * 255 - torch.tensor(COLOURS[0])[:, None, None]).abs().amax(dim=1) < 110
        found = []
        for image in near:
            rows, columns = image.any(dim=1).nonzero(), image.any(dim=0).nonzero()
            found.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        return torch.tensor(found, dtype=torch.float32)

    def predict(self, outputs: Seen, original_sizes: Tensor) -> DetectionPredictions:
        scale = (original_sizes.float() / outputs.sizes).flip(1).repeat(1, 2)
        boxes = (self.boxes(outputs) * scale)[:, None]
        return DetectionPredictions(boxes, torch.ones(len(boxes), 1), torch.zeros(len(boxes), 1, dtype=torch.int64))


def task_of(**spec: Any) -> DetectionTask:
    task: DetectionTask = make_task(DetectionTask, DetectionSpec(class_names=("red",), **spec), "model=detr_tiny")
    task.net = FindsColour()
    return task


PICTURES = [painted(60, 90, [[10, 6, 50, 42]], [0]), painted(150, 40, [[5, 30, 35, 90]], [0])]


def box_of(found: Any) -> list[float]:
    (box,) = found.boxes.view(-1, 4).tolist()
    return box


@pytest.mark.parametrize("grey", [None, 114])
def test_boxes_come_back_to_original_pixels(grey, tmp_path):
    """Stretched and letterboxed, as objects, as files of ``stage=predict``, and in evaluation."""
    task = task_of(input_shape=(3, 96, 96), grey=grey)
    images = [to_pil_image(picture.image) for picture in PICTURES]
    found = [box_of(item) for item in task.predict(images)]
    transform = DetectionTransform(False, size=96, letterbox=grey is not None)
    for number, image in enumerate(images):
        image.save(tmp_path / f"{number}.png")
    files = ImageFolder(sorted(tmp_path.iterdir()), transform)
    batch = collate_detection([files[0, 0], files[0, 1]], transform.padding)
    assert [box_of(item) for item in task.predict_step(batch, 0)[1]] == found
    for box, picture in zip(found, PICTURES, strict=True):
        pixel = max(picture.image.shape[1:]) / 96  # of the network's input, in pixels of the image
        assert max(abs(a - b) for a, b in zip(box, picture.boxes[0].tolist(), strict=True)) < 0.75 * pixel


def test_a_mutant_that_forgets_the_padding_is_seen():
    task = task_of(input_shape=(3, 96, 96), grey=114)
    forward = task.net.forward
    task.net.forward = lambda images, padding_mask=None: forward(images, None)
    found = box_of(task.predict(to_pil_image(PICTURES[1].image)))
    assert max(abs(a - b) for a, b in zip(found, PICTURES[1].boxes[0].tolist(), strict=True)) > 10


def batch_of(letterbox: Letterbox | None, size: tuple[int, int] = (64, 96)):
    transform = DetectionTransform(True, size=size, flip=0.0, letterbox=letterbox is not None)
    made = [transform(*picture, torch.Generator()) for picture in PICTURES]
    samples = [DetectionSample(item.image, item.boxes, item.labels, 0, (9, 9)) for item in made]
    return collate_detection(samples, letterbox)


def test_the_grey_is_seen_as_any_pixel_and_zeros_are_not():
    task, net = task_of(input_shape=(3, 64, 96)), FindsColour()
    net.image_statistics = (IMAGENET_MEAN, IMAGENET_STD)
    task.net = net
    grey = task(batch_of(Letterbox((64, 96), 114))).images[1, :, -1, -1]
    expected = (torch.tensor(114 / 255) - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    torch.testing.assert_close(grey, expected)
    assert task(replace(batch_of(Letterbox((64, 96), 0)), grey=None)).images[1, :, -1, -1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("letterbox", [None, Letterbox((64, 96), 114)])
@pytest.mark.parametrize("size", [(128, 192), (64, 96), (32, 64)])
def test_multi_scale_moves_pixels_boxes_and_mask_together(letterbox, size):
    task = task_of(input_shape=(3, 64, 96))
    batch = replace(batch_of(letterbox), train_size=size)
    seen, terms = task.terms(batch)
    assert seen.images.shape == (2, 3, *size)
    targets = task.net.targets
    assert targets.counts == (1, 1)
    assert (task.net.boxes(seen) - targets.boxes).abs().max() < 1.0  # of a pixel; worst measured: 0.83
    assert (seen.sizes - targets.sizes).abs().max() < 1
    ratio = torch.tensor([size[0] / 64, size[1] / 96])
    torch.testing.assert_close(targets.boxes, batch.targets.boxes * ratio.flip(0).repeat(2))
    assert task.figures["image_size"].sum == 2 * max(size)
    assert task.totals(batch) == {"boxes": 2.0, "resized_images": 2.0}
    assert task.draw_inputs(batch, 2).width > 0
    assert set(terms) == {"loss"}


def test_without_multi_scale_nothing_is_resized_or_counted():
    task, batch = task_of(input_shape=(3, 64, 96)), batch_of(None)
    seen, _ = task.terms(batch)
    assert torch.equal(seen.images * 255, batch.images.float())
    assert task.net.targets is batch.targets
    assert task.figures == {}
    assert task.totals(batch) == {"boxes": 2.0}


def test_the_sheet_shows_the_first_images_with_their_padding():
    sheet = task_of(input_shape=(3, 64, 96)).draw_inputs(batch_of(Letterbox((64, 96), 114)), 2)
    assert isinstance(sheet, Image.Image)
    assert 114 in sheet.getchannel(0).tobytes()
