"""Image files with bytes changed, left out and put in: each is read or refused in words, and nothing else is raised."""

from __future__ import annotations

import contextlib
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lab.data.images.opening import ImageFileError, read_image, read_image_header
from lab.tasks.segmentation.data.label_maps import label_header, read_ids

TRIES = 60  # of each kind; 1,000 of each were tried when this was written
KINDS: dict[str, dict[str, Any]] = {
    "JPEG": {},
    "PNG": {},
    "WEBP": {},
    "GIF": {},
    "BMP": {},
    "TIFF": {"compression": "tiff_deflate"},
    "PPM": {},
    "JPEG2000": {},
}


def picture(kind: str, mode: str) -> bytes:
    exif = Image.Exif()
    exif[274] = 6
    image = Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40))
    if mode != "I;16":
        image = Image.effect_noise((40, 30), 80).convert("RGB").convert(mode)
    file = io.BytesIO()
    options = KINDS[kind] | ({"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {})
    image.save(file, format=kind, **options)
    return file.getvalue()


def damage(content: bytes, rng: random.Random) -> bytes:
    """Change, drop or add some bytes, half of the time in the header."""
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 2, 5, 20))):
        place = rng.randrange(len(damaged) if rng.random() < 0.5 else min(len(damaged), 120))
        way = rng.random()
        if way < 0.6:
            damaged[place] = rng.randrange(256)
        elif way < 0.75:
            damaged[place : place + 4] = rng.choice((b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\1"))
        elif way < 0.9:
            del damaged[place : place + rng.randrange(1, 40)]
        else:
            damaged[place:place] = rng.randbytes(rng.randrange(1, 20))
        damaged = damaged or bytearray(b"x")
    return bytes(damaged)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [*((kind, "P" if kind == "GIF" else "RGB") for kind in KINDS), ("PNG", "P"), ("PNG", "I;16"), ("TIFF", "CMYK")],
)
def test_damaged_files_are_read_or_refused_in_words(tmp_path: Path, kind: str, mode: str) -> None:
    rng, content, path = random.Random(f"{kind}{mode}"), picture(kind, mode), tmp_path / "a.png"
    refused: list[str] = []
    for _ in range(TRIES):
        path.write_bytes(damage(content, rng))
        header = read_image_header(path)
        try:
            image = read_image(path)
            assert not header.problem
            assert (image.height, image.width) == header.size
        except ImageFileError as error:
            refused.append(str(error))
        if not label_header(tmp_path, "a.png", packed=False)[1]:
            with contextlib.suppress(ImageFileError):
                assert read_ids(path).ndim == 2
    assert refused
    assert all(len(words) < 200 and "\n" not in words for words in refused)
