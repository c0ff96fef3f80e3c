"""Pictures of frames: boxes drawn into what each camera saw, truth above prediction, and both from above."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from lab.report.canvas import GREY, INK, PAPER, Colour, as_picture, class_colour, picture_font
from lab.structures.detection3d import RACK, Detection3dPredictions, MultiviewBatch
from lab.tasks.detection3d.poses import IntArray, RealArray
from lab.tasks.detection3d.projection import edges_in_picture, outlines_from_above
from lab.text import printable

SHOWN_ABOVE = 0.3
"""The lowest score of a detection that is drawn."""
TILE = 400
"""The width of a camera's picture on a sheet, in pixels."""
GAP = 6
_PLACES = {
    "CAM_FRONT_LEFT": 0,
    "CAM_FRONT": 1,
    "CAM_FRONT_RIGHT": 2,
    "CAM_BACK_LEFT": 3,
    "CAM_BACK": 4,
    "CAM_BACK_RIGHT": 5,
}
"""Where a camera of nuScenes stands on a sheet of three columns."""
_TRUTH: Colour = (40, 160, 60)
_RING = 10.0


@dataclass(frozen=True)
class DrawnBoxes:
    """Boxes to draw.

    Attributes:
        boxes: (n, 9) in the frame of the rig.
        labels: (n,) 0..K-1.
        scores: (n,) of detections; None for the truth.
    """

    boxes: RealArray
    labels: IntArray
    scores: RealArray | None = None


def frame_panels(task: Any, outputs: Any, batch: MultiviewBatch, count: int) -> Iterator[Image.Image]:
    """Yield sheets of truth and prediction for the first frames of a batch."""
    predictions = task.net.predict(outputs)
    for row in range(min(len(batch.images), count)):
        one = slice(row, row + 1)
        yield draw_frame(batch.rows(one), predictions.rows(one), task.spec)


def draw_frame(batch: MultiviewBatch, predictions: Detection3dPredictions, spec: Any) -> Image.Image:
    """Return a sheet of one frame: truth and detections in all cameras, and from above.

    Args:
        batch: one frame; without truth only the detections are drawn.
        predictions: of that frame.
        spec: the ``Detection3dSpec``.
    """
    found = shown(predictions)
    blocks = [(f"prediction (score >= {SHOWN_ABOVE:g})", found)]
    truth = truth_of(batch)
    if truth is not None:
        blocks.insert(0, ("truth", truth))
    sheets = [draw_cameras(batch, boxes, spec, caption) for caption, boxes in blocks]
    height = sum(sheet.height for sheet in sheets) + GAP * (len(sheets) - 1)
    side = max(height, 2 * TILE)
    pose = batch.rig_to_ego[0].cpu().numpy()
    above = draw_from_above(pose, truth, found, spec, side)
    sheet = Image.new("RGB", (sheets[0].width + GAP + side, side), PAPER)
    top = 0
    for block in sheets:
        sheet.paste(block, (0, top))
        top += block.height + GAP
    sheet.paste(above, (sheets[0].width + GAP, 0))
    return sheet


def shown(predictions: Detection3dPredictions, threshold: float = SHOWN_ABOVE) -> DrawnBoxes:
    """Return the detections of one frame with a score of the threshold or above that are finite, best last."""
    boxes, scores, labels = (
        column[0].detach().cpu().numpy() for column in (predictions.boxes, predictions.scores, predictions.labels)
    )
    good = np.flatnonzero((scores >= threshold) & np.isfinite(boxes).all(1))
    good = good[np.argsort(scores[good], kind="stable")]
    return DrawnBoxes(boxes[good].astype(np.float64), labels[good], scores[good].astype(np.float64))


def truth_of(batch: MultiviewBatch) -> DrawnBoxes | None:
    """Return the boxes of one frame that count, without racks and boxes of no points; None without a truth."""
    if batch.truth is None:
        return None
    labels = batch.truth.labels.cpu().numpy()
    kept = (labels != RACK) & (batch.truth.points.cpu().numpy() != 0)
    return DrawnBoxes(batch.truth.boxes.cpu().double().numpy()[kept], labels[kept])


