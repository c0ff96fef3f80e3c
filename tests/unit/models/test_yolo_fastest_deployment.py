"""The maps of YOLO-FastestV2 as the author's own files have them."""

from __future__ import annotations

import pytest
import torch

import lab
from tests.classifiers import fill


def test_the_published_layout() -> None:
    """Sigmoid of boxes and objectness, softmax of classes, channels last; by hand for two numbers of each."""
    net = lab.create_model("yolo_fastest_v2", num_classes=3, width=8).eval()
    fill(net)
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    layout = net.map_layouts()["published"]
    assert (layout.image, list(layout.maps)) == ("input.1", ["794", "796"])
    assert layout.decoding["anchors"][1][0] == [126.91, 78.23]
    with torch.no_grad():
        raw, found = net.raw_maps(images), net.maps_as("published", images)
    assert [tuple(each.shape) for each in found] == [(1, 4, 6, 18), (1, 2, 3, 18)]
    for scale, (row, column) in enumerate(((3, 5), (1, 2))):
        reg, obj, cls = (part[0, :, row, column] for part in raw[3 * scale : 3 * scale + 3])
        powers = [float(torch.exp(value)) for value in cls]
        wanted = [float(1 / (1 + torch.exp(-value))) for value in (*reg, *obj)] + [
            each / sum(powers) for each in powers
        ]
        assert found[scale][0, row, column].tolist() == pytest.approx(wanted, abs=1e-6)
