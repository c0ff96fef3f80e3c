"""Pictures with lines of text below."""

from __future__ import annotations

import torch
from PIL import Image

from lab.report.canvas import BAD
from lab.report.captions import captioned


def test_small_images_are_enlarged_and_large_ones_reduced() -> None:
    assert captioned(torch.zeros(3, 16, 8, dtype=torch.uint8), []).size == (160, 162)
    assert captioned(Image.new("RGB", (640, 320)), []).size == (160, 82)
    assert captioned(Image.new("RGB", (640, 320)), [("x" * 300, BAD)]).width == 160
    assert captioned(Image.new("RGB", (96, 64)), [], side=288).size == (288, 194)
