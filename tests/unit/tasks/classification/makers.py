"""Tiny sets of labelled images on disk, whose content is computed."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np

from tests.data_factory import make_image


def make_idx(path: Path, array: np.ndarray, kind: int = 8) -> None:
    """Write an IDX file; one called ``.gz`` is packed."""
    content = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def make_mnist(root: Path, num_train: int = 40, num_test: int = 10, side: int = 6, suffix: str = "") -> Path:
    """Write the four files; labels go round 0, 1, 2, 3 and pixels tell image and place."""
    root.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", num_train), ("t10k", num_test)):
        pixels = np.arange(count * side * side).reshape(count, side, side) % 251
        make_idx(root / f"{name}-images-idx3-ubyte{suffix}", pixels)
        make_idx(root / f"{name}-labels-idx1-ubyte{suffix}", np.arange(count) % 4)
    return root


def make_cifar10(root: Path, each: int = 10) -> Path:
    """Write CIFAR-10's seven files as Python 2 did: protocol 2, texts as bytes."""
    root.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate([*(f"data_batch_{part}" for part in range(1, 6)), "test_batch"]):
        pixels = (np.arange(each * 3072).reshape(each, 3072) + number) % 256
        batch = {b"data": pixels.astype(np.uint8), b"labels": [row % 10 for row in range(each)], b"batch_label": b"x"}
        (root / name).write_bytes(as_python_2(batch))
    names = [f"class {number}".encode() for number in range(10)]
    (root / "batches.meta").write_bytes(as_python_2({b"label_names": names, b"num_vis": 3072}))
    return root


def as_python_2(value: object) -> bytes:
    """Return a pickle whose bytes are texts of Python 2 (``SHORT_BINSTRING``), as the published files have them."""

    class Pickler(pickle._Pickler):  # type: ignore[name-defined]
        dispatch: ClassVar = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

        def save_text(self, text: bytes) -> None:
            if len(text) < 256:
                self.write(b"U" + bytes([len(text)]) + text)
            else:
                self.write(b"T" + struct.pack("<i", len(text)) + text)

        dispatch[bytes] = save_text

    file = io.BytesIO()
    Pickler(file, protocol=2).dump(value)
    return file.getvalue()


def make_folder(root: Path, counts: dict[str, int], size: tuple[int, int] = (20, 24)) -> Path:
    """Write ``counts`` images of each class, a name with slashes being a path below ``root``."""
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for row in range(count):
            make_image(*size, 10 * number + row).save(root / name / f"{row}.png")
    return root


def make_zip(
    path: Path, folder: Path, top: str = "", method: int = zipfile.ZIP_STORED, only: tuple[str, ...] = ()
) -> Path:
    """Write a zip of the files below ``folder`` under the names ``top/...``; ``only`` of some of its folders."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*")):
            name = file.relative_to(folder)
            if file.is_file() and (not only or name.parts[0] in only):
                archive.write(file, f"{top}/{name.as_posix()}" if top else name.as_posix())
    return path
