"""Browsing shows the batches of a training, and finds what was put into a data set."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import lab
from lab.errors import ConfigError, DataError
from lab.experiment.assembly import build_data, build_task, give_plan, make_plan, prepare
from lab.experiment.browsing import batches, draw_cards, look_at, open_browser
from lab.experiment.models_of_data import fitting_models
from lab.report.canvas import as_picture
from lab.report.sanity import CHECKS, SanityReport
from lab.system.ranks import Place
from lab.training.browsing import spread_over
from tests.data_factory import truncate

SMALL = ("data.num_train=32", "data.num_val=8", "data.num_test=8", "data.batch_size=8")
SESSIONS = ("data=sessions_synthetic", "data.num_items=20", *SMALL)
AUGMENTED = "data.augmentation={policy: rand_augment, erase: 0.5, cutmix: 1.0, flip: 0.5, shift: 4}"


def config_of(*words: str) -> dict[str, Any]:
    return lab.compose(*words).to_dict()


def training_batches(config: dict[str, Any], count: int) -> list[Any]:
    """Return the first batches as a training reads them, its plan counted by the task."""
    prepare(config)
    data = build_data(config)
    plan = make_plan(config, data, Place())
    give_plan(data, plan.load, build_task(config, data, plan.schedule_steps))
    return [batch for batch, _ in zip(data.train_dataloader(), range(count), strict=False)]


def tensors_of(value: Any) -> list[Any]:
    """Return all that a batch holds but for the normalisers of its step."""
    if isinstance(value, Tensor | np.ndarray):
        return [torch.as_tensor(value)]
    if hasattr(value, "__dataclass_fields__"):
        names = [field.name for field in fields(value) if field.name != "totals"]
        return [part for name in names for part in tensors_of(getattr(value, name))]
    return [value]


@pytest.mark.parametrize(
    "words",
    [
        ("data=shapes", *SMALL, "data.augmentation={flip: 0.5, mosaic: 0.5, color: 0.4}"),
        ("model=resnet18", "data=shapes", *SMALL, AUGMENTED),
        ("model=mixmatch", "data=shapes", *SMALL, "data.num_labels=8"),
        ("model=maskformer_tiny", "data=shapes", *SMALL),
        ("model=sasrec", *SESSIONS),
        ("model=gru4rec", *SESSIONS),
        ("model=vggish_tiny", "data=tones", *SMALL),
        ("model=bert_tiny", "data=pretraining", "data.num_documents=60", "data.batch_size=4"),
    ],
    ids=lambda words: words[0],
)
def test_the_batches_are_those_of_the_training(words: tuple[str, ...]) -> None:
    config = config_of(*words, "seed=3")
    expected = training_batches(config, 2)
    browser = open_browser(config)
    for one, two in zip(expected, batches(browser.data, "train"), strict=False):
        left, right = tensors_of(one), tensors_of(two)
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert a.equal(b) if isinstance(a, Tensor) else a == b


def test_a_detectors_pixels_are_drawn_as_they_are() -> None:
    config = config_of("data=shapes", *SMALL, "data.min_shapes=0", "data.max_shapes=0", "data.image_size=64")
    config["data"]["augmentation"] = None
    browser = open_browser(config)
    batch = next(iter(batches(browser.data, "train")))
    for row, card in enumerate(browser.cards(batch, True)):  # without boxes nothing is drawn onto it
        enlarged = as_picture(batch.images[row]).resize((256, 256), Image.Resampling.NEAREST)
        assert np.array_equal(np.asarray(card.picture), np.asarray(enlarged))


def test_a_classifiers_pixels_are_those_that_its_network_reads() -> None:
    config = config_of("model=resnet18", "data=shapes", *SMALL, AUGMENTED)
    task = build_task(config, build_data(config), 1)
    browser: Any = open_browser(config)
    batch = next(iter(batches(browser.data, "train")))
    with torch.no_grad():
        read = task.inputs(batch)
    drawn = task.normalized(browser.pixels(batch))
    assert (read - drawn).abs().max() < 0.02  # half a level of 255, over a deviation of 0.22
    assert not torch.equal(browser.pixels(batch), batch.images)


def test_without_augmentation_the_same_samples_are_drawn_plain() -> None:
    words = ("model=resnet18", "data=shapes", *SMALL)
    augmented = open_browser(config_of(*words, AUGMENTED))
    plain = open_browser(config_of(*words))
    captions = [card.caption.split(",")[0] for card in draw_cards(augmented, "train", 8, augmented=True)]
    shown, expected = (draw_cards(one, "train", 8, augmented=False) for one in (augmented, plain))
    assert [card.caption.split(",")[0] for card in shown] == captions
    assert all(
        np.array_equal(np.asarray(one.picture), np.asarray(two.picture))
        for one, two in zip(shown, expected, strict=True)
    )


def test_evaluation_ends_with_its_samples() -> None:
    browser = open_browser(config_of("data=shapes", *SMALL, "data.num_val=5"))
    assert len(draw_cards(browser, "val", 100)) == 5


def scene(height: int, width: int, seed: int) -> Image.Image:
    """Return an image of soft patches, which is like no other one."""
    patches = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def dirty_coco(root: Path) -> Path:
    """Write a data set of which everything that is wrong is known."""
    for split, count in (("train2017", 14), ("val2017", 4)):
        (root / split).mkdir(parents=True)
        images, annotations = [], []
        for number in range(count):
            name, (height, width) = f"{number:02d}.png", (40, 60)
            image = scene(height, width, number + 100 * (split == "val2017"))
            images.append({"id": number, "file_name": name, "height": height, "width": width})
            annotations.append({"image_id": number, "category_id": 1 + number % 2, "bbox": [5, 5, 20, 10]})
            image.save(root / split / name)
        if split == "train2017":
            spoil(root / split, images, annotations)
        else:
            (root / split / "01.png").write_bytes((root / "train2017" / "00.png").read_bytes())
        rows = [
            {"id": number, "iscrowd": 0, "area": row["bbox"][2] * row["bbox"][3], **row}
            for number, row in enumerate(annotations, 1)
        ]
        (root / "annotations").mkdir(exist_ok=True)
        categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "emu"}]
        content = {"images": images, "annotations": rows, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def spoil(folder: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> None:
    """Make 02 a copy of 00, 03 one with another class, 04 nearly 01, and so on."""
    for number in (2, 3):
        (folder / f"{number:02d}.png").write_bytes((folder / "00.png").read_bytes())
    annotations[2]["category_id"], annotations[3]["category_id"] = 1, 2
    near = np.asarray(Image.open(folder / "01.png")).astype(int) + 1
    Image.fromarray(near.clip(0, 255).astype(np.uint8)).save(folder / "04.png")
    Image.new("RGB", (60, 40), (90, 90, 90)).save(folder / "05.png")
    scene(20, 200, 77).save(folder / "06.png")
    images[6] |= {"height": 20, "width": 200}
    truncate(folder / "07.png")
    (folder / "08.png").write_text("no image")
    annotations[9]["bbox"] = [5, 5, 2, 10]
    annotations[10]["bbox"] = [0, 5, 60, 2.5]
    annotations[11]["bbox"] = [5, 5, 0, 0]


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> SanityReport:
    root = dirty_coco(tmp_path_factory.mktemp("dirty"))
    config = config_of("data=coco", f"data.root={root}", "data.batch_size=4", "data.image_size=64")
    return look_at(open_browser(config), "dirty")


def test_what_was_put_into_the_data_is_found(dirty: SanityReport) -> None:
    train, val = dirty.looks
    assert (train.samples, train.read, val.samples) == (13, 13, 4)  # 08.png is no image
    assert {name: finding.count for name, finding in train.findings.items() if finding.count} == {
        "images of one colour": 1,
        "longer than 4 : 1": 1,
        "cannot be decoded": 1,
        "unreadable images": 1,
        "boxes without an area inside of the image, left out": 1,
        "boxes with a side below 4 pixels": 2,
        "boxes longer than 20 : 1": 1,
        "images without a box": 1,
        "exact duplicates": 2,
        "duplicates with another label": 1,
        "pairs of near duplicates": 1,
    }
    assert train.findings["exact duplicates"].examples == [
        "train: 02.png = train: 00.png",
        "train: 03.png = train: 00.png",
    ]
    assert train.findings["duplicates with another label"].examples == ["train: 03.png = train: 00.png"]
    assert train.findings["pairs of near duplicates"].examples == ["train: 04.png ~ train: 01.png"]
    assert train.findings["cannot be decoded"].examples == ["07.png"]
    assert train.findings["images of one colour"].examples == ["train: 05.png"]
    assert train.findings["longer than 4 : 1"].examples == ["train: 06.png (200x20)"]


def test_copies_across_splits_are_found_and_the_test_set_is_the_validation_set(dirty: SanityReport) -> None:
    assert {name: finding.count for name, finding in dirty.between.items()} == {
        "val also in train": 1,
        "val nearly in train": 0,
    }
    assert dirty.between["val also in train"].examples == ["val: 01.png = train: 00.png"]
    assert dirty.notes == ["test: the same samples as val, which are counted there"]


def test_classes_and_sizes_are_counted(dirty: SanityReport) -> None:
    train = dirty.looks[0]
    assert train.classes == {"cat": 6, "dog": 5, "emu": 0, **{name: 0 for name in train.classes or {} if name == "N/A"}}
    assert train.tallies["width x height"] == {"60x40": 11, "200x20": 1}
    assert train.numbers["boxes of an image"].summary()["max"] == 1


def test_a_report_is_json_without_nan(dirty: SanityReport) -> None:
    plain = json.loads(json.dumps(dirty.to_plain(), allow_nan=False))
    assert plain["splits"]["train"]["findings"]["exact duplicates"]["count"] == 2
    assert plain["across_splits"]["val also in train"]["count"] == 1


@pytest.mark.parametrize(
    "words",
    [
        ("data=shapes", *SMALL),
        ("model=resnet18", "data=shapes", *SMALL),
        ("model=maskformer_tiny", "data=shapes", *SMALL),
        ("model=sasrec", *SESSIONS),
        ("model=vggish_tiny", "data=tones", *SMALL),
        ("model=afno_tiny", "data=advection", *SMALL),
        ("model=bloom_tiny", "data=text", *SMALL),
        ("model=bert_tiny", "data=pretraining", "data.num_documents=60", "data.batch_size=4"),
        ("model=bert_tiny_classifier", "data=texts", *SMALL),
        ("model=bert_tiny_answerer", "data=questions", *SMALL),
    ],
    ids=lambda words: words[0],
)
def test_each_check_is_made_or_a_reason_is_given(words: tuple[str, ...]) -> None:
    report = look_at(open_browser(config_of(*words)), "x", limit=6)
    for look in report.looks:
        assert 0 < look.read <= 6
        unmade = look.not_looked_at()
        assert set(unmade) < set(CHECKS)
        assert all(unmade.values()), unmade  # a reason


def test_a_limit_is_said_and_spreads_what_is_read() -> None:
    report = look_at(open_browser(config_of("data=shapes", *SMALL)), "x", limit=10)
    assert [look.read for look in report.looks] == [10, 8, 8]
    assert [note.split(":")[0] for note in report.notes] == ["train"]
    assert "10 of 32 images were read" in report.notes[0]
    assert spread_over(5, None) == [0, 1, 2, 3, 4]
    assert spread_over(101, 3) == [0, 50, 100]


def test_data_without_samples_to_draw_is_refused() -> None:
    browser = open_browser(config_of("data=shapes", *SMALL))
    browser.cards = lambda batch, augmented: iter(())  # type: ignore[method-assign]
    with pytest.raises(DataError, match="nothing to draw in its val set"):
        draw_cards(browser, "val", 3)


def test_the_smallest_models_that_fit_come_first() -> None:
    assert fitting_models(["data=tones"])[0] == "vggish_tiny"
    assert fitting_models(["data=nowhere"]) == []


def test_a_kind_without_a_browser_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.training import spec

    kind = spec.TaskSpec("cards", "m:T", "m:D", "m:S")
    with pytest.raises(ConfigError, match="data for cards cannot be browsed: its TaskSpec names no Browser"):
        kind.load_browser()
