"""``stage=validate`` of published weights is the published protocol: torchvision's presets, pixels and logits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.functional import InterpolationMode

from lab.experiment.assembly import build_data, give_plan, load_plan, load_task
from lab.launch.prepare import prepare_job
from lab.ops.images import normalize_images
from lab.system.ranks import Place
from tests.classifiers import fill, worst
from tests.runs import Runs

NAMES = ("ant", "bee")
HALF = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of several sizes, larger and smaller than the crop, PNG and JPEG."""
    folder, generator = tmp_path_factory.mktemp("classes"), np.random.default_rng(0)
    sizes = (("a.jpg", (300, 260)), ("b.png", (90, 41))), (("c.png", (225, 256)), ("d.jpeg", (231, 500)))
    for split in ("train", "val"):
        for kind, images in zip(NAMES, sizes, strict=True):
            (folder / split / kind).mkdir(parents=True)
            for name, (width, height) in images if split == "val" else images[:1]:
                coarse = generator.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
                image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
                image.save(folder / split / kind / name)
    return folder


def files_of(root: Path) -> list[Path]:
    return sorted((root / "val").glob("*/*"))


def weights(peer: nn.Module, path: Path) -> nn.Module:
    """Fill torchvision's network, with logits of some size, and write it as its files are."""
    fill(peer, gain=1.0)
    torch.save(peer.state_dict(), path)
    return peer.eval()


def validated(root: Path, *words: str) -> tuple[Tensor, Tensor]:
    """Return pixels as the network sees them, and logits, of all images of ``stage=validate``."""
    config = prepare_job(
        ["stage=validate", "data=imagefolder", f"data.root={root}", "data.num_workers=0", "trainer=cpu", *words], []
    ).config
    data = build_data(config)
    give_plan(data, load_plan(config, Place()))
    task = load_task(config, data).eval()
    seen: list[Tensor] = []
    logits: list[Tensor] = []
    with torch.inference_mode():
        for batch in data.val_dataloader():
            seen.append(normalize_images(batch.images, mean=task.spec.mean, std=task.spec.std))
            logits.append(task(batch))
    return torch.cat(seen), torch.cat(logits)


CASES: list[tuple[str, Callable[[], nn.Module], dict[str, Any], tuple[str, ...]]] = [
    ("resnet50", lambda: models.resnet50(num_classes=2), {"crop_size": 224}, ()),
    (
        "resnet50",
        lambda: models.resnet50(num_classes=2),
        {"crop_size": 224, "resize_size": 232},
        ("data.preprocessing=tv2_in1k",),
    ),
    (
        "vit_tiny_patch16_224",
        lambda: models.VisionTransformer(224, 16, 12, 3, 192, 768, num_classes=2),
        {"crop_size": 224, "resize_size": 248, "interpolation": InterpolationMode.BICUBIC, "mean": HALF, "std": HALF},
        ("data.preprocessing=augreg_in21k_ft_in1k",),
    ),
]


@pytest.mark.parametrize(("name", "make", "preset", "words"), CASES, ids=["V1", "V2", "bicubic"])
def test_pixels_and_logits_are_those_of_torchvisions_preset(
    root: Path,
    tmp_path: Path,
    name: str,
    make: Callable[[], nn.Module],
    preset: dict[str, Any],
    words: tuple[str, ...],
) -> None:
    peer, transform = weights(make(), tmp_path / "weights.pth"), ImageClassification(**preset)
    seen, logits = validated(root, f"model={name}", f"model.pretrained={tmp_path / 'weights.pth'}", *words)
    expected = torch.stack([transform(Image.open(path).convert("RGB")) for path in files_of(root)])
    with torch.inference_mode():
        theirs = peer(expected)
    assert logits.std(dim=0).min() > 1e-3  # images differ
    assert (seen - expected).abs().max() < 2e-6  # worst measured: 2.4e-7; one level of 255 is 0.008
    assert worst(logits, theirs) < 1e-5  # worst measured: 4.2e-7


def test_the_comparison_sees_mutants(root: Path, tmp_path: Path) -> None:
    name, make, preset, words = CASES[2]
    peer, transform = weights(make(), tmp_path / "weights.pth"), ImageClassification(**preset)
    expected = torch.stack([transform(Image.open(path).convert("RGB")) for path in files_of(root)])
    with torch.inference_mode():
        theirs = peer(expected)
    for wrong in ("data.interpolation=bilinear", "data.crop_share=0.875", "data.mean=[0.485,0.456,0.406]"):
        seen, logits = validated(root, f"model={name}", f"model.pretrained={tmp_path / 'weights.pth'}", *words, wrong)
        assert (seen - expected).abs().max() > 1e-2
        assert worst(logits, theirs) > 1e-4


def test_the_command_measures_what_torchvision_would(root: Path, tmp_path: Path, runs: Runs) -> None:
    peer = weights(models.resnet50(num_classes=2), tmp_path / "weights.pth")
    command = runs.run(
        "stage=validate",
        "model=resnet50",
        f"model.pretrained={tmp_path / 'weights.pth'}",
        "data=imagefolder",
        f"data.root={root}",
        "data.num_workers=0",
        "trainer=cpu",
        folder=tmp_path,
    )
    assert command.code == 0, command.err
    assert "preprocessing: that of resnet50.tv_in1k, the first tag of the name (others: " in command.out
    (file,) = tmp_path.glob("runs/*/validate-pretrained/result.json")
    result = json.loads(file.read_text())["result"]
    transform = ImageClassification(crop_size=224)
    images = torch.stack([transform(Image.open(path).convert("RGB")) for path in files_of(root)])
    labels = torch.tensor([NAMES.index(path.parent.name) for path in files_of(root)])
    with torch.inference_mode():
        logits = peer(images)
    assert result["val/loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-5)
    assert result["val/top_1"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
