"""``data.augmentation`` of detection through the DataModules: a sample for each (seed, epoch, index), whoever reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from lab.data.datamodule import LoadPlan
from lab.errors import ConfigError
from lab.structures import DetectionBatch
from lab.tasks.detection.data.augmentation import step_size
from lab.tasks.detection.data.coco import CocoDataModule
from lab.tasks.detection.data.collate import Letterbox
from lab.tasks.detection.data.scenes3d import Scenes3dDataModule
from lab.tasks.detection.data.shapes import ShapesDataModule
from tests.data_factory import make_coco
from tests.unit.tasks.detection.data.test_module import TRAIN, VAL

EVERYTHING = {
    "size": [32, 48],
    "letterbox": True,
    "mosaic": 0.6,
    "mosaic_off": 0.25,
    "hsv": [0.1, 0.5, 0.5],
    "contrast": [0.5, 1.5],
    "multi_scale": [32, 96],
    "min_visible": 0.1,
}


PLAN = LoadPlan(max_steps=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    sizes = [(40, 60), (60, 40), (48, 48), (30, 70), (50, 50), (64, 48)]
    boxes = [
        {"image_id": 10 * number, "category_id": 3, "bbox": [4, 4, 20, 16], "area": 320.0, "iscrowd": 0}
        for number in range(1, 7)
    ]
    make_coco(root, sizes=sizes, annotations=boxes)
    make_coco(root, sizes=sizes[:2], annotations=boxes[:2], split="val2017")
    return root


def module(folder, plan: LoadPlan = PLAN, **options: Any) -> CocoDataModule:
    options = {"num_workers": 0, "augmentation": EVERYTHING, **options}
    made = CocoDataModule(str(folder), TRAIN, VAL, batch_size=2, seed=5, **options)
    made.plan = plan
    return made


def same(first: DetectionBatch, second: DetectionBatch) -> bool:
    pairs = [
        (first.images, second.images),
        (first.targets.boxes, second.targets.boxes),
        (first.image_ids, second.image_ids),
    ]
    return all(torch.equal(*pair) for pair in pairs) and first.train_size == second.train_size


def test_workers_caches_and_a_resume_change_nothing(folder):
    alone = list(module(folder).train_dataloader())
    others = {
        "workers": module(folder, num_workers=2, cache_images=True),
        "cache": module(folder, cache_images=True),
    }
    for made in others.values():
        assert all(same(*pair) for pair in zip(alone, made.train_dataloader(), strict=True))
    rest = module(folder, replace(PLAN, start_step=5))
    assert all(same(*pair) for pair in zip(alone[5:], rest.train_dataloader(), strict=True))
    assert not same(alone[0], alone[3])  # the same order of another epoch would be another sample
    assert {batch.images.shape for batch in alone} == {(2, 3, 32, 48)}
    assert len({batch.train_size for batch in alone}) > 1


def test_ranks_and_accumulation_share_the_samples_and_the_size_of_a_step(folder):
    alone = list(module(folder).train_dataloader())
    ranks = [list(module(folder, LoadPlan(max_steps=8, rank=rank, world_size=2)).train_dataloader()) for rank in (0, 1)]
    parts = list(module(folder, LoadPlan(max_steps=8, accumulate=2)).train_dataloader())
    for step, batch in enumerate(alone):
        pieces = [[ranks[0][step], ranks[1][step]], parts[2 * step : 2 * step + 2]]
        for piece in pieces:
            assert torch.equal(torch.cat([item.images for item in piece]), batch.images)
            assert torch.equal(torch.cat([item.targets.boxes for item in piece]), batch.targets.boxes)
            assert {item.train_size for item in piece} == {batch.train_size}


def test_mosaics_end_and_are_not_in_evaluation(folder):
    made = module(folder, augmentation={**EVERYTHING, "mosaic": 1.0, "hsv": None, "contrast": None})
    batches = list(made.train_dataloader())
    assert [batch.padding_mask is None for batch in batches[:6]] == [True] * 6  # a mosaic fills its size
    assert {len(set(batch.targets.sizes.flatten().tolist())) for batch in batches[:6]} == {2}
    assert any(batch.padding_mask is not None for batch in batches[6:])  # steps 6 and 7 are the last quarter
    assert all(batch.train_size is None for batch in made.val_dataloader())


def test_letterbox_pads_with_grey_in_training_and_evaluation(folder):
    made = module(folder, augmentation={"size": 64, "letterbox": True, "grey": 77})
    assert made.spec.grey == 77
    assert made.spec.input_shape == (3, 64, 64)
    assert made.transform(True).padding == made.transform(False).padding == Letterbox((64, 64), 77)
    (batch,) = made.val_dataloader()
    assert batch.targets.sizes.tolist() == [[43, 64], [64, 43]]  # 40 x 60 and 60 x 40: 40 / 60 * 64 = 42.67
    assert batch.grey == 77
    assert batch.images[0, :, 43:].unique().tolist() == [77]
    assert torch.equal(batch.padding_mask[1], (torch.arange(64) >= 43).expand(64, 64))
    assert module(folder, augmentation={"size": 64}).spec.grey is None


@pytest.mark.parametrize("kind", [ShapesDataModule, Scenes3dDataModule])
def test_generated_scenes_are_augmented_in_training_alone(kind):
    numbers = {"mosaic": 1.0, "flip": 0.5, "hsv": [0.1, 0.5, 0.5], "multi_scale": [32, 64]}
    few: dict[str, Any] = {"num_train": 4, "num_val": 2, "num_test": 2, "batch_size": 2}
    if kind is Scenes3dDataModule:
        pytest.importorskip("manifold3d", reason="needs lab[geometry]")
        few |= {"image_size": [32, 48], "repeat": True, "min_objects": 2, "max_objects": 3}
    plain, made = kind(**few), kind(**few, augmentation=numbers)
    for data in (plain, made):
        data.plan = LoadPlan(max_steps=2)
    before, after = list(plain.train_dataloader()), list(made.train_dataloader())
    assert before[0].images.shape == after[0].images.shape
    assert not torch.equal(before[0].images, after[0].images)
    assert all(same(*pair) for pair in zip(plain.val_dataloader(), made.val_dataloader(), strict=True))
    assert all(same(*pair) for pair in zip(after, made.train_dataloader(), strict=True))
    assert plain.dataset("train").fingerprint() == made.dataset("train").fingerprint()
    assert made.first_batch().train_size == ((64, 64) if kind is ShapesDataModule else (32, 64))


def test_sizes_of_steps_by_hand():
    sizes = [step_size((300, 400), 256, 448, 1, step) for step in range(300)]
    assert {width for _, width in sizes} == {256, 288, 320, 352, 384, 416, 448}
    assert {height for height, width in sizes if width == 416} == {320}  # 416 * 3 / 4 = 312 -> 9.75 * 32
    assert step_size((300, 400), 256, 448, 1, None) == (320, 448)  # 336 is 10.5 * 32: 10 is the even one
    assert sizes != [step_size((300, 400), 256, 448, 2, step) for step in range(300)]
    assert step_size((10, 640), 64, 64, 0, 3) == (32, 64)


def test_numbers_that_do_not_fit_are_refused(folder):
    for numbers, message in [
        ({"letterbox": True}, r"data\.augmentation\.letterbox .* give data\.augmentation\.size"),
        ({"mosaic": 0.5}, r"data\.augmentation\.mosaic .* give data\.augmentation\.size"),
        ({"multi_scale": [32, 64]}, r"multi_scale resizes whole batches: give data\.augmentation\.size"),
        ({"multi_scale": [64, 32], "size": 64}, r"multi_scale=\[64, 32\] is wrong"),
        ({"multi_scale": [40, 64], "size": 64}, r"multiples of 32"),
        ({"hsv": [2, 0, 0], "size": 64}, "hsv"),
        ({"mosiac": 0.5}, r"data\.augmentation\.mosiac.*'mosaic'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            module(folder, augmentation=numbers).transform(True)
    with pytest.raises(ConfigError, match=r"data\.augmentation\.zoom: unknown key"):
        ShapesDataModule(augmentation={"zoom": [1, 2]})
