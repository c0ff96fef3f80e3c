"""One YOLO-FastestV2 of random weights as ONNX, as ONNX with 8-bit integers and for ncnn: what users do with these."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import lab
from lab.data.datamodule import DataModule
from lab.errors import ExportError
from lab.experiment.assembly import build_data, build_task, give_plan, load_plan, prepare
from lab.experiment.exporting import task_subject
from lab.experiment.measuring import measure, training_images
from lab.export.description import ExportDescription, ResizeRule
from lab.export.exporting import ExportReport, export
from lab.export.formats import ExportOrder, make_format
from lab.export.int8 import Quantized, quantize
from lab.export.network import export_network
from lab.system.ranks import Place
from lab.tasks.classification.export import EngineClassifier
from lab.tasks.detection.data.collate import collate_detection
from lab.tasks.detection.data.files import ImageFolder
from lab.tasks.detection.data.mosaic import MosaicOptions
from lab.tasks.detection.data.transforms import DetectionTransform
from lab.tasks.detection.export import EngineDetector
from lab.training.task import Task
from tests.classifiers import fill

onnx = pytest.importorskip("onnx")
for package in ("onnxruntime", "onnxscript", "ncnn", "pnnx"):
    pytest.importorskip(package)
EXAMPLES = Path(__file__).parents[3] / "examples"
SIDE, CALIBRATED = 64, 8
ANCHORS = [14, 14, 18, 18, 24, 24, 16, 16, 20, 20, 28, 28]


@dataclass
class Exported:
    """A task, its data, and its network's files."""

    task: Task
    data: DataModule
    onnx: ExportReport
    ncnn: ExportReport
    int8: Quantized
    int8_path: Path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("engines")
    numbers = {"image_size": SIDE, "num_train": 32, "num_val": 4, "num_test": 40, "batch_size": 8}
    words = ("model=yolo_fastest_v2", "data=shapes", "model.net.width=8", f"model.net.anchors={ANCHORS}")
    config = lab.compose(*words, data=numbers).to_dict()
    prepare(config)
    data = build_data(config)
    give_plan(data, load_plan(config, Place()))
    task = build_task(config, data, 1).eval()
    fill(task.net)
    with torch.no_grad():  # boxes of about the anchors' size, so that some are right
        task.net.output_reg_layers.weight.mul_(0.1)
        task.net.output_reg_layers.bias.zero_()
    subject = task_subject(task, "a test")
    net = export_network(task.net, subject.kind, subject.inputs.statistics, (SIDE, SIDE))
    images = training_images(data, CALIBRATED, (SIDE, SIDE))
    order = ExportOrder(net, images[:2], ("height", "width"), replace(subject.description, size=(SIDE, SIDE)))
    floats = export(replace(order, images=images[:1], dynamic=()), "onnx", folder / "net.onnx")
    small = export(order, "ncnn", folder / "net.ncnn")
    found = quantize(floats.path, folder / "net.int8.onnx", images)
    return Exported(task, data, floats, small, found, folder / "net.int8.onnx")


def test_ncnn_computes_the_six_maps(exported: Exported) -> None:
    """Relative to the largest number of each map; the worst is 9e-7."""
    report = exported.ncnn
    assert report.description.dynamic == ("height", "width")
    assert [shape[-2:] for shape in report.compared] == [(64, 64), (128, 96)]
    assert report.difference.largest < 1e-5
    said = json.loads(report.path.with_name("net.ncnn.json").read_text())
    assert list(said["outputs"]) == ["reg_16", "obj_16", "cls_16", "reg_32", "obj_32", "cls_32"]
    assert said["input"] == {"images": "float32 (3, h, w), BGR from 0 to 1"}
    assert sorted(each.name for each in report.path.iterdir()) == ["model.bin", "model.param"]  # no programs
    layers = [line.split()[0] for line in (report.path / "model.param").read_text().splitlines()[2:]]
    assert layers.count("ShuffleChannel") == 13  # one for each unit that does not stride
    assert "BatchNorm" not in layers


