"""Detect with a file of scripts/export.py and onnxruntime alone: this program needs neither torch nor lab.

    pip install numpy pillow onnxruntime
    python examples/detect_onnx.py net.onnx photo.jpg ... --above 0.3 --out found/

Prints name, score and box (left, top, right, bottom in pixels of the photo) of what it finds, and draws it with --out.
The file says itself, in its metadata, how photos are resized, what the classes are called and what is left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageOps


class Found(NamedTuple):
    """One object: its class, its score from 0 to 1, its box (left, top, right, bottom) in pixels of the photo."""

    name: str
    score: float
    box: tuple[float, ...]


def open_file(path: str | Path, threads: int = 1) -> tuple[Any, dict[str, Any]]:
    """Return onnxruntime's session for a file, and what the file says about itself."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session, {key: _plain(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}


def _plain(value: str) -> Any:
    return json.loads(value) if value[:1] in ("{", "[") else value


def read_photo(path: str | Path) -> Image.Image:
    """Return a photo, upright and in RGB."""
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def resized(photo: Image.Image, about: Mapping[str, Any]) -> tuple[Image.Image, tuple[float, float]]:
    """Return a photo in the size that the network takes, and by how much it has become narrower and lower."""
    how, (height, width) = about["resize"], about["size"]
    if how["how"] == "shorter side":
        short, low, high = how["shorter_side"], min(photo.size), max(photo.size)
        if how["longest"] and high / low * short > how["longest"]:
            short = round(how["longest"] * low / high)
        width, height = (short if side == low else int(short * side / low) for side in photo.size)
    elif how["how"] == "letterbox":
        share = min(width / photo.width, height / photo.height)
        inner = max(1, round(photo.width * share)), max(1, round(photo.height * share))
        canvas = Image.new("RGB", (width, height), (how["grey"],) * 3)
        canvas.paste(scaled(photo, inner), (0, 0))
        return canvas, (photo.width / inner[0], photo.height / inner[1])
    elif how["how"] != "stretch":
        raise SystemExit(f"this program does not know the resizing {how['how']!r}")
    factors = (photo.width / width, photo.height / height)
    return scaled(photo, (width, height)), factors


def scaled(photo: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return a photo in another size, given as (width, height), bilinear with antialiasing.

    To the grey level what the network was measured on: torchvision's weights have 15 bits, Pillow's 22, so that
    ``photo.resize(size, Image.Resampling.BILINEAR)`` is another grey level in one value of a thousand.
    """
    pixels = stretched(np.asarray(photo).transpose(1, 0, 2), size[0])
    return Image.fromarray(stretched(pixels.transpose(1, 0, 2), size[1]))


def stretched(pixels: np.ndarray, length: int) -> np.ndarray:
    """Return pixels (N, M, 3), uint8, as (length, M, 3): weighted means of those below a triangle around each."""
    count = len(pixels)
    if length == count:
        return pixels
    step = count / length
    reach = max(step, 1.0)
    centers = step * (np.arange(length) + 0.5)
    first = np.maximum((centers - reach + 0.5).astype(int), 0)
    last = np.minimum((centers + reach + 0.5).astype(int), count)
    places = first[:, None] + np.arange((last - first).max())
    weights = np.maximum(1 - np.abs(places + 0.5 - centers[:, None]) / reach, 0) * (places < last[:, None])
    weights /= weights.sum(axis=1, keepdims=True)
    bits = next(bits for bits in range(22, 0, -1) if bits == 1 or int(weights.max() * 2**bits + 0.5) < 2**15)
    whole = (weights * 2**bits + 0.5).astype(np.int32)
    total = np.full((length, *pixels.shape[1:]), 2 ** (bits - 1), np.int32)
    for place, weight in zip(places.T, whole.T, strict=True):
        total += pixels[np.minimum(place, count - 1)] * weight[:, None, None]
    return (total >> bits).clip(0, 255).astype(np.uint8)


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the intersection over union of a box (4,) with others (N, 4)."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = sides.clip(0).prod(axis=1)
    return shared / ((box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - shared)


def suppress(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, about: Mapping[str, Any]) -> list[int]:
    """Return the places of the boxes that no better one of their class overlaps, best first.

    Args:
        boxes: (N, 4).
        scores: (N,).
        labels: (N,).
        about: thresholds: ``min_score``, ``nms_iou``, ``max_boxes``; nothing where the network needs none.
    """
    order = np.argsort(-scores, kind="stable")
    if "nms_iou" not in about:
        return [int(place) for place in order]
    order, kept = order[scores[order] > about["min_score"]], []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        covered = (overlaps(boxes[best], boxes[order]) > about["nms_iou"]) & (labels[order] == labels[best])
        order = order[~covered]
    return kept[: int(about["max_boxes"])]


def chosen(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    about: Mapping[str, Any],
    factors: tuple[float, float],
    size: tuple[int, int],
) -> list[Found]:
    """Return what remains of an image's boxes (N, 4), with names, in pixels of the photo, whose size is given."""
    names, suppresses = about["class_names"], bool(about["thresholds"])
    moved = boxes * np.array((*factors, *factors), np.float32)
    if suppresses:  # boxes outside of the photo are no rivals of others
        reaching = (moved[:, 2:] > 0).all(axis=1) & (moved[:, :2] < size).all(axis=1)
        scores = np.where(reaching, scores, 0)
    found = []
    for place in suppress(boxes.astype(np.float64), scores, labels, about["thresholds"]):
        box = np.clip(moved[place], 0, np.array((*size, *size), np.float32)) if suppresses else moved[place]
        name = names[labels[place]] if names else str(labels[place])
        found.append(Found(name, float(scores[place]), tuple(box.tolist())))
    return found


def detect(session: Any, about: Mapping[str, Any], photo: Image.Image) -> list[Found]:
    """Return what is in a photo, best first."""
    image, factors = resized(photo, about)
    pixels = np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255
    boxes, scores, labels = (part[0] for part in session.run(["boxes", "scores", "labels"], {"images": pixels}))
    return chosen(boxes, scores, labels, about, factors, photo.size)


def draw(photo: Image.Image, found: list[Found]) -> Image.Image:
    """Return a photo with boxes and names."""
    picture = photo.copy()
    pen = ImageDraw.Draw(picture)
    for name, score, box in found:
        pen.rectangle(box, outline=(255, 64, 0), width=2)
        pen.text((box[0] + 3, box[1] + 1), f"{name} {score:.2f}", fill=(255, 255, 255), stroke_width=1, stroke_fill=0)
    return picture


def arguments(about: str | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--above", type=float, default=0.3, help="show scores above this")
    parser.add_argument("--out", type=Path, help="a folder for pictures")
    return parser.parse_args()


def show(path: Path, photo: Image.Image, found: list[Found], above: float, out: Path | None) -> None:
    """Print what is in a photo with a score above a number, and draw it into a folder."""
    good = [each for each in found if each.score > above]
    for name, score, box in good:
        print(f"{path.name}  {name}  {score:.3f}  {' '.join(f'{side:.1f}' for side in box)}")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        draw(photo, good).save(out / f"{path.stem}.png")


def photos(paths: list[Path]) -> Iterator[tuple[Path, Image.Image]]:
    """Yield each photo with its path."""
    for path in paths:
        yield path, read_photo(path)


if __name__ == "__main__":
    given = arguments(__doc__)
    session, about = open_file(given.file)
    for path, photo in photos(given.photos):
        show(path, photo, detect(session, about, photo), given.above, given.out)
