"""What tags say of their weights, against the figures and transforms that torchvision and timm ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.errors import RegistryError
from lab.registry.models import list_models, model_entry
from lab.registry.preprocessing import Preprocessing, read_preprocessing
from lab.registry.pretrained import WeightsSource
from tests.published import published_accuracies

TAGS = [
    (name, tag, source)
    for name in list_models()
    for tag, source in model_entry(name).pretrained.items()
    if source.preprocessing is not None
]
TIMM_TAGS = {"deit_in1k": "fb_in1k"}
"""Tags that timm calls otherwise, of networks that it calls ``deit_...``."""


def torchvision_weights() -> dict[str, Any]:
    models = pytest.importorskip("torchvision").models
    return {
        weights.value.url: weights.value for name in models.list_models() for weights in models.get_model_weights(name)
    }


def timm_name(name: str, tag: str) -> str:
    return f"{name.replace('vit_', 'deit_')}.{TIMM_TAGS[tag]}" if tag in TIMM_TAGS else f"{name}.{tag}"


def test_every_classifier_with_tags_says_what_they_need() -> None:
    silent = [
        f"{name}.{tag}"
        for name in list_models()
        if model_entry(name).classifier and not name.startswith(("detr", "maskformer", "per_pixel"))
        for tag, source in model_entry(name).pretrained.items()
        if source.preprocessing is None or source.top_1 is None or source.top_5 is None
    ]
    assert silent == []
    assert len(TAGS) > 30


@pytest.mark.parametrize(("name", "tag", "source"), [item for item in TAGS if item[1].startswith("tv")])
def test_torchvisions_tags_are_those_of_its_enums(name: str, tag: str, source: WeightsSource) -> None:
    theirs = torchvision_weights()[source.url]
    preset, ours = theirs.transforms(), source.preprocessing
    assert ours is not None
    assert [ours.image_size] == preset.crop_size
    assert [ours.shorter_side] == preset.resize_size
    assert ours.interpolation == preset.interpolation.value
    assert (list(ours.mean), list(ours.std)) == (preset.mean, preset.std)
    figures = theirs.meta["_metrics"]["ImageNet-1K"]
    assert (source.top_1, source.top_5) == (figures["acc@1"], figures["acc@5"])


@pytest.mark.parametrize(("name", "tag", "source"), [item for item in TAGS if not item[1].startswith("tv")])
def test_timms_tags_are_those_of_its_configurations(name: str, tag: str, source: WeightsSource) -> None:
    timm = pytest.importorskip("timm")
    theirs, ours = timm.models.get_pretrained_cfg(timm_name(name, tag)), source.preprocessing
    assert theirs is not None
    assert ours is not None
    assert source.url == theirs.url
    assert (3, ours.image_size, ours.image_size) == theirs.input_size
    assert (ours.crop_share, ours.interpolation, ours.mean, ours.std) == (
        theirs.crop_pct,
        theirs.interpolation,
        theirs.mean,
        theirs.std,
    )
    assert theirs.crop_mode == "center"


@pytest.mark.parametrize(("name", "tag", "source"), [item for item in TAGS if not item[1].startswith("tv")])
def test_timms_accuracies_are_those_of_its_table(name: str, tag: str, source: WeightsSource) -> None:
    row = published_accuracies()[timm_name(name, tag)]
    assert (source.top_1, source.top_5) == (float(row["top1"]), float(row["top5"]))
    assert source.preprocessing is not None
    assert source.preprocessing.image_size == int(row["img_size"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop_shre": 0.9}, "unknown key 'crop_shre'; did you mean 'crop_share'"),
        ({"crop_share": 1.5}, "crop_share=1.5 is no crop_share"),
        ({"image_size": 224.0}, "image_size=224.0 is no image_size"),
        ({"interpolation": "cubic"}, "interpolation='cubic' is no interpolation"),
        ({"std": (0.5, 0.5)}, "is no std"),
        ({"std": (0.5, 0.5, 0)}, "is no std"),
        ({"mean": "0.5"}, "is no mean"),
    ],
)
def test_a_wrong_tag_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        read_preprocessing(values, "net.tag")


def test_tags_are_urls_or_dicts(tmp_path: Path) -> None:
    plain = WeightsSource.parse("https://example.com/w-01234567.pth", "net.tag")
    assert (plain.preprocessing, plain.top_1, plain.sha256) == (None, None, "01234567")
    whole = WeightsSource.parse(
        {"url": "https://example.com/w.npz", "sha256": None, "top_1": 70.1, "mean": [0.5, 0.5, 0.5]}, "net.tag"
    )
    assert whole.preprocessing == Preprocessing(mean=(0.5, 0.5, 0.5))
    assert (whole.file_name, whole.sha256, whole.top_5) == ("w.npz", "", None)
    figures = WeightsSource.parse({"url": "x-01234567.pth", "published": {"COCO AP": 42.0}}, "net.tag")
    assert (figures.published, figures.preprocessing) == ({"COCO AP": 42.0}, None)
    address = {"url": "x-01234567.pth"}
    bad = ({**address, "top_1": 0.7 - 1}, {**address, "published": {"AP": "42"}}, {**address, "published": 42.0})
    for wrong in ({}, {"url": "https://example.com/w.pth"}, *bad):
        with pytest.raises(RegistryError):
            WeightsSource.parse(wrong, "net.tag")
