"""Tiny networks of the house written for other engines, loaded again and compared: by ``lab.export`` and by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from torch import Tensor, nn

import lab
from lab.errors import ExportError
from lab.export.capture import AXES, capture
from lab.export.comparison import compare
from lab.export.description import ExportDescription, ResizeRule
from lab.export.exporting import ExportReport, export
from lab.export.formats import ExportOrder
from lab.export.network import export_network
from lab.export.suppression import suppress
from lab.imagenet import IMAGENET_MEAN, IMAGENET_STD
from lab.layers.position import SinePositionEncoding
from lab.models.vit.network import VisionTransformer
from lab.tasks.classification.export import ClassifierExport
from lab.training.spec import task_spec

SIZE = (64, 64)
NAMES = ("red", "green", "blue")


def ordered(net: nn.Module, task: str, size: tuple[int, int] = SIZE, axes: Sequence[str] = tuple(AXES)) -> ExportOrder:
    """Return an order of a network, as open as it can be."""
    statistics = getattr(net, "image_statistics", (IMAGENET_MEAN, IMAGENET_STD))
    kind = task_spec(task).load_export()()
    described = ExportDescription("tiny", task, kind.outputs, NAMES, size, ResizeRule(), {"min_score": 0.1}, "a test")
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    wrapped = export_network(net, kind, statistics, size)
    return ExportOrder(wrapped, images, tuple(axes), described)


@pytest.fixture(scope="module")
def yolo(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, ExportReport]:
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    net = lab.create_model("yolo_fastest_v2", num_classes=3, width=8).eval()
    for layer in (net.output_reg_layers, net.output_obj_layers, net.output_cls_layers):
        nn.init.normal_(layer.weight, std=2.0)  # boxes and scores that differ by more than rounding
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


@pytest.mark.parametrize("most", [300, 5])
def test_suppression_in_the_file_leaves_what_the_network_predicts(
    yolo: tuple[nn.Module, ExportReport], tmp_path: Path, most: int
) -> None:
    """Against torchvision's suppression in ``predict``; with room for all, and for the best five."""
    import onnx

    net, report = yolo
    model = onnx.load(report.path)
    limits = {"min_score": 0.12, "nms_iou": 0.3, "max_boxes": most}
    suppress(model, limits, num_classes=3)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "net.onnx")
    images = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(3))
    boxes, scores, labels, count = by_onnxruntime(tmp_path / "net.onnx", images)
    net.min_score, net.nms_iou, net.max_detections = limits.values()
    with torch.no_grad():
        outputs = net(images)
        wanted = net.predict(outputs, torch.tensor([[96.0, 64.0]] * 2))
        candidates = net.candidates(outputs)
    assert boxes.shape == (2, min(most, candidates.scores.shape[1]), 4)
    assert count.tolist() == (wanted.scores > 0).sum(1).tolist()
    assert int(count.min()) > 0
    assert int(count.max()) < int((candidates.scores > 0.12).sum(1).min())
    width = wanted.scores.shape[1]
    assert not scores[:, width:].any()
    assert not boxes[:, width:].any()
    left = [part[:, :width] for part in (boxes, scores, labels)]
    found = compare(("boxes", "scores", "labels"), left, (wanted.boxes, wanted.scores, wanted.labels), 96)
    assert found.largest < 1e-5


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


def test_a_detr_in_onnx_finds_what_it_predicts(tmp_path: Path) -> None:
    """Of another number. Worst: boxes 1e-7 of the side, scores 1e-7. Other sizes are in docs/export.md."""
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    small = {"embed_dim": 16, "num_heads": 2, "num_decoder_layers": 1, "feedforward_dim": 16, "num_queries": 5}
    net = lab.create_model("detr_tiny", num_classes=3, **small).eval()
    report = export(ordered(net, "detection", axes=["batch"]), "onnx", tmp_path / "net.onnx")
    assert report.description.dynamic == ("batch",)
    images = torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(2))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        wanted = net.predict(net((images - mean) / std), torch.tensor([[64.0, 64.0]] * 3))
    found = by_onnxruntime(report.path, images)
    difference = compare(("boxes", "scores", "labels"), found, (wanted.boxes, wanted.scores, wanted.labels), 64)
    assert difference.largest < 1e-6


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"embed_dim": 16, "depth": 1, "num_heads": 2, "patch_size": 16, "img_size": 32}
    net = VisionTransformer(num_classes=3, **sizes).eval()
    nn.init.normal_(net.head.weight)  # it is made of zeros
    return net


