"""Detect with ncnn and the files of ``scripts/export.py --format ncnn``: this program needs neither torch nor lab.

    pip install numpy pillow ncnn
    python examples/detect_ncnn.py net.ncnn photo.jpg ... --above 0.3 --out found/

Reads net.ncnn.json for the names of the maps, the anchors and the classes, in both layouts; decodes the maps as the
network itself does. Printing, drawing and suppression are those of detect_onnx.py, which has to stand beside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ncnn
import numpy as np
from detect_onnx import Found, arguments, chosen, photos, resized, show
from PIL import Image


def open_folder(path: Path) -> tuple[Any, dict[str, Any]]:
    """Return ncnn's network of a folder, and what the file beside says about it."""
    net = ncnn.Net()
    net.opt.num_threads = 1
    if net.load_param(str(path / "model.param")) or net.load_model(str(path / "model.bin")):
        raise SystemExit(f"{path}: ncnn cannot read it")
    return net, json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))


def run(net: Any, about: Mapping[str, Any], image: Image.Image) -> list[np.ndarray]:
    """Return the maps of an image, in their order."""
    pixels = np.asarray(image, np.float32)
    (entry,) = about["input"]
    if about["details"]["colours"] == "BGR":
        pixels = pixels[..., ::-1]
    extractor = net.create_extractor()
    given = np.ascontiguousarray(pixels.transpose(2, 0, 1)) / 255  # held here: ncnn's view of an array does not hold it
    extractor.input(entry, ncnn.Mat(given).clone())
    return [np.array(extractor.extract(name)[1]) for name in about["outputs"]]


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Return the logistic function."""
    return 1 / (1 + np.exp(-values))


def probabilities(maps: list[np.ndarray], details: Mapping[str, Any]) -> list[list[np.ndarray]]:
    """Return of each stride boxes (h, w, A * 4), objectness (h, w, A) and classes (h, w, K), from 0 to 1."""
    counts = [len(anchors) for anchors in details["anchors"]]
    if details["layout"] == "published":
        cuts = zip(maps, counts, strict=True)
        return [np.split(found, (4 * count, 5 * count), axis=-1) for found, count in cuts]
    result = []
    for first in range(0, len(maps), 3):
        reg, obj, cls = (part.transpose(1, 2, 0) for part in maps[first : first + 3])
        powers = np.exp(cls - cls.max(axis=-1, keepdims=True))
        softmax = details["classification"] == "softmax"
        result.append([sigmoid(reg), sigmoid(obj), powers / powers.sum(-1, keepdims=True) if softmax else sigmoid(cls)])
    return result


def decode(maps: list[np.ndarray], details: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes (N, 4) in pixels of the input, scores (N,) and labels (N,)."""
    boxes, scores, labels = [], [], []
    for (reg, obj, cls), stride, anchors in zip(
        probabilities(maps, details), details["strides"], details["anchors"], strict=True
    ):
        height, width, each = obj.shape
        raw = reg.reshape(height, width, each, 4) * 2
        rows, columns = np.mgrid[:height, :width]
        centre = (raw[..., :2] - 0.5 + np.stack((columns, rows), -1)[:, :, None]) * stride
        half = raw[..., 2:] ** 2 * np.array(anchors) / 2
        boxes.append(np.concatenate((centre - half, centre + half), -1).reshape(-1, 4))
        scores.append((obj * cls.max(-1, keepdims=True)).reshape(-1))
        labels.append(np.repeat(cls.argmax(-1).reshape(-1), each))
    return np.concatenate(boxes).astype(np.float32), np.concatenate(scores), np.concatenate(labels)


def decode_yolov3(maps: list[np.ndarray], details: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the same from the maps of a network of darknet, each box with its best class alone."""
    boxes, scores, labels = [], [], []
    numbers = zip(maps, details["strides"], details["anchors"], details["scale_x_y"], strict=True)
    for found, stride, anchors, scale in numbers:
        height, width = found.shape[1:]
        parts = found.reshape(len(anchors), -1, height, width).transpose(0, 2, 3, 1)
        rows, columns = np.mgrid[:height, :width]
        shifted = sigmoid(parts[..., :2]) * scale - (scale - 1) / 2
        centre = (shifted + np.stack((columns, rows), -1)) * stride
        half = np.exp(parts[..., 2:4]) * np.array(anchors)[:, None, None] / 2
        boxes.append(np.concatenate((centre - half, centre + half), -1).reshape(-1, 4))
        scores.append((sigmoid(parts[..., 4]) * sigmoid(parts[..., 5:].max(-1))).reshape(-1))
        labels.append(parts[..., 5:].argmax(-1).reshape(-1))
    return np.concatenate(boxes).astype(np.float32), np.concatenate(scores), np.concatenate(labels)


DECODERS = {"yolo_fastest_v2": decode, "yolov3": decode_yolov3}


def detect(net: Any, about: Mapping[str, Any], photo: Image.Image) -> list[Found]:
    """Return what is in a photo, best first."""
    image, factors = resized(photo, about)
    found = DECODERS[about["details"]["decoding"]](run(net, about, image), about["details"])
    return chosen(*found, about, factors, photo.size)


if __name__ == "__main__":
    given = arguments(__doc__)
    net, about = open_folder(given.file)
    for path, photo in photos(given.photos):
        show(path, photo, detect(net, about, photo), given.above, given.out)
