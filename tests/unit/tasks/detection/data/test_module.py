"""The DataModules of COCO and VOC directories: splits, classes, DETR's numbers, and their config groups."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch
from omegaconf import OmegaConf

from lab.config.compose import config_dir
from lab.data.datamodule import LoadPlan
from lab.errors import ConfigError, DataError
from lab.tasks.detection.data.coco import CocoDataModule
from lab.tasks.detection.data.module import Augmentation
from lab.tasks.detection.data.voc import VocDataModule
from tests.data_factory import make_coco, make_voc

TRAIN = {"annotations": "annotations/instances_train2017.json", "images": "train2017"}
VAL = {"annotations": "annotations/instances_val2017.json", "images": "val2017"}


def test_image_size_800_gives_the_published_numbers():
    transform = Augmentation().transform(train=True, image_size=800)
    assert transform.scales == (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    assert transform.max_size == 1333
    assert transform.crop_scales == (400, 500, 600)
    assert transform.crop_range == (384, 600)
    assert Augmentation().transform(train=False, image_size=800).scales == (800,)


def test_smaller_images_scale_all_of_them():
    transform = Augmentation(max_size=300).transform(train=True, image_size=160)
    assert (transform.scales[0], transform.scales[-1], transform.max_size) == (96, 160, 300)
    assert transform.crop_scales == (80, 100, 120)
    assert transform.crop_range == (77, 120)


def test_unknown_augmentation_is_named():
    with pytest.raises(ConfigError, match=r"data\.augmentation\.zom.*'zoom'"):
        Augmentation.from_options({"zom": [1, 2]})


def test_coco_module(tmp_path):
    make_coco(tmp_path)
    make_coco(tmp_path, sizes=[(40, 50)] * 3, split="val2017")
    module = CocoDataModule(str(tmp_path), TRAIN, VAL, batch_size=2, num_workers=0, image_size=32)
    assert module.spec.class_names == ("N/A", "N/A", "N/A", "cat", "N/A", "dog")
    assert module.input_shape == (3, 0, 0)
    batches = list(module.test_dataloader())  # test falls back on val
    assert {tuple(batch.images.shape[1:]) for batch in batches} == {(3, 32, 40)}
    counted = [image for batch in batches for image in batch.image_ids[batch.valid].tolist()]
    assert sorted(counted) == [10, 20, 30]
    module.plan = LoadPlan(max_steps=3)
    train = list(module.train_dataloader())
    assert len(train) == 3
    assert all(batch.truth is None and batch.images.dtype == torch.uint8 for batch in train)


def test_validation_must_agree_on_the_classes(tmp_path):
    make_coco(tmp_path)
    make_coco(tmp_path, annotations=[], categories={3: "lion"}, split="val2017")
    with pytest.raises(DataError, match="label 3 is 'lion', in training it is 'cat'"):
        CocoDataModule(str(tmp_path), TRAIN, VAL).dataset("val")
    make_coco(tmp_path, annotations=[], categories={5: "dog"}, split="val2017")
    CocoDataModule(str(tmp_path), TRAIN, VAL).dataset("val")  # raw ids still mean the same
    with pytest.raises(DataError, match=r"label 0 is 'dog', in training it is 'cat'.*category_ids=raw"):
        CocoDataModule(str(tmp_path), TRAIN, VAL, category_ids="contiguous").dataset("val")
    with pytest.raises(ConfigError, match=r"data\.val needs"):
        CocoDataModule(str(tmp_path), TRAIN, {"images": "val2017"})


def test_voc_module(tmp_path):
    for split in ("train", "val", "test"):
        make_voc(tmp_path, split=split)
    augmentation = {"size": [24, 32], "zoom": [0.8, 1.2], "color": 0.1}
    module = VocDataModule(str(tmp_path), batch_size=2, num_workers=0, augmentation=augmentation, cache_images=True)
    assert module.spec.class_names == ("ball", "ship")
    assert module.input_shape == (3, 24, 32)
    module.plan = LoadPlan(max_steps=2)
    for batch in module.train_dataloader():
        assert batch.images.shape == (2, 3, 24, 32)
        assert batch.padding_mask is None


@pytest.mark.parametrize(("name", "target"), [("coco", CocoDataModule), ("voc", VocDataModule)])
def test_groups_offer_every_argument_with_the_defaults_of_the_code(name, target):
    group = OmegaConf.to_container(OmegaConf.load(config_dir() / "data" / f"{name}.yaml"))
    arguments = inspect.signature(target.__init__).parameters
    described = {"_target_", "tasks", "requires", "how_to_get"}
    assert set(group) - described == set(arguments) - {"self"}
    for key in ("batch_size", "num_workers", "category_ids", "on_bad_sample", "cache_images", "class_names"):
        if key in arguments:
            assert group[key] == arguments[key].default
    defaults = dataclasses.asdict(Augmentation())
    assert group["augmentation"] == {
        key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()
    }