def found_by(program: str, path: Path, photo: Path) -> dict[str, Any]:
    """Return what an example finds, in a process that can import neither lab nor torch; it prints and draws too."""
    opening = "open_folder" if program == "detect_ncnn" else "open_file"
    lines = (
        "import json, sys",
        "from pathlib import Path",
        "sys.modules['lab'] = sys.modules['torch'] = None",
        f"import {program} as example",
        f"net, about = example.{opening}(Path(sys.argv[1]))",
        "path = Path(sys.argv[2])",
        "((_, photo),) = example.photos([path])",
        "found = example.detect(net, about, photo)",
        "example.show(path, photo, found, 0.3, path.parent)",
        "print(json.dumps(dict(zip(('names', 'scores', 'boxes'), zip(*found)))))",
    )
    words = [sys.executable, "-c", "\n".join(lines), str(path), str(photo)]
    done = subprocess.run(words, cwd=EXAMPLES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *printed, said = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(said)
    assert len(printed) == sum(score > 0.3 for score in found["scores"])
    assert Image.open(photo.with_suffix(".png")).size == Image.open(photo).size[::-1]  # turned
    return found


@pytest.mark.parametrize("program", ["detect_onnx", "detect_ncnn"])
def test_an_example_finds_what_stage_predict_finds(exported: Exported, program: str, tmp_path: Path) -> None:
    """To 1e-3 pixels of the photo, which is turned by its EXIF tag; the worst is 2e-5."""
    noise = torch.rand(40, 90, 3, generator=torch.Generator().manual_seed(3)) * 255
    photo, turned = Image.fromarray(noise.byte().numpy()), Image.Exif()
    turned[0x0112] = 6
    photo.save(tmp_path / "photo.webp", lossless=True, exif=turned)
    wanted = exported.task.predict(tmp_path / "photo.webp")
    report = exported.onnx if program == "detect_onnx" else exported.ncnn
    found = found_by(program, report.path, tmp_path / "photo.webp")
    assert found["names"] == list(wanted.names)
    assert len(found["names"]) > 5
    np.testing.assert_allclose(found["scores"], wanted.scores, atol=1e-5)
    np.testing.assert_allclose(found["boxes"], wanted.boxes, atol=1e-3)


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_integers_but_in_the_heads(exported: Exported) -> None:
    """The six output convolutions and all that decodes stay as they are; no slice skips channels."""
    before, after = operators(exported.onnx.path), operators(exported.int8_path)
    found = exported.int8
    assert before.count("Conv") == after.count("Conv") == found.quantized + len(found.floats)
    assert len(found.floats) == 6
    assert found.images == CALIBRATED
    assert after.count("Gather") - before.count("Gather") == 26
    decoding = ("Sigmoid", "Softmax", "Pow")
    assert [after.count(kind) for kind in decoding] == [before.count(kind) for kind in decoding]
    assert "QuantizeLinear" in after
    assert found.num_bytes == exported.int8_path.stat().st_size < 0.7 * exported.onnx.num_bytes
    model = onnx.load(exported.int8_path)
    scales = {node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    sizes = [
        len(array.float_data) or len(array.raw_data) // 4 for array in model.graph.initializer if array.name in scales
    ]
    assert max(sizes) > 1  # weights have a scale for each channel
    metadata = [
        {each.key: each.value for each in onnx.load(path).metadata_props}
        for path in (exported.onnx.path, exported.int8_path)
    ]
    assert json.loads(metadata[1].pop("int8")) == {"calibrated_on": CALIBRATED, "floats": list(found.floats)}
    assert metadata[0] == metadata[1]


def engine(exported: Exported, path: Path) -> EngineDetector:
    description = exported.onnx.description
    statistics = exported.task.net.image_statistics
    return EngineDetector(make_format("onnx").load(path, description), statistics, description)


def test_a_file_is_measured_as_its_network_is(exported: Exported) -> None:
    """All of COCO's numbers; integers change them."""
    task, data = exported.task, exported.data
    own = measure(task, data, "test", task.net)
    found = measure(task, data, "test", engine(exported, exported.onnx.path))
    assert own["mar_100"] > 0
    assert found == pytest.approx(own, abs=1e-6, nan_ok=True)
    integers = measure(task, data, "test", engine(exported, exported.int8_path))
    assert integers["mar_100"] != own["mar_100"]
    assert not isinstance(task.net, EngineDetector)


@pytest.mark.parametrize(
    ("how", "dynamic", "given", "content"),
    [
        ("stretch", (), (96, 64), (96, 64)),
        ("stretch", ("height", "width"), (24, 16), (24, 16)),
        ("letterbox", (), (96, 64), (72, 32)),
        ("letterbox", ("height", "width"), (32, 32), (24, 16)),
    ],
)
def test_padding_goes_to_a_file_that_wants_it(
    how: str, dynamic: tuple[str, ...], given: tuple[int, int], content: tuple[int, int]
) -> None:
    """Of 32 x 32 pixels 24 x 16 are the image; boxes are scaled by the share of it in what the file was given."""
    seen = []

    def run(images: Tensor) -> list[Tensor]:
        seen.append(tuple(images.shape[-2:]))
        height, width = content
        return [torch.tensor([[[0.0, 0, width, height]]]), torch.tensor([[0.5]]), torch.tensor([[1]])]

    description = ExportDescription("net", "detection", {}, (), (96, 64), ResizeRule(how), dynamic=dynamic)
    net = EngineDetector(run, ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), description)
    place = torch.arange(32)
    outputs = net(torch.zeros(2, 3, 32, 32), ((place >= 24)[:, None] | (place >= 16)).expand(2, 32, 32))
    assert seen == [given, given]
    found = net.predict(outputs, torch.tensor([[240, 80], [120, 160]]))
    assert found.boxes.tolist() == [[[0, 0, 80, 240]], [[0, 0, 160, 120]]]


def test_a_classifier_of_an_engine_gets_colours_back() -> None:
    """Normalised images are turned back; images of a batch go in one by one."""
    description = ExportDescription("net", "classification", {"logits": "(batch, classes)"}, ("a", "b"), (4, 4))
    seen = []

    def run(images: Tensor) -> list[Tensor]:
        seen.append(images)
        return [images.mean(dim=(2, 3))[:, :2]]

    colours = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.1]).view(3, 1, 1)
    net = EngineClassifier(run, (mean.flatten().tolist(), std.flatten().tolist()), description)
    logits = net((colours - mean) / std)
    torch.testing.assert_close(logits, colours.mean(dim=(2, 3))[:, :2])
    assert [tuple(each.shape) for each in seen] == [(1, 3, 4, 4)] * 3


