"""Tiny networks of the house written for other engines, loaded again and compared: by ``lab.export`` and by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import lab
from lab.errors import ExportError
from lab.export.description import ExportDescription, ResizeRule
from lab.export.exporting import ExportReport, export
from lab.export.formats import ExportOrder
from lab.export.network import export_network
from lab.imagenet import IMAGENET_MEAN, IMAGENET_STD
from lab.training.spec import task_spec

SIZE = (64, 64)
NAMES = ("red", "green", "blue")


def ordered(net: nn.Module, task: str, **options: object) -> ExportOrder:
    """Return an order of a network for images of 64 pixels, all that is open."""
    statistics = getattr(net, "image_statistics", (IMAGENET_MEAN, IMAGENET_STD))
    kind = task_spec(task).load_export()()
    described = ExportDescription("tiny", task, kind.outputs, NAMES, SIZE, ResizeRule(), {"min_score": 0.1}, "a test")
    images = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    wrapped = export_network(net, kind, statistics, SIZE)
    return ExportOrder(wrapped, images, ("batch", "height", "width"), described, options)


@pytest.fixture(scope="module")
def yolo(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, ExportReport]:
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    net = lab.create_model("yolo_fastest_v2", num_classes=3, width=8).eval()
    return net, export(ordered(net, "detection"), "onnx", tmp_path_factory.mktemp("yolo") / "net.onnx")


def by_onnxruntime(path: Path, images: Tensor) -> list[Tensor]:
    """Run a file as a user would, without lab."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == ["images"]
    return [torch.from_numpy(part) for part in session.run(None, {"images": images.numpy()})]


def test_a_detector_in_onnx_finds_the_boxes_that_the_network_decodes(yolo: tuple[nn.Module, ExportReport]) -> None:
    """Another number and another size of images than it was made with. Worst: boxes 3e-5 pixels, scores 4e-9."""
    net, report = yolo
    images = torch.rand(3, 3, 96, 160, generator=torch.Generator().manual_seed(2))
    boxes, scores, labels = by_onnxruntime(report.path, images)
    with torch.no_grad():
        wanted = net.decode(net(images).maps)
    assert boxes.shape == (3, 3 * (6 * 10 + 3 * 5), 4)
    torch.testing.assert_close(boxes, wanted[0], rtol=0, atol=1e-3)
    torch.testing.assert_close(scores, wanted[1], rtol=0, atol=1e-6)
    assert torch.equal(labels, wanted[2])
    assert report.description.dynamic == ("batch", "height", "width")


def test_the_file_says_what_it_is(yolo: tuple[nn.Module, ExportReport]) -> None:
    import onnx

    report = yolo[1]
    model = onnx.load(report.path)
    onnx.checker.check_model(model)
    said = {each.key: each.value for each in model.metadata_props}
    assert json.loads(said["class_names"]) == list(NAMES)
    assert json.loads(said["thresholds"]) == {"min_score": 0.1}
    beside = json.loads(report.path.with_name("net.onnx.json").read_text())
    assert (beside["lab"], beside["source"], beside["details"]) == (lab.__version__, "a test", {"opset": 20})
    assert beside["input"] == {"images": "float32 (batch, 3, height, width), RGB from 0 to 1, normalised inside"}
    assert [each.dim_param for each in model.graph.input[0].type.tensor_type.shape.dim] == [
        "batch",
        "",
        "height",
        "width",
    ]
    assert sorted(each.name for each in report.path.parent.iterdir()) == ["net.onnx", "net.onnx.json"]
    assert {node.domain for node in model.graph.node} == {""}  # no operator of a runtime's own


def test_a_file_that_computes_something_else_is_not_kept(tmp_path: Path) -> None:
    """A network that has changed since it was captured, as a stand-in for an engine that is wrong."""

    class Changing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.linear(images.mean((2, 3)))
            return logits if torch.compiler.is_compiling() else logits + 0.01

    with pytest.raises(ExportError, match=r"computes something else for images \(2, 3, 64, 64\): logits 1.0e-02"):
        export(ordered(Changing(), "classification"), "torch_export", tmp_path / "net.pt2")
    assert list(tmp_path.iterdir()) == []
