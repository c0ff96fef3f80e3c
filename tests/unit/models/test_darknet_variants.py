"""YOLO-Fastest 1.1 by name: the published sizes, its .cfg, its .weights for other numbers of classes."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lab import create_model
from lab.errors import CheckpointError, ConfigError
from lab.models.darknet.cfg import read_cfg
from lab.models.darknet.description import describe
from lab.models.darknet.network import Darknet
from lab.models.darknet.plan import Layer, make_plan, values_of
from lab.models.darknet.weights import save_cfg, save_darknet


def operations(layer: Layer) -> int:
    """Return what darknet counts for a layer: 2 for each product of a convolution, 1 for each value looked at."""
    channels, height, width = layer.shape
    if layer.kind == "convolutional":
        fan = layer.entering // layer.options["groups"] * layer.options["size"] ** 2
        return 2 * channels * height * width * fan
    if layer.kind == "maxpool":
        return channels * height * width * layer.options["size"] ** 2
    return channels * height * width if layer.kind == "shortcut" else 0


@pytest.mark.parametrize(
    ("name", "size_of_file", "products", "published"),
    [
        ("yolo_fastest_v1_1", 1_384_268, 125_437_600, 0.252),
        ("yolo_fastest_v1_1_xl", 3_693_964, 361_700_800, 0.725),
    ],
)
def test_sizes_are_the_published_ones(name: str, size_of_file: int, products: int, published: float) -> None:
    """The lengths of the published .weights, whose header has 20 bytes, and the GFLOPs of the author's README."""
    plan = make_plan(describe(name, 80))
    convolutions = [layer for layer in plan.layers if layer.kind == "convolutional"]
    assert 20 + 4 * sum(count for layer in convolutions for _, count in values_of(layer)) == size_of_file
    assert sum(operations(layer) for layer in convolutions) == 2 * products
    assert round(sum(operations(layer) for layer in plan.layers) / 1e9, 3) == published


def test_heads_are_where_the_registered_names_say() -> None:
    plan = make_plan(describe("yolo_fastest_v1_1", 7))
    assert [layer.inputs[0] for layer in plan.layers if layer.kind == "yolo"] == [120, 129]
    assert [layer.shape for layer in plan.layers if layer.kind == "yolo"] == [(36, 10, 10), (36, 20, 20)]


def test_its_cfg_is_written_and_read_back(tmp_path: Path) -> None:
    net = Darknet(num_classes=2, anchors=(8, 8.5, 16, 16, 24, 24, 32, 32, 40, 40, 48, 48)).eval()
    save_cfg(net, tmp_path / "net.cfg", (64, 96))
    save_darknet(net, tmp_path / "net.weights")
    again = create_model(
        "yolo_fastest_v1_1", num_classes=2, cfg=str(tmp_path / "net.cfg"), pretrained=tmp_path / "net.weights"
    ).eval()
    assert (again.plan.height, again.plan.width) == (64, 96)
    own = make_plan(net.sections, (64, 96)).layers
    assert [replace(layer, name="") for layer in again.plan.layers] == [replace(layer, name="") for layer in own]
    assert [each.values for each in read_cfg(tmp_path / "net.cfg")[1:]] == [each.values for each in net.sections[1:]]
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert all(torch.equal(*pair) for pair in zip(net.raw_maps(images), again.raw_maps(images), strict=True))
    with pytest.raises(ConfigError, match=r"\[route\] layers=-1,80: their sizes differ"):
        save_cfg(net, tmp_path / "net.cfg", (48, 96))


def test_weights_of_other_classes_lose_their_heads_and_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    many = Darknet(num_classes=5)
    path = tmp_path / "many.weights"
    save_darknet(many, path)
    with caplog.at_level(logging.WARNING):
        few = create_model("yolo_fastest_v1_1", num_classes=2, pretrained=path)
    assert "the head has another number of classes and was dropped" in caplog.text
    assert "layers.120.conv.weight (30, 96, 1, 1) -> (21, 96, 1, 1)" in caplog.text
    theirs = many.state_dict()
    for name, value in few.state_dict().items():
        assert name.startswith(("layers.120.", "layers.129.")) or torch.equal(value, theirs[name]), name
    same = create_model("yolo_fastest_v1_1", num_classes=5, pretrained=path)
    assert all(torch.equal(value, theirs[name]) for name, value in same.state_dict().items())
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match=r"ends in layer 129 \[convolutional\] .* after 3598 of 3600 weights"):
        create_model("yolo_fastest_v1_1", num_classes=5, pretrained=path)
    with pytest.raises(CheckpointError, match=r"more than the .* of its cfg, which end with layer 129"):
        create_model("yolo_fastest_v1_1", num_classes=1, pretrained=path)
    with pytest.raises(CheckpointError, match=r"ends in layer 0 \[convolutional\]|ends in layer"):
        create_model("yolo_fastest_v1_1_xl", num_classes=5, pretrained=path)
