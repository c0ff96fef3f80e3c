"""The units of an architecture are those of its backbone and its own, whatever the backbone is."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lab.models
from lab.errors import ConfigError
from lab.models.maskformer.network import MaskFormer
from lab.models.per_pixel.network import PerPixel
from lab.registry import models
from lab.registry.create import create_model
from lab.registry.parallel import blocks_of, splitting_of
from lab.structures.parallel import Splitting, TensorSplitting

NETWORK = """
import torch
from torch import nn
from lab.registry import register_model

class Tower(nn.Module):
    num_channels, strides = (8, 8, 8, 8), (4, 8, 16, 32)

    def __init__(self):
        super().__init__()
        self.floors = nn.ModuleList(nn.Conv2d(3 if n == 0 else 8, 8, 3, 4 if n == 0 else 2, 1) for n in range(4))

    def forward(self, images):
        maps = []
        for floor in self.floors:
            images = floor(images)
            maps.append(images)
        return maps

@register_model
def tower_of_four(features_only=False, out_indices=(1, 2, 3, 4)):
    return Tower()
"""
PARALLEL = """
def blocks(net):
    return list(net.floors)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A backbone in a package of a user's own, registered as ``tower_of_four``."""
    folder = tmp_path / "a_tower"
    folder.mkdir()
    for name, text in {"__init__": "", "network": NETWORK, "parallel": PARALLEL}.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(models, "_registered", dict(models._registered))
    importlib.invalidate_caches()
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "a_tower"]:
        del sys.modules[name]


def make(kind: type[nn.Module], backbone: str, **options: Any) -> Any:
    sizes = {"num_classes": 3, "embed_dim": 8, "mask_dim": 8, "num_groups": 2} | options
    if kind is MaskFormer:
        sizes |= {"num_heads": 2, "feedforward_dim": 8, "num_decoder_layers": 1, "num_queries": 4}
    return kind(backbone=backbone, **sizes)


@pytest.mark.parametrize("kind", [MaskFormer, PerPixel])
def test_a_backbone_of_a_user(package: Path, kind: type[nn.Module]) -> None:
    importlib.import_module("a_tower.network")
    net = make(kind, "tower_of_four")
    own = [net.predictor.transformer["decoder"]] if kind is MaskFormer else [net.pixel_decoder]
    assert blocks_of(net) == [*net.backbone.floors, *own]
    assert not isinstance(splitting_of(net), TensorSplitting)


def test_each_backbone_says_its_own() -> None:
    resnet = make(PerPixel, "resnet18")
    assert blocks_of(resnet)[:-1] == [getattr(resnet.backbone, f"layer{stage}") for stage in (1, 2, 3, 4)]
    with torch.device("meta"):
        swin = make(PerPixel, "swin_tiny")
    assert blocks_of(swin)[:-1] == [block for stage in swin.backbone.layers for block in stage.blocks]
    stem = make(PerPixel, "conv_stem", backbone_options={"widths": (8, 8, 8, 8)})
    assert blocks_of(stem)[:-1] == list(stem.backbone.stages)
    detr = create_model("detr_tiny", num_classes=3)
    assert blocks_of(detr)[:2] == list(detr.backbone[0].body.stages)
    assert isinstance(splitting_of(detr), TensorSplitting)


def test_a_backbone_that_says_nothing_belongs_to_the_whole(package: Path) -> None:
    (package / "parallel.py").unlink()
    importlib.import_module("a_tower.network")
    net = make(PerPixel, "tower_of_four")
    assert splitting_of(net.backbone) is None
    assert blocks_of(net) == [net.pixel_decoder]
    assert blocks_of(nn.Sequential(nn.Linear(1, 1))) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("unit = 1\n", r"^a_tower\.parallel has no function `blocks`"),
        (
            "from torch import nn\ndef blocks(net):\n    return [nn.Linear(1, 1)]\n",
            "^Tower: `blocks` of its module `parallel` names a Linear that is not part of it",
        ),
    ],
)
def test_what_is_no_splitting_is_refused(package: Path, text: str, said: str) -> None:
    (package / "parallel.py").write_text(text)
    net = importlib.import_module("a_tower.network").Tower()
    with pytest.raises(ConfigError, match=said):
        blocks_of(net)


def test_every_room_speaks_the_protocol() -> None:
    rooms = sorted(path.parent.name for path in Path(lab.models.__path__[0]).glob("*/parallel.py"))
    assert {"conv_stem", "detr", "maskformer", "resnet", "swin"} <= set(rooms)
    for room in rooms:
        assert isinstance(importlib.import_module(f"lab.models.{room}.parallel"), Splitting)
