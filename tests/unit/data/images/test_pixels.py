"""Pixels of JPEGs that torchvision decodes: those of Pillow, for every kind of JPEG and every damage."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lab.data.images import pixels as module
from lab.data.images.opening import ImageFileError, read_image
from lab.data.images.pixels import as_pixels, dense, read_pixels

KINDS: dict[str, dict[str, Any]] = {
    "usual": {"quality": 90},
    "every colour": {"subsampling": 0},
    "half the columns": {"subsampling": 1},
    "progressive": {"progressive": True, "quality": 40},
    "optimised": {"optimize": True},
    "restarts": {"restart_marker_blocks": 3},
    "stored as RGB": {"keep_rgb": True, "quality": 95},
    "grey": {"mode": "L"},
    "four inks": {"mode": "CMYK"},
}


def jpeg(kind: str, size: tuple[int, int] = (45, 67), **options: Any) -> bytes:
    """Return a JPEG of (height, width)."""
    given = {**KINDS[kind], **options}
    noise = np.random.default_rng(0).integers(0, 256, (size[0] // 4, size[1] // 4, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC).convert(given.pop("mode", "RGB"))
    file = io.BytesIO()
    picture.save(file, "JPEG", **given)
    return file.getvalue()


def outcome(read: Any, source: Any) -> Tensor | str:
    try:
        return as_pixels(read(source))
    except ImageFileError as error:
        return str(error)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether torchvision has decoded each of the files that it was asked to."""
    seen: list[bool] = []
    original = module.jpeg_pixels

    def watched(image: Any) -> Tensor | None:
        found = original(image)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(module, "jpeg_pixels", watched)
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_the_pixels_are_those_of_pillow(kind: str, tmp_path: Path, decoded: list[bool]) -> None:
    content = jpeg(kind)
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    wanted = as_pixels(read_image(content))
    for source in (content, path):
        found = read_pixels(source)
        assert torch.equal(found, wanted)
        assert found.stride() == wanted.stride()  # channels last
    assert decoded == [kind != "four inks"] * 2


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("stated", [None, (45, 67), (67, 45)])
def test_turned_photos(turn: int, stated: tuple[int, int] | None, decoded: list[bool]) -> None:
    exif = Image.Exif()
    exif[274] = turn
    content = jpeg("usual", exif=exif)
    assert torch.equal(read_pixels(content, stated), as_pixels(read_image(content, stated)))
    assert decoded == [turn == 1]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO"])
def test_other_formats_are_pillows(kind: str, decoded: list[bool]) -> None:
    file = io.BytesIO()
    Image.open(io.BytesIO(jpeg("usual"))).save(file, kind)
    content = file.getvalue()
    assert torch.equal(read_pixels(content), as_pixels(read_image(content)))
    assert decoded == [kind == "MPO"]  # an MPO of one picture is a JPEG


@pytest.mark.parametrize("kind", KINDS)
def test_damage_has_the_same_outcome(kind: str, decoded: list[bool]) -> None:
    """Cut off, with other bytes, with bytes missing: the same pixels, or the same words."""
    whole, random = jpeg(kind), np.random.default_rng(1)
    told = 0
    for number in range(150):
        content = bytearray(whole)
        place = int(random.integers(len(content)))
        if number % 3 == 0:
            del content[place:]
        elif number % 3 == 1:
            content[place] = int(random.integers(256))
        else:
            del content[place : place + int(random.integers(1, 30))]
        wanted, found = outcome(read_image, bytes(content)), outcome(read_pixels, bytes(content))
        assert type(found) is type(wanted)
        told += isinstance(wanted, str)
        assert torch.equal(found, wanted) if isinstance(found, Tensor) else found == wanted
    assert 20 < told < 140
    assert any(decoded) or kind == "four inks"


def test_without_torchvisions_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.io

    def missing(*_: Any) -> Tensor:
        raise AttributeError("'_OpNamespace' 'image' object has no attribute 'decode_jpeg'")

    monkeypatch.setattr(torchvision.io, "decode_jpeg", missing)
    content = jpeg("usual")
    assert torch.equal(read_pixels(content), as_pixels(read_image(content)))


def test_a_comparison_sees_one_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: a decoder that is one level away in one pixel."""
    original = module.jpeg_pixels

    def wrong(image: Any) -> Tensor | None:
        found = original(image)
        assert found is not None
        found[0, 0, 0] ^= 1
        return found

    monkeypatch.setattr(module, "jpeg_pixels", wrong)
    content = jpeg("usual")
    assert not torch.equal(read_pixels(content), as_pixels(read_image(content)))


def test_dense() -> None:
    first = torch.zeros(3, 8, 9, dtype=torch.uint8)
    last = torch.zeros(8, 9, 3, dtype=torch.uint8).permute(2, 0, 1)
    assert dense(first) is first
    assert dense(last) is last
    for window in (first[:, 1:5], last[:, 1:5, 2:4]):
        assert dense(window).is_contiguous()
        assert dense(window).untyped_storage().nbytes() == window.numel()
