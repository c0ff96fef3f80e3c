"""Pictures whose objects are painted: a box is where its colour is, whatever was done to both."""

from __future__ import annotations

import torch

from lab.tasks.detection.data.mosaic import BoxedImage

BACKGROUND = 20
COLOURS = ((250, 40, 40), (40, 250, 40), (40, 40, 250), (240, 240, 40))


def painted(height: int, width: int, boxes: list[list[int]], labels: list[int]) -> BoxedImage:
    """Return a picture of dark grey with rectangles in the colours of their labels."""
    image = torch.full((3, height, width), BACKGROUND, dtype=torch.uint8)
    for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
        image[:, y1:y2, x1:x2] = torch.tensor(COLOURS[label], dtype=torch.uint8)[:, None, None]
    return BoxedImage(
        image, torch.tensor(boxes, dtype=torch.float32).view(-1, 4), torch.tensor(labels, dtype=torch.int64)
    )


def worst_distance(image: torch.Tensor, boxes: torch.Tensor, labels: torch.Tensor, num_labels: int = 4) -> float:
    """Return by how many pixels a side of a box is from the edge of its colour, at worst; inf: other colours are there.

    One box of each label is expected. The edge of a resized rectangle is a mix of two colours: it stands where the
    coverage sums up to it.
    """
    worst = 0.0
    for label in range(num_labels):
        colour = torch.tensor(COLOURS[label], dtype=torch.float32)[:, None, None]
        near = (image.float() - colour).abs().amax(dim=0) < 90  # at least half of the pixel, about
        rows, columns = near.any(dim=1).nonzero().flatten(), near.any(dim=0).nonzero().flatten()
        found = boxes[labels == label]
        if len(rows) == 0 or len(found) != 1:
            if len(rows) == 0 and len(found) == 0:
                continue
            if len(rows) == 0 and float((found[:, 2:] - found[:, :2]).min()) < 1.5:
                continue  # thinner than a pixel or so
            return float("inf")
        seen = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()
        worst = max(worst, float((found[0] - seen).abs().max()))
    return worst
