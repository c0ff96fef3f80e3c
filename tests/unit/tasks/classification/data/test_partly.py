"""Any dataset with few labels: MixMatch on class folders, on what ``datasets`` reads, and on generated shapes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from lab.errors import ConfigError, DataError
from lab.loggers.metrics_file import read_metrics
from lab.tasks.classification.data.folder import ImageFolderModule
from lab.tasks.classification.data.hub import HubModule
from lab.tasks.classification.data.labelled import LabelledImages
from lab.tasks.classification.data.shapes import ChosenScenes, ShapesDataModule, ShapesMultilabelModule
from lab.tasks.classification.data.unlabelled import PartlyLabelled
from tests.data_factory import make_image
from tests.dist import harness
from tests.unit.tasks.classification.data.test_hub import on_disk, packed
from tests.unit.tasks.classification.makers import make_folder

SIDE, CLASSES = 16, ("cat", "dog", "owl")
UNUSED = ("data.num_train", "data.num_val", "data.num_test", "data.image_size", "data.max_side", "callbacks")
BASE = tuple(word for word in harness.SMALL if word.split("=")[0] not in UNUSED)


def folder(place: Path) -> Path:
    make_folder(place / "train", dict.fromkeys(CLASSES, 8))
    make_folder(place / "val", dict.fromkeys(CLASSES, 2))
    return place


def hub(place: Path) -> Path:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})

    def table(count: int) -> datasets.Dataset:
        content = {"image": [packed(row) for row in range(count)], "label": [row % 3 for row in range(count)]}
        return datasets.Dataset.from_dict(content, features=features)

    return on_disk(place, train=table(24), test=table(6))


def of_folder(place: Path, **options: Any) -> ImageFolderModule:
    known = {"num_workers": 0, "batch_size": 4, "image_size": SIDE, "num_labels": 6, "unlabelled": 2}
    files = {"images": "train"}, {"images": "val"}
    return ImageFolderModule(str(folder(place)), *files, **(known | options))


def of_hub(place: Path, **options: Any) -> HubModule:
    known = {"num_workers": 0, "batch_size": 4, "image_size": SIDE, "num_labels": 6, "unlabelled": 2}
    return HubModule(str(hub(place)), **(known | {"val_share": None, "val": "test"} | options))


def of_shapes(place: Path, **options: Any) -> ShapesDataModule:
    known = {"batch_size": 4, "image_size": SIDE, "max_side": 12, "num_labels": 6, "unlabelled": 2, "num_train": 24}
    return ShapesDataModule(**(known | options))


KINDS: dict[str, Callable[..., Any]] = {"imagefolder": of_folder, "hub": of_hub, "shapes": of_shapes}


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_balanced_and_the_others_have_none(kind: str, tmp_path: Path) -> None:
    data = KINDS[kind](tmp_path / "one")
    train = data.dataset("train")
    assert isinstance(train, PartlyLabelled)
    labelled, rest = train.labelled, train.unlabelled
    assert isinstance(labelled, LabelledImages | ChosenScenes)
    assert (len(labelled), len(train)) == (6, len(rest))
    assert len(labelled) + len(rest) == 24
    ids = [set(part.still(np.arange(len(part)))[2].tolist()) for part in (labelled, rest)]
    assert not ids[0] & ids[1]
    counts, others = (np.bincount(part.label_array(), minlength=len(train.class_names)) for part in (labelled, rest))
    assert data.spec.class_counts == tuple(counts)
    assert (abs(counts - 6 / 24 * (counts + others)) < 1).all()  # each class has its share, and those of files 2
    assert kind == "shapes" or set(counts) == {2}
    assert train.class_names == data.spec.class_names
    other = KINDS[kind](tmp_path / "two", label_seed=1).dataset("train")
    assert set(other.labelled.still(np.arange(6))[2].tolist()) != ids[0]
    assert other.fingerprint() != train.fingerprint()
    few = KINDS[kind](tmp_path / "three", unlabelled=0).dataset("train")  # the baseline with the same labels
    assert {few[0, index].image_id for index in range(len(few))} == ids[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_a_function_of_seed_epoch_and_index(kind: str, tmp_path: Path) -> None:
    one, two = (KINDS[kind](tmp_path / name).dataset("train") for name in ("one", "two"))
    two[3, 1]
    first, batch = one[1, 2], two.__getitems__([(1, 5), (1, 2)])
    assert batch.images.shape == batch.unlabelled.images.shape == (2, 3, SIDE, SIDE)
    assert batch.unlabelled.moves.shape == (2, 2, 4)
    assert torch.equal(first.image, batch.images[1])
    assert torch.equal(first.unlabelled.image, batch.unlabelled.images[1])
    assert torch.equal(first.unlabelled.chances, batch.unlabelled.chances[1])
    assert [list(view) for view in first.unlabelled.moves] == batch.unlabelled.moves[1].tolist()
    assert first.original_size == tuple(batch.original_sizes[1].tolist())
    moves = torch.stack([two.__getitems__([(0, index) for index in range(18)]).unlabelled.moves])
    assert moves[..., 1:3].abs().max() == SIDE // 8  # an eighth, where nothing is said
    assert {0, 1} == set(moves[..., 0].flatten().tolist())
    for other in (one[2, 2], one[1, 3], KINDS[kind](tmp_path / "three", seed=1).dataset("train")[1, 2]):
        assert not torch.equal(first.unlabelled.chances, other.unlabelled.chances)


WORDS = {
    "imagefolder": ("data.root={place}", "data.num_workers=0", "data.image_size=16"),
    "hub": ("data.path={place}", "data.num_workers=0", "data.image_size=16", "data.val=test", "data.val_share=null"),
    "shapes": ("data.image_size=16", "data.max_side=12", "data.num_train=24", "data.num_val=4", "data.num_test=4"),
}


@pytest.mark.parametrize("kind", WORDS)
def test_mixmatch_trains(kind: str, tmp_path: Path) -> None:
    place = {"imagefolder": folder, "hub": hub}.get(kind, Path)(tmp_path / "data")
    words = [
        "model=mixmatch",
        f"data={kind}",
        "model.net._target_=wide_resnet_tiny",
        "data.num_labels=6",
        "data.batch_size=6",
        "callbacks.ema=null",
        "trainer.max_steps=3",
        "trainer.val_every_n_steps=3",
        "model.learning.ramp_steps=2",
        *(word.format(place=place) for word in WORDS[kind]),
    ]
    run = harness.fit(tuple(words), tmp_path / "runs", base=BASE)
    rows = [row for row in read_metrics(run / "metrics.csv") if row.get("train/loss_u") is not None]
    assert [row["train/lambda_u"] for row in rows] == [0, 37.5, 75]
    assert all(np.isfinite(row["train/loss_x"]) for row in rows)
    assert rows[-1]["train/loss_u"] > 0


def test_images_are_read_as_in_evaluation(tmp_path: Path) -> None:
    """The shorter side resized and the middle taken, of a tensor: within 1 of 255 of what PIL gives (measured: 1)."""
    data = of_folder(tmp_path)
    evaluation = data.transform(train=False)
    image, _, number, size = (part[0] for part in data.dataset("train").unlabelled.still(np.array([3])))
    assert size.tolist() == [20, 24]
    row = int(number)
    expected = evaluation(make_image(20, 24, 10 * (row // 8) + row % 8))
    assert (image.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        (
            "imagefolder",
            {"augmentation": {"area": [0.2, 1.0]}},
            "and shifts whole images, by data.augmentation",
        ),
        ("hub", {"augmentation": {"erase": 0.5}}, "leave policy, erase, mixup and cutmix off"),
        ("shapes", {"augmentation": {"mixup": 0.5}}, "leave policy, erase, mixup and cutmix off"),
        ("imagefolder", {"num_labels": None}, "all are labelled: give the number of labelled ones"),
        (
            "shapes",
            {"num_labels": None},
            "learns from unlabelled images too, and all are labelled",
        ),
        ("shapes", {"num_labels": 3}, "data=shapes: data.num_labels=3: give one for each of the 4 classes at least"),
        (
            "hub",
            {"augmentation": {"shift": 16, "padding_mode": "reflect"}},
            "images of 16x16 are reflected",
        ),
        (
            "shapes",
            {"unlabelled": 0, "augmentation": {"shift": 16, "padding_mode": "reflect"}},
            "are reflected",
        ),
    ],
)
def test_what_does_not_fit_is_refused(kind: str, options: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, DataError), match=re.escape(says)):
        KINDS[kind](tmp_path, **options).dataset("train")


def test_classes_of_unlabelled_images_are_not_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^data\.class_balanced=true: the model learns from unlabelled images too"):
        of_folder(tmp_path, class_balanced=True).sample_weights()
    with pytest.raises(ConfigError, match=r"^data\.num_labels=6 is for one label an image"):
        ShapesMultilabelModule(num_labels=6)


def test_first_labels_are_those_of_the_scenes() -> None:
    scenes = of_shapes(Path()).scenes("train")
    assert [scenes.first_label((2, index)) for index in range(12)] == [
        int(scenes[2, index].labels[0]) for index in range(12)
    ]


def test_supervised_scenes_are_moved_where_asked_and_new_otherwise() -> None:
    data = of_shapes(Path(), unlabelled=0, augmentation={"flip": 1.0, "shift": 2})
    samples = [data.dataset("train")[epoch, 0] for epoch in range(6)]
    assert len({sample.image.sum().item() for sample in samples}) == 1  # the same scene in every epoch
    assert {sample.moves[0] for sample in samples} == {1}
    assert len({sample.moves for sample in samples}) > 1
    plain = of_shapes(Path(), num_labels=None, unlabelled=0).dataset("train")
    assert plain[0, 0].moves is None
    assert not torch.equal(plain[0, 0].image, plain[1, 0].image)