@pytest.mark.parametrize(("name", "file"), [("onnx", "net.onnx"), ("torch_export", "net.pt2")])
def test_a_classifier_of_one_size_says_what_fixes_it(
    classifier: nn.Module, tmp_path: Path, name: str, file: str
) -> None:
    """Worst: 1e-7 of logits."""
    pytest.importorskip("onnxscript")
    order = ordered(classifier, "classification", size=(32, 32))
    report = export(order, name, tmp_path / file)
    assert report.description.dynamic == ("batch",)
    assert set(report.description.fixed) == {"height", "width"}
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        wanted = classifier((images - mean) / std)
    if name == "onnx":
        (found,) = by_onnxruntime(report.path, images)
    else:
        said = {"lab.json": ""}
        (found,) = torch.export.load(report.path, extra_files=said).module()(images)
        assert json.loads(said["lab.json"])["class_names"] == list(NAMES)
        with ZipFile(report.path) as archive:  # nothing of it is pickled
            files = {each.filename.partition("/")[2]: each for each in archive.infolist()}
        assert files["data/sample_inputs/model.pt"].file_size == 0
        assert not any(file.endswith((".pt", ".pkl")) and files[file].file_size for file in files)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_an_operator_without_translation_is_named_with_its_module(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")

    @torch.library.custom_op("lab_test::halved", mutates_args=())
    def halved(x: Tensor) -> Tensor:
        return x / 2

    halved.register_fake(torch.empty_like)

    class Halving(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = halved(x)
            return found

    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2), Halving())
    with pytest.raises(ExportError, match=r"ONNX: no translation of lab_test\.halved\.default in net\.3 \(Halving\)"):
        export(ordered(net, "classification"), "onnx", tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_kinds_without_an_export_are_refused() -> None:
    with pytest.raises(ExportError, match=r"a network for audio is not exported: .*networks for classification, detec"):
        task_spec("audio").load_export()


def test_what_fixes_a_dimension_is_told_with_its_line() -> None:
    class Positions(nn.Module):
        """Has the positions of maps of any size, and the batch as a number of Python's."""

        def __init__(self) -> None:
            super().__init__()
            self.encoding = SinePositionEncoding(8)

        def forward(self, images: Tensor) -> Tensor:
            height, width = images.shape[-2:]
            return self.encoding(height, width, images.device).expand(len(images), -1, -1)

    captured = capture(Positions(), torch.rand(2, 3, 5, 7), tuple(AXES))
    assert set(captured.symbols) == {"height", "width"}
    assert set(captured.fixed) == {"batch"}
    assert captured.fixed["batch"].startswith("fixed at 2 by ")
    assert "len(images)" in captured.fixed["batch"]
    images = torch.rand(2, 3, 9, 4)
    torch.testing.assert_close(captured.program.module()(images), Positions()(images), rtol=0, atol=1e-6)


def test_a_backbone_is_no_classifier() -> None:
    backbone = lab.create_model("resnet20", features_only=True).eval()
    with pytest.raises(ExportError, match=r"returns list, not logits: it is no classifier"):
        ClassifierExport().tensors(backbone, torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))


class _Sized(nn.Module):
    closed_in_graphs = {"width": "told by the module"}  # noqa: RUF012

    def forward(self, images: Tensor) -> Tensor:
        return images + 1


def test_what_a_module_closes_is_not_tried() -> None:
    found = capture(_Sized(), torch.rand(2, 3, 8, 8), ("batch", "height", "width"))
    assert sorted(found.symbols) == ["batch", "height"]
    assert found.fixed == {"width": "told by the module"}
