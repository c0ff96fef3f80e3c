"""Files of YOLO-FastestV2 in the published layout: what loads, what is said, what is refused; and the published ones.

``LAB_YOLO_FASTEST_WEIGHTS`` names ``coco2017-0.241078ap-model.pth``. With it the detector is measured on the 30 photos
of coco_mini's validation.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lab import create_model
from lab.data.images.dataset import Reading
from lab.errors import CheckpointError
from lab.models.yolo_fastest.weights import from_official, to_official
from lab.ops.images import normalize_images
from lab.registry.weights import read_state_dict
from lab.tasks.detection.data.coco import CocoDataset
from lab.tasks.detection.data.collate import collate_detection
from lab.tasks.detection.data.transforms import DetectionTransform
from lab.tasks.detection.metrics import DetectionMAP
from scripts import convert_weights
from tests.classifiers import fill

WEIGHTS = "LAB_YOLO_FASTEST_WEIGHTS"


@pytest.fixture(scope="module")
def official() -> dict[str, Tensor]:
    net = create_model("yolo_fastest_v2")
    fill(net)
    return to_official(net.state_dict())


def saved(weights: Any, folder: Path) -> str:
    torch.save(weights, folder / "file.pth")
    return str(folder / "file.pth")


def test_another_number_of_classes_drops_the_head_and_says_so(
    official: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net: Any = create_model("yolo_fastest_v2", pretrained=saved(official, tmp_path), num_classes=3)
    assert "the head has another number of classes and was dropped, to be trained: output_cls_layers" in caplog.text
    assert net.output_cls_layers.weight.shape == (3, 72, 1, 1)
    assert torch.equal(net.output_obj_layers.weight, official["output_obj_layers.weight"])
    assert torch.equal(net.backbone.conv1[0].weight, official["backbone.first_conv.0.weight"])


def test_the_backbone_alone_loads_into_detector_and_backbone(
    official: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = {key.removeprefix("backbone."): value for key, value in official.items() if "backbone." in key}
    assert len(backbone) == 330  # as in the published backbone.pth
    file = saved(backbone, tmp_path)
    net: Any = create_model("yolo_fastest_v2", pretrained=file, num_classes=3)
    assert "the weights are of a backbone: the other 114 tensors are new, to be trained" in caplog.text
    alone = create_model("shufflenet_v2_yolo_fastest", pretrained=file, features_only=True)
    whole = from_official(official)
    for key, value in alone.state_dict().items():
        assert torch.equal(value, net.backbone.state_dict()[key])
        assert torch.equal(value, whole[f"backbone.{key}"])
    del backbone["stage3.1.branch_main.0.weight"]
    with pytest.raises(CheckpointError, match=r"missing 1 \(backbone\.stage3\.1\.branch2\.0\.weight\)$"):
        create_model("yolo_fastest_v2", pretrained=saved(backbone, tmp_path))


WRONG = {
    "extra": ({"more": torch.zeros(2)}, r"unexpected 1 \(more\)$"),
    "shape": ({"fpn.conv1x1_2.0.weight": torch.zeros(72, 9, 1, 1)}, r"conv1x1_2\.0\.weight \(72, 9, 1, 1\) -> \(72, 2"),
}


@pytest.mark.parametrize("name", WRONG)
def test_files_that_do_not_fit_are_refused_by_key(official: dict[str, Tensor], tmp_path: Path, name: str) -> None:
    change, message = WRONG[name]
    with pytest.raises(CheckpointError, match=message) as error:
        create_model("yolo_fastest_v2", pretrained=saved(official | change, tmp_path))
    assert "\n" not in str(error.value)


def test_files_of_other_things_are_refused(tmp_path: Path) -> None:
    other = create_model("shufflenet_v2_x0_5", num_classes=2).state_dict()  # torchvision's: it shuffles elsewhere
    with pytest.raises(CheckpointError, match=r"missing 371 \(backbone\.conv1"):
        create_model("yolo_fastest_v2", pretrained=saved(other, tmp_path))
    with pytest.raises(CheckpointError, match=r"only plain data is read"):
        create_model("yolo_fastest_v2", pretrained=saved(torch.nn.Linear(1, 1), tmp_path))


def test_the_script_converts_both_ways(official: dict[str, Tensor], tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    assert convert_weights.convert(Path(saved(official, tmp_path)), ours, "yolo_fastest", "lab") == 444
    assert "backbone.conv1.0.weight" in read_state_dict(ours)
    assert convert_weights.convert(ours, theirs, "yolo_fastest", "official") == 444
    back = read_state_dict(theirs)
    assert back.keys() == official.keys()
    assert all(torch.equal(back[key], official[key]) for key in back)


@torch.inference_mode()
def test_published_smoke_test() -> None:
    """Measured on 2026-11-29: map 0.2104, map_50 0.3946, the authors' AP 0.3929; read as RGB: map_50 0.3636."""
    root = Path(os.environ.get("LAB_DATA_DIR", "data")) / "coco_mini"
    if WEIGHTS not in os.environ or not root.is_dir():
        pytest.skip(f"needs the published weights, {WEIGHTS}=FILE, and coco_mini below LAB_DATA_DIR")
    net: Any = create_model("yolo_fastest_v2", pretrained=os.environ[WEIGHTS], num_classes=80).eval()
    reading = Reading(transform=DetectionTransform(train=False, size=[352, 352]), train=False)
    files = ("annotations/instances_val2017_30_DERIVED.json", "images/val2017")
    data = CocoDataset(root, *files, reading, category_ids="contiguous")
    batch = collate_detection([data[0, index] for index in range(len(data))])
    images = normalize_images(batch.images, batch.padding_mask, *net.image_statistics)
    metric = DetectionMAP(data.class_names, also="yolo_fastest")
    found = net.predict(net(images, batch.padding_mask), batch.original_sizes)
    metric.update(found, batch.truth, batch.image_ids, batch.valid)
    result = metric.compute()
    assert result["map"] == pytest.approx(0.2104, abs=0.01)
    assert result["map_50"] == pytest.approx(0.3946, abs=0.01)
    assert result["yolo_fastest_ap50"] == pytest.approx(0.3929, abs=0.01)