def test_training_images_are_spread_over_the_set(exported: Exported) -> None:
    found = training_images(exported.data, 4, (32, 48))
    dataset = exported.data.dataset("train")
    assert found.shape == (4, 3, 32, 48)
    for place, image in enumerate(found):
        assert abs(float(image.mean()) - float(dataset[0, 8 * place].image.float().mean()) / 255) < 0.02
    assert len(training_images(exported.data, 99, (8, 8))) == 32


def test_too_few_images_to_calibrate_on(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="0 images to calibrate on; the file takes 1 at a time"):
        quantize(exported.onnx.path, tmp_path / "net.onnx", torch.zeros(0, 3, SIDE, SIDE))


RESIZES = {
    "stretch": ({}, {"size": (48, 64)}),
    "shorter side": ({"shorter_side": 40, "longest": 60}, {"scales": [40], "max_size": 60}),
    "letterbox": ({"grey": 114}, {"size": (48, 64), "letterbox": True, "mosaic": MosaicOptions(grey=114)}),
}


@pytest.mark.parametrize("how", RESIZES)
@pytest.mark.parametrize("size", [(90, 40), (40, 61)])
def test_the_example_resizes_as_evaluation_does(how: str, size: tuple[int, int]) -> None:
    """Pixel by pixel, padding too; and boxes are scaled back by the same factors."""
    noise = torch.rand(*size, 3, generator=torch.Generator().manual_seed(4)) * 255
    photo = Image.fromarray(noise.byte().numpy())
    rule, numbers = RESIZES[how]
    transform = DetectionTransform(train=False, **numbers)
    dataset = ImageFolder([photo], transform)
    batch = collate_detection([dataset[0, 0]], letterbox=transform.padding)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        example = importlib.import_module("detect_onnx")
    image, factors = example.resized(photo, {"resize": {"how": how, "longest": 0, **rule}, "size": (48, 64)})
    np.testing.assert_array_equal(np.asarray(image), batch.images[0].permute(1, 2, 0).numpy())
    height, width = size
    inner = (round(width / factors[0]), round(height / factors[1]))
    seen = batch.padding_mask is not None and how == "letterbox"
    mask = ~batch.padding_mask[0] if seen else torch.ones(image.size[::-1], dtype=torch.bool)
    assert inner == (int(mask.any(dim=0).sum()), int(mask.any(dim=1).sum()))
