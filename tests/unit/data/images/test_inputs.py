"""Images that a caller hands in: the same pixels in whatever form, and one line for what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lab.data.images.inputs import read_inputs, split_inputs
from lab.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)


def forms(folder: Path) -> dict[str, Any]:
    Image.fromarray(PIXELS).save(folder / "a.png")
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1)
    return {
        "path": folder / "a.png",
        "text": str(folder / "a.png"),
        "pil": Image.fromarray(PIXELS),
        "array": PIXELS,
        "float array": PIXELS / 255,
        "float32 array": (PIXELS / 255).astype(np.float32),
        "tensor": tensor,
        "float tensor": tensor / 255,
    }


def test_one_image_in_every_form_has_the_same_pixels(tmp_path: Path) -> None:
    for name, image in forms(tmp_path).items():
        found, several = split_inputs(image)
        assert not several, name
        (read,) = read_inputs(found)
        assert (np.asarray(read) == PIXELS).all(), name


def test_several_at_once(tmp_path: Path) -> None:
    given = list(forms(tmp_path).values())
    for batch in (given, tuple(given[:2]), np.stack([PIXELS, PIXELS]), torch.stack([given[-1], given[-1]]), tmp_path):
        found, several = split_inputs(batch)
        assert several
        assert all((np.asarray(read) == PIXELS).all() for read in read_inputs(found))
    assert len(split_inputs([PIXELS])[0]) == 1


def test_grey_turned_and_palette() -> None:
    grey = PIXELS[..., 0]
    for image in (grey, grey[..., None], torch.from_numpy(grey)[None], Image.fromarray(grey)):
        (read,) = read_inputs([image])
        assert read.mode == "RGB"
        assert (np.asarray(read) == grey[..., None]).all()
    turned = Image.fromarray(PIXELS)
    turned.getexif()[0x0112] = 6
    assert read_inputs([turned])[0].size == (5, 4)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((3, 5, 4), np.uint8), r"image 2 is an array of shape \(3, 5, 4\): give a path"),
        (torch.zeros(5, 4, 3), r"a tensor of shape \(5, 4, 3\)"),
        (PIXELS.astype(np.int64), "torch.int64: it should be of uint8, or of floats from 0 to 1"),
        (PIXELS.astype(np.float32), "floats from 4 to 248: they should be from 0 to 1"),
        (np.full((2, 2), np.nan), "floats from nan to nan"),
        (np.zeros((0, 4, 3), np.uint8), "without a pixel"),
        (np.array([["a"]]), "an array of <U1"),
        (None, "image 2 is a NoneType"),
        (Image.new("F", (2, 2)), "image 2: cannot be read as an image: of mode F"),
        (Path("nowhere.png"), "nowhere.png: cannot be read as an image: missing"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(image: Any, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read_inputs([image], first=2)
    assert "\n" not in str(caught.value)


def test_nothing_is_refused(tmp_path: Path) -> None:
    for nothing in ([], tmp_path):
        with pytest.raises(DataError, match="no image"):
            split_inputs(nothing)
