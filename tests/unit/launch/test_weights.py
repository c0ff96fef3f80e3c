"""Which weights a config means, and whose preprocessing its data takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.config.compose import Composed, compose_config
from lab.errors import ConfigError, LabError, RegistryError
from lab.launch.targets import check_all
from lab.registry.preprocessing import KEYS
from lab.run_name import run_name

FOLDER = ("data=imagefolder",)


def settled(*words: str, data: tuple[str, ...] = FOLDER) -> Composed:
    composed = compose_config([*data, *words])
    check_all(composed, machine=False)
    return composed


def images_of(composed: Composed) -> dict[str, Any]:
    return {key: composed.config["data"].get(key) for key in KEYS}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "weights.pth").touch()
    return tmp_path / "weights.pth"


def test_true_is_the_first_tag_of_the_name() -> None:
    composed = settled("model=resnet50", "model.pretrained=true")
    assert composed.config["model"]["pretrained"] == "tv_in1k"
    tag = settled("model=resnet50", "model.pretrained=tv_in1k")
    assert run_name(composed.config) == run_name(tag.config)
    named = settled("model=resnet50", "model.net._target_=resnet50.tv2_in1k", "model.pretrained=true")
    assert named.config["model"]["pretrained"] == "tv2_in1k"
    assert settled("model=resnet50", "model.pretrained=false").config["model"]["pretrained"] is None


def test_data_takes_what_the_weights_need() -> None:
    composed = settled("model=resnet50", "model.pretrained=tv2_in1k")
    assert images_of(composed)["crop_share"] == 0.965
    (note,) = composed.notes
    assert note == (
        "preprocessing: that of resnet50.tv2_in1k: image_size=224 crop_share=0.965 interpolation=bilinear "
        "mean=[0.485,0.456,0.406] std=[0.229,0.224,0.225]"
    )
    vit = settled("model=vit_base_patch16_384", "model.pretrained=orig_in21k_ft_in1k")
    assert images_of(vit) == {
        "image_size": 384,
        "crop_share": 1.0,
        "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    }


def test_without_weights_the_dataset_has_its_own() -> None:
    composed = settled("model=vit_base_patch16_384")
    assert composed.notes == []
    assert images_of(composed)["interpolation"] == "bilinear"
    assert composed.config["data"]["preprocessing"] is None
    kept = settled("model=vit_base_patch16_384", "model.pretrained=deit_in1k", "data.preprocessing=data")
    assert (kept.notes, images_of(kept)) == ([], images_of(composed))


def test_a_file_has_the_preprocessing_of_its_names_tag(file: Path) -> None:
    composed = settled("model=resnet50", f"model.pretrained={file}")
    assert images_of(composed)["crop_share"] == 0.875
    assert ".tv_in1k, the first tag of the name (others: data.preprocessing=tv2_in1k): " in composed.notes[0]
    named = settled("model=resnet50", f"model.pretrained={file}", "data.preprocessing=tv2_in1k")
    assert images_of(named)["crop_share"] == 0.965
    known = file.rename(file.with_name("resnet50-11ad3fa6.pth"))
    found = settled("model=resnet50", f"model.pretrained={known}")
    assert images_of(found)["crop_share"] == 0.965
    assert ".tv2_in1k, whose file is called resnet50-11ad3fa6.pth: " in found.notes[0]
    assert "others" not in settled("model=resnet18", f"model.pretrained={known}").notes[0]


def test_words_of_the_user_win_and_are_said() -> None:
    composed = settled("model=resnet50", "model.pretrained=tv_in1k", "data.image_size=160", "data.mean=[0,0,0]")
    assert images_of(composed)["image_size"] == 160
    assert images_of(composed)["mean"] == [0, 0, 0]
    assert "; image_size is set on the command line: data.image_size=160; " in composed.notes[0]
    asked = settled("model=resnet50", "model.pretrained=tv_in1k", "model.asks.image_size=96")
    assert images_of(asked)["image_size"] == 96


def test_small_images_are_resized_but_not_cropped() -> None:
    composed = settled("model=resnet18", "model.pretrained=tv_in1k", data=("data=cifar10",))
    assert images_of(composed)["image_size"] == 224
    assert composed.notes[0].endswith("; data=cifar10 takes no crop_share")


def test_a_model_without_tags_leaves_the_data_alone(file: Path) -> None:
    composed = settled("model=wide_resnet28_2", f"model.pretrained={file}")
    assert composed.notes == ["preprocessing: that of data=imagefolder: wide_resnet28_2 has no tag that says another"]


def test_other_data_is_not_touched(file: Path) -> None:
    composed = settled("model=detr", "model.pretrained=coco", data=("data=coco",))
    assert composed.notes == []
    assert "preprocessing" not in composed.config["data"]


def test_what_a_dataset_does_not_take_is_said(file: Path) -> None:
    composed = settled("model=resnet18", "model.pretrained=tv_in1k", data=("data=shapes",))
    assert composed.config["data"]["image_size"] == 224
    assert composed.config["data"]["mean"] == [0.485, 0.456, 0.406]
    (note,) = composed.notes
    assert note.endswith("data=shapes takes no crop_share, no interpolation")


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (
            ("model=resnet50", "model.pretrained=tv_in1k", "data.preprocessing=tv2_in1k"),
            ConfigError,
            "the weights are those of model.pretrained=tv_in1k; leave data.preprocessing out",
        ),
        (
            ("model=resnet50", "data.preprocessing=tv3_in1k"),
            RegistryError,
            "data nor a tag of resnet50; did you mean 'tv_in1k'",
        ),
        (
            ("model=wide_resnet28_2", "data.preprocessing=model"),
            ConfigError,
            "has no tag with a preprocessing; use data.preprocessing=data",
        ),
        (
            ("model=detr", "model.pretrained=coco", "data=coco", "data.preprocessing=model"),
            ConfigError,
            "data=coco prepares its images itself; leave data.preprocessing out",
        ),
        (("model=wide_resnet28_2", "model.pretrained=true"), ConfigError, "has no tags of weights; name a file"),
        (("model=resnet50", "model.pretrained=tv_in1"), RegistryError, "did you mean 'tv_in1k'"),
        (("model=resnet50", "data.interpolation=nearest"), ConfigError, "interpolation"),
        (("model=resnet50", "data.std=[0.5,0.5]"), ConfigError, "data.std"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words: tuple[str, ...], kind: type[LabError], message: str) -> None:
    with pytest.raises(kind, match=message) as refusal:
        settled(*words)
    assert "\n" not in str(refusal.value)


def test_data_preprocessing_model_serves_a_checkpoint_file() -> None:
    assert images_of(settled("model=vit_tiny_patch16_224", "data.preprocessing=model"))["interpolation"] == "bicubic"