def draw_cameras(batch: MultiviewBatch, boxes: DrawnBoxes, spec: Any, caption: str) -> Image.Image:
    """Return the pictures of all cameras of one frame with boxes, in three columns."""
    height, width = (int(side) for side in batch.image_sizes[0].tolist())
    size = (TILE, max(1, round(TILE * height / width)))
    names = list(spec.camera_names)
    known = all(name in _PLACES for name in names)
    columns = min(3, len(names))
    rows = 2 if known and len(names) > 3 else -(-len(names) // columns)
    font = picture_font(Image.new("RGB", (TILE * columns, 1)))
    header = round(sum(font.getmetrics()) * 1.2)
    sheet = Image.new("RGB", (columns * (TILE + GAP) - GAP, header + rows * (size[1] + GAP) - GAP), PAPER)
    ImageDraw.Draw(sheet).text((2, header // 2), caption, fill=INK, font=font, anchor="lm")
    for number, name in enumerate(names):
        place = _PLACES[name] if known and len(names) > 3 else number
        projection = batch.projections[0, number].cpu().double().numpy()
        tile = draw_camera(batch.images[0, number, :, :height, :width], projection, boxes, size)
        ImageDraw.Draw(tile).text((4, 2), printable(name), fill=PAPER, font=font, stroke_width=2, stroke_fill=INK)
        row, column = divmod(place, columns)
        sheet.paste(tile, (column * (TILE + GAP), header + row * (size[1] + GAP)))
    return sheet


def draw_camera(image: Tensor, projection: RealArray, boxes: DrawnBoxes, size: tuple[int, int]) -> Image.Image:
    """Return what a camera saw with the boxes in it; the front of a box is crossed.

    Args:
        image: (3, h, w) uint8 RGB.
        projection: (4, 4) rig to pixels of ``image``.
        boxes: those of the frame.
        size: (width, height) of the picture that is returned.
    """
    height, width = image.shape[-2:]
    picture = as_picture(image).resize(size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(picture)
    edges, seen = edges_in_picture(boxes.boxes, projection, (height, width))
    edges = edges * np.array([size[0] / width, size[1] / height])
    most = 4.0 * max(size)
    for lines, label in zip(edges[seen], boxes.labels[seen].tolist(), strict=True):
        near = np.isfinite(lines).all((1, 2)) & (np.abs(np.nan_to_num(lines)) < most).all((1, 2))
        for place in np.flatnonzero(near).tolist():
            draw.line([tuple(end) for end in lines[place].tolist()], fill=class_colour(label), width=2 - (place > 11))
    return picture


def draw_from_above(
    pose: RealArray, truth: DrawnBoxes | None, found: DrawnBoxes, spec: Any, side: int, said: str = "prediction"
) -> Image.Image:
    """Return a frame from above in the frame of the ego vehicle, which looks up; rings are 10 m apart.

    Args:
        pose: (4, 4) rig to ego.
        truth: drawn in green, filled.
        found: drawn as outlines in the colour of the class, with its score at the heading.
        spec: names the classes, and has the range that is shown.
        side: of the square picture, in pixels.
        said: what ``found`` is.
    """
    picture = Image.new("RGB", (side, side), PAPER)
    draw, font = ImageDraw.Draw(picture), picture_font(picture)
    reach = max(abs(spec.point_range[axis]) for axis in (0, 1, 3, 4)) if spec.point_range else 50.0
    scale = side / 2 / reach

    def pixels(points: RealArray) -> list[tuple[float, float]]:
        return [(side / 2 - y * scale, side / 2 - x * scale) for x, y in points.tolist()]

    for ring in np.arange(_RING, reach * 1.5, _RING).tolist():
        radius = ring * scale
        draw.ellipse(
            [side / 2 - radius, side / 2 - radius, side / 2 + radius, side / 2 + radius], outline=(225, 225, 225)
        )
    draw.polygon(pixels(np.array([[2.0, 0.0], [-2.0, 1.0], [-2.0, -1.0]])), fill=GREY)
    if truth is not None:
        for outline in outlines_from_above(truth.boxes, pose):
            _outline(draw, pixels(outline), _TRUTH, (205, 235, 205))
    outlines = outlines_from_above(found.boxes, pose)
    for outline, label in zip(outlines, found.labels.tolist(), strict=True):
        _outline(draw, pixels(outline), class_colour(label), None)
    _legend(draw, font, side, truth, found, spec.class_names, said)
    return picture


def _outline(draw: Any, points: Sequence[tuple[float, float]], colour: Colour, fill: Colour | None) -> None:
    """Draw an outline with its front edge thick and a line from the middle to it."""
    draw.polygon(points, fill=fill, outline=colour)
    draw.line(points[:2], fill=colour, width=3)
    middle = tuple(sum(point[axis] for point in points) / 4 for axis in (0, 1))
    front = tuple((points[0][axis] + points[1][axis]) / 2 for axis in (0, 1))
    draw.line([middle, front], fill=colour, width=1)


def _legend(
    draw: Any, font: Any, side: int, truth: DrawnBoxes | None, found: DrawnBoxes, names: Sequence[str], said: str
) -> None:
    """Write how many boxes are drawn, and the colours of the classes among them."""
    step, row = round(sum(font.getmetrics()) * 1.2), 0
    if truth is not None:
        draw.text((6, 4), f"truth: {len(truth.labels)}", fill=_TRUTH, font=font)
        row = 1
    draw.text((6, 4 + row * step), f"{said}: {len(found.labels)}", fill=INK, font=font)
    for label in sorted(set(found.labels.tolist())):
        row += 1
        name = printable(names[label]) if 0 <= label < len(names) else str(label)
        draw.text((6, 4 + row * step), name, fill=class_colour(label), font=font)
