"""ncnn's format on networks of one convolution: names, layouts, weights as float16, and what is refused."""

from __future__ import annotations

import importlib.util
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lab
from lab.errors import ConfigError, ExportError
from lab.export.description import ExportDescription
from lab.export.exporting import export
from lab.export.formats import ExportOrder
from lab.export.ncnn import MapsNetwork, converted, load_network, renamed
from lab.export.network import ExportNetwork
from lab.models.darknet.network import Darknet
from lab.structures.maps import MapLayout
from lab.tasks.detection.export import DetectorExport
from tests.classifiers import fill

pytest.importorskip("ncnn")
onnx = pytest.importorskip("onnx")
pnnx = pytest.importorskip("pnnx")
EXAMPLES = Path(__file__).parents[3] / "examples"
STATISTICS = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Tiny(nn.Module):
    """A detector of one convolution."""

    def __init__(self, rows: bool = False) -> None:
        super().__init__()
        self.conv, self.rows = nn.Conv2d(3, 8, 3, 2, 1), rows
        fill(self)

    def map_layouts(self) -> Mapping[str, MapLayout]:
        maps = {"map": "(8, h / 2, w / 2)", "other": "its half"}
        return {"maps": MapLayout("pixels", "BGR", maps, {"strides": [2]})}

    def maps_as(self, layout: str, images: Tensor) -> tuple[Tensor, ...]:
        x = self.conv(images)
        return torch.cat((x[:, 0::2], x[:, 1::2]), 1), x[:, :, ::2] if self.rows else x / 2


def ordered(net: nn.Module, **options: object) -> ExportOrder:
    images = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(1))
    described = ExportDescription("tiny", "detection", {}, (), (8, 12))
    wrapped = ExportNetwork(net.eval(), DetectorExport(), STATISTICS).eval()
    return ExportOrder(wrapped, images, ("batch", "height", "width"), described, options)


def test_maps_have_their_names_and_the_layouts_colours(tmp_path: Path) -> None:
    """Worst 4e-7; against the same file fed with the colours the wrong way round it would be above 0.1."""
    net = Tiny()
    report = export(ordered(net), "ncnn", tmp_path / "net.ncnn")
    assert report.difference.largest < 1e-5
    found = report.description
    assert (found.dynamic, list(found.fixed), found.details["weights"]) == (("height", "width"), ["batch"], "float32")
    assert (list(found.input), list(found.outputs)) == (["pixels"], ["map", "other"])
    image = torch.rand(3, 6, 10, generator=torch.Generator().manual_seed(2))
    run = load_network(report.path)
    with torch.no_grad():
        (wanted,) = net.maps_as("maps", image[None])[0]
    torch.testing.assert_close(run({"pixels": image}, ("map",))["map"], wanted, rtol=0, atol=1e-5)
    assert (run({"pixels": image.flip(0)}, ("map",))["map"] - wanted).abs().max() > 0.1


def test_weights_as_float16_differ_and_are_kept(tmp_path: Path) -> None:
    """The worst is 3e-4 here; it is said, not refused."""
    report = export(ordered(Tiny(), half=True), "ncnn", tmp_path / "net.ncnn")
    assert report.description.details["weights"] == "float16"
    assert 1e-5 < report.difference.largest < 5e-3


def test_an_operator_that_ncnn_lacks_is_named(tmp_path: Path) -> None:
    """Rows with a step: pnnx writes its own layer, whose numbers it leaves out."""
    with pytest.raises(ExportError, match=r"ncnn has no layer for Tensor\.slice \(pnnx's name of the operator\)"):
        export(ordered(Tiny(rows=True)), "ncnn", tmp_path / "net.ncnn")
    assert not list(tmp_path.iterdir())


def test_a_failure_of_pnnx_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "pnnx"
    program.write_text("#!/bin/sh\necho no such thing >&2\nexit 3\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(pnnx, "EXEC_PATH", str(program))
    with pytest.raises(ExportError, match="pnnx ended with 3: no such thing"):
        converted(onnx.ModelProto(), (8, 8), half=False)


def test_a_network_without_maps_is_refused() -> None:
    with pytest.raises(
        ExportError, match="ncnn: Conv2d has no maps that are decoded outside of it, as yolo_fastest_v2"
    ):
        MapsNetwork(nn.Conv2d(3, 3, 1), "maps")
    with pytest.raises(ConfigError, match="layout"):
        MapsNetwork(lab.create_model("yolo_fastest_v2", width=8), "old")


def test_files_that_ncnn_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "model.param").write_text("7767517\n1 1\nNothing a 0 1 a\n")
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ExportError, match="ncnn cannot read it"):
        load_network(tmp_path)


def test_tensors_are_renamed_and_nothing_else() -> None:
    text = "7767517\n2 2\nInput in0 0 1 in0\nReLU out0 1 1 in0 out0 0=-inf in0=1\n"
    lines = renamed(text, {"in0": "images", "out0": "map"}).splitlines()
    assert [line.split() for line in lines] == [
        ["7767517"],
        ["2", "2"],
        ["Input", "in0", "0", "1", "images"],
        ["ReLU", "out0", "1", "1", "images", "map", "0=-3.402823e+38", "in0=1"],
    ]


CFG = """[net]
width=64
height=32
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky
[maxpool]
size=2
stride=2
[maxpool]
size=3
stride=1
[convolutional]
filters=14
size=1
stride=1
activation=linear
[yolo]
mask=1,2
anchors=4,6, 8,10, 20,12
classes=2
num=3
scale_x_y=1.05
[route]
layers=0
[convolutional]
batch_normalize=1
filters=8
groups=8
size=3
stride=1
pad=1
activation=leaky
[shortcut]
from=-2
activation=linear
[convolutional]
filters=7
size=1
stride=1
activation=linear
[yolo]
mask=0
anchors=4,6, 8,10, 20,12
classes=2
num=3
"""


def test_a_network_of_darknet(tmp_path: Path) -> None:
    """Its maps to 1e-5, and the boxes that the example decodes from them, to 1e-3 pixels; the worst is 4e-6."""
    (tmp_path / "net.cfg").write_text(CFG)
    net = Darknet(2, str(tmp_path / "net.cfg")).eval()
    fill(net)
    images = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    order = replace(ordered(net), images=images, dynamic=())
    report = export(order, "ncnn", tmp_path / "net.ncnn")
    assert report.difference.largest < 1e-5
    assert list(report.description.outputs) == ["yolo_4", "yolo_2"]
    found = load_network(report.path)({"images": images[0]}, ("yolo_4", "yolo_2"))
    example = importlib.util.spec_from_file_location("detect_ncnn", EXAMPLES / "detect_ncnn.py")
    assert example is not None
    assert example.loader is not None
    program = importlib.util.module_from_spec(example)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        example.loader.exec_module(program)
    boxes, scores, labels = program.decode_yolov3([each.numpy() for each in found.values()], report.description.details)
    with torch.no_grad():
        wanted = net.candidates(net(images[:1]))
    np.testing.assert_allclose(boxes, wanted.boxes[0], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(scores, wanted.scores[0], atol=1e-5)
    np.testing.assert_array_equal(labels, wanted.labels[0])
