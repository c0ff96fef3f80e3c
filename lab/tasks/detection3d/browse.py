"""What a detector in 3-D is fed: the pictures of all cameras after augmentation, with the boxes to learn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from lab.report.canvas import PAPER
from lab.report.sanity import DAMAGED, OUTLIERS, SplitLook
from lab.structures.detection3d import MultiviewBatch, MultiviewSample, PixelScale
from lab.tasks.detection3d.pictures import GAP, DrawnBoxes, draw_cameras, draw_from_above
from lab.training.browsing import BrowseCard, Browser, DataIndex

EMPTY, UNDECODED, FLAT, LONG = (
    "frames without a box",
    "frames with a picture that cannot be decoded",
    "pictures of one colour",
    "boxes longer than 30 m",
)
LONGEST = 30.0


class FrameBrowser(Browser):
    """Frames of several cameras."""

    unit = "frame"
    skipped = {"near duplicates": "of single images only"}  # noqa: RUF012
    columns = 1

    @torch.no_grad()
    def cards(self, batch: MultiviewBatch, augmented: bool) -> Iterator[BrowseCard]:
        """Yield the pictures of each frame with its boxes, and the boxes from above."""
        pixels = self.pixels(batch) if augmented and batch.chances is not None else batch.images
        boxes, labels = (
            batch.targets.boxes.split(batch.targets.counts),
            batch.targets.labels.split(batch.targets.counts),
        )
        for row in batch.valid.nonzero().flatten().tolist():
            drawn = DrawnBoxes(boxes[row].double().numpy(), labels[row].numpy())
            one = replace(batch.rows(slice(row, row + 1)), images=pixels[row : row + 1])
            height, width = batch.image_sizes[row].tolist()
            caption = (
                f"frame {batch.tokens[row]}: {len(labels[row])} boxes, {pixels.shape[1]} cameras of {width}x{height}"
            )
            yield BrowseCard(self._sheet(one, drawn), caption)

    def pixels(self, batch: MultiviewBatch) -> Tensor:
        """Return the pictures (B, N, 3, H, W) uint8 that the network reads, no longer normalised; padding is black."""
        scale: PixelScale = self.task.net.pixels
        images = self.task.network_input(batch)
        hidden = images == 0
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in scale[:2])
        pixels = (images * std + mean).masked_fill(hidden.all(2, keepdim=True), 0.0)
        pixels = pixels.flip(2) if scale.bgr else pixels
        return pixels.round().clamp(0, 255).to(torch.uint8)

    def _sheet(self, frame: MultiviewBatch, boxes: DrawnBoxes) -> Image.Image:
        cameras = draw_cameras(frame, boxes, self.spec, "as the network reads them, with the boxes to learn")
        pose = frame.rig_to_ego[0].numpy()
        above = draw_from_above(pose, None, boxes, self.spec, cameras.height, "boxes to learn")
        sheet = Image.new("RGB", (cameras.width + GAP + above.width, cameras.height), PAPER)
        sheet.paste(cameras, (0, 0))
        sheet.paste(above, (cameras.width + GAP, 0))
        return sheet

    def look(self, look: SplitLook, indices: Sequence[int], index: DataIndex) -> Iterator[None]:
        """Read frames: all pictures of each."""
        dataset = self.stored(look.split)
        look.watch(OUTLIERS, EMPTY, FLAT, LONG)
        if hasattr(dataset, "bad_reads"):
            look.watch(DAMAGED, UNDECODED)
        else:
            look.skipped[DAMAGED] = "the pictures are generated"
        bad: list[str] = getattr(dataset, "bad_reads", [])
        for number in indices:
            count, sample, name = len(bad), dataset[0, number], self.name(look.split, number)
            if len(bad) > count:
                look.find(UNDECODED, bad[-1])
            else:
                self._count(look, sample, name)
                index.add(look.split, number, sample.images.contiguous().numpy().tobytes())
            yield
        if look.classes is not None:
            look.classes = {**dict.fromkeys(self.spec.class_names, 0), **look.classes}

    def _count(self, look: SplitLook, sample: MultiviewSample, name: str) -> None:
        look.number("boxes of a frame", len(sample.labels))
        look.tally("width x height of a picture", f"{sample.images.shape[-1]}x{sample.images.shape[-2]}")
        look.find(EMPTY, name) if not len(sample.labels) else None
        levels = sample.images.flatten(2)
        spans = (levels.amax(2).int() - levels.amin(2).int()).amax(1)
        for camera in (spans <= 2).nonzero().flatten().tolist():
            look.find(FLAT, f"{name}, {self.spec.camera_names[camera]}")
        for box, label in zip(sample.boxes.tolist(), sample.labels.tolist(), strict=True):
            look.count_class(self.spec.class_names[label])
            look.number("distance of a box in m", math.hypot(box[0], box[1]))
            for what, value in zip(("length", "width", "height"), box[3:6], strict=True):
                look.number(f"{what} of a box in m", value)
            if all(map(math.isfinite, box[7:])):
                look.number("speed of a box in m/s", math.hypot(box[7], box[8]))
            if box[3] > LONGEST:
                look.find(LONG, f"{name} ({box[3]:.0f} m)")
