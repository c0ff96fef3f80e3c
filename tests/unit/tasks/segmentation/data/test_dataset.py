"""Label maps on disk: what is read, what is refused, and the shared samples read both ways."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lab.data.datamodule import LoadPlan
from lab.data.images.dataset import Reading
from lab.errors import ConfigError, DataError
from lab.structures import NO_SEGMENT
from lab.tasks.segmentation.data.coco_panoptic import PanopticDataModule, PanopticDataset
from lab.tasks.segmentation.data.folder import FolderDataModule, FolderSegmentation
from lab.tasks.segmentation.data.label_maps import LabelTable, read_ids
from tests.data_factory import make_label_map, make_panoptic, make_segfolder, truncate

NAMES = ("zero", "one", "two")


def folder(root: Path, **options: object) -> FolderSegmentation:
    told = {key: options.pop(key) for key in ("train", "on_bad_sample") if key in options}
    arguments = {"images": "images/train", "labels": "labels/train", "class_names": NAMES} | options
    return FolderSegmentation(root, **arguments, reading=Reading(**{"train": False, **told}))  # type: ignore[arg-type]


def save_label(root: Path, image: Image.Image) -> None:
    image.save(root / "labels" / "train" / "a.png")


def test_pairs_are_read(tmp_path: Path) -> None:
    dataset = folder(make_segfolder(tmp_path))
    sample = dataset[0, 0]
    expected = np.where((label := make_label_map(24, 30, (0, 1, 2, 255))) == 255, NO_SEGMENT, label)
    assert sample.segments.dtype == torch.int16
    assert sample.segments.tolist() == expected.tolist()
    assert sample.labels.tolist() == [0, 1, 2]
    assert sample.truth is not None
    assert sample.truth.pixels.view(24, 30).tolist() == expected.tolist()
    assert dataset.aspect_ratios == [1.25, 0.8]


@pytest.mark.parametrize("mode", ["palette", "bits16", "colors"])
def test_other_kinds_of_png_give_the_same_segments(tmp_path: Path, mode: str) -> None:
    root = make_segfolder(tmp_path, sizes=((24, 30),))
    wanted = folder(root)[0, 0].segments
    ids = make_label_map(24, 30, (0, 1, 2, 255))
    options: dict[str, object] = {}
    if mode == "palette":
        image = Image.fromarray(ids.astype(np.uint8), mode="P")
        image.putpalette([value for number in range(256) for value in (255 - number, 7, 7)])
    elif mode == "bits16":
        image = Image.fromarray((ids * 100 + 300).astype(np.uint16))
        options = {"label_ids": [300, 400, 500], "ignore_ids": [255 * 100 + 300]}
    else:
        colors = np.zeros((256, 3), dtype=np.uint8)
        colors[[0, 1, 2]] = [(0, 0, 9), (0, 9, 0), (200, 0, 0)]
        image = Image.fromarray(colors[ids])
        options = {"colors": [[0, 0, 9], [0, 9, 0], [200, 0, 0]], "ignore_ids": [0]}
    save_label(root, image)
    sample = folder(root, on_bad_sample="error", **options)[0, 0]
    assert torch.equal(sample.segments, wanted)


def test_label_maps_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    root = make_segfolder(tmp_path)
    for image, reason in (
        (Image.new("RGB", (30, 24)), "mode RGB: give one channel of ids, or data.colors"),
        (Image.new("L", (24, 30)), "its label map is 24x30, the image 30x24"),
    ):
        save_label(root, image)
        with pytest.raises(DataError, match=reason):
            folder(root, on_bad_sample="error")
    (root / "labels" / "train" / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png is missing"):
        folder(root, on_bad_sample="error")


def test_missing_partners_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_segfolder(tmp_path, sizes=((24, 30),) * 3)
    (root / "images" / "train" / "a.jpg").unlink()
    (root / "labels" / "train" / "b.png").unlink()
    assert len(folder(root)) == 1
    assert "1 of 3 are evaluated: the metric covers these only: 2 (a (no such image), b.jpg" in caplog.text


def test_unknown_ids_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_segfolder(tmp_path, sizes=((24, 30),))
    options = {"class_names": ("zero", "one"), "ignore_ids": ()}
    # Stripes of 30 / 4 columns: 7 or 8 wide; 24 rows.
    with pytest.raises(DataError, match=r"a\.png: ids .* ignored: 2 \(192 pixels\), 255 \(168 pixels\)"):
        folder(root, on_bad_sample="error", **options)[0, 0]
    dataset = folder(root, **options)
    for _ in range(2):
        assert dataset[0, 0].labels.tolist() == [0, 1]
    assert caplog.text.count("2 (192 pixels)") == 1
    assert "not measured" in caplog.text


def test_a_damaged_map_is_replaced_in_training_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_segfolder(tmp_path)
    save_label(root, Image.fromarray(np.random.default_rng(0).integers(0, 3, (24, 30), dtype=np.uint8)))
    truncate(root / "labels" / "train" / "a.png")
    train, evaluation = folder(root, train=True), folder(root)
    assert train[0, 0].image_id == 1
    sample = evaluation[0, 0]
    assert sample.image_id == 0
    assert sample.labels.tolist() == []
    assert sample.segments.unique().tolist() == [NO_SEGMENT]
    assert "none of the image's pixels is measured" in caplog.text
    with pytest.raises(DataError, match="cannot be decoded"):
        folder(root, on_bad_sample="error")[0, 0]


def test_lists_and_suffixes_choose_the_files(tmp_path: Path) -> None:
    root = make_segfolder(tmp_path, sizes=((24, 30),) * 3)
    for file in sorted((root / "labels" / "train").iterdir()):
        file.rename(file.with_name(f"{file.stem}_ids.png"))
    (root / "val.txt").write_text("c.jpg\na\n")
    dataset = folder(root, names="val.txt", image_suffix=".jpg", label_suffix="_ids.png", on_bad_sample="error")
    assert [dataset.image_path(index).name for index in range(2)] == ["c.jpg", "a.jpg"]


def test_fingerprint_sees_the_label_maps(tmp_path: Path) -> None:
    before = folder(make_segfolder(tmp_path)).fingerprint()
    save_label(tmp_path, Image.fromarray(np.random.default_rng(0).integers(0, 3, (24, 30), dtype=np.uint8)))
    assert folder(tmp_path).fingerprint() != before


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    root = make_segfolder(tmp_path)
    split = {"images": "images/train", "labels": "labels/train"}
    with pytest.raises(ConfigError, match=r"data\.label_ids has 2 entries for 3 class_names"):
        folder(root, label_ids=[0, 1])
    with pytest.raises(ConfigError, match="the id 4 stands for two classes"):
        folder(root, label_ids=[4, 1, 4])
    with pytest.raises(ConfigError, match=r"data\.class_names is missing"):
        FolderDataModule(str(root), split, split)
    with pytest.raises(ConfigError, match=r"data\.segments=panoptic: .* data=coco_panoptic"):
        FolderDataModule(str(root), split, split, class_names=NAMES, segments="panoptic")
    with pytest.raises(ConfigError, match=r"data\.augmentation\.colour: unknown key.*color"):
        FolderDataModule(str(root), split, split, class_names=NAMES, augmentation={"colour": 1})


def test_samples_are_the_same_on_any_number_of_workers(tmp_path: Path) -> None:
    root = make_segfolder(tmp_path, sizes=((24, 30),) * 6)
    (root / "classes.txt").write_text("\n".join(NAMES))
    split = {"images": "images/train", "labels": "labels/train"}
    batches = {}
    for workers in (0, 2):
        data = FolderDataModule(
            str(root), split, split, class_names="classes.txt", batch_size=2, num_workers=workers, image_size=16
        )
        data.plan = LoadPlan(max_steps=4)
        batches[workers] = list(data.train_dataloader())
    for one, other in zip(batches[0], batches[2], strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.targets.segments, other.targets.segments)
        assert one.targets.counts == other.targets.counts


def test_panoptic_segments_crowds_and_things(tmp_path: Path) -> None:
    dataset = PanopticDataset(make_panoptic(tmp_path), reading=Reading(train=False, on_bad_sample="error"))
    sample = dataset[0, 0]
    assert (dataset.class_names, dataset.thing_labels, dataset.label_to_category) == (("cat", "sky"), (0,), (17, 187))
    assert sample.image_id == 7
    assert sample.segments.tolist() == make_label_map(12, 20, (0, NO_SEGMENT, 1, NO_SEGMENT)).tolist()
    assert sample.labels.tolist() == [0, 1]
    assert sample.truth is not None
    assert sample.truth.pixels.view(12, 20).tolist() == make_label_map(12, 20, (0, 1, 2, NO_SEGMENT)).tolist()
    assert sample.truth.labels.tolist() == [0, 0, 1]
    assert sample.truth.iscrowd.tolist() == [False, True, False]


def test_an_instance_json_is_not_taken_for_a_panoptic_one(tmp_path: Path) -> None:
    path = make_panoptic(tmp_path) / "annotations" / "panoptic_train2017.json"
    content = json.loads(path.read_text())
    del content["annotations"][0]["segments_info"]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="is a json of instances"):
        PanopticDataset(tmp_path)


def test_ids_of_any_size_are_looked_up_alike() -> None:
    ids = np.random.default_rng(0).integers(0, 256, (40, 50))
    table = LabelTable([3, 200, 7], [255, 3])
    small, large = table.look_up(ids.astype(np.uint8)), table.look_up(ids.astype(np.int64))
    assert torch.equal(small[0], large[0])
    assert (
        dict(small[1])
        == dict(large[1])
        == {number: count for number, count in Counter(ids.ravel().tolist()).items() if number not in (3, 200, 7, 255)}
    )


def test_panoptic_sample_agrees_with_its_two_channel_form(data_dir: Path) -> None:
    root = data_dir / "coco_panoptic_sample"
    if not root.is_dir():
        pytest.skip("needs coco_panoptic_sample")
    dataset = PanopticDataset(
        root,
        "panoptic_examples.json",
        "panoptic_examples",
        "input_images",
        reading=Reading(train=False, on_bad_sample="error"),
    )
    stated = json.loads((root / "panoptic_examples.json").read_text())["annotations"]
    for index, item in enumerate(stated):
        truth = dataset[0, index].truth
        assert truth is not None
        segments = truth.pixels.view(truth.sizes[0]).numpy()
        assert np.bincount(segments[segments >= 0]).tolist() == [part["area"] for part in item["segments_info"]]
        # The authors' own conversion: category id (0 where unlabelled) and instance in two channels.
        two = np.asarray(Image.open(root / "panoptic_examples_2ch_format" / item["file_name"]))
        categories = np.array([*(dataset.label_to_category[label] for label in truth.labels), 0])
        assert (two[..., 0] == categories[segments]).all()
        pairs = np.unique(np.stack([two[..., 0].ravel(), two[..., 1].ravel(), segments.ravel()]), axis=1)
        assert len(np.unique(pairs[:2], axis=1).T) == len(pairs.T) == len(np.unique(segments))


def test_ade20k_sample_reads_as_pillow_does(data_dir: Path) -> None:
    root = data_dir / "ade20k_sample"
    if not root.is_dir():
        pytest.skip("needs ade20k_sample")
    names = [f"class {number}" for number in range(1, 151)]
    reading = Reading(train=False, on_bad_sample="error")
    options = {"label_ids": range(1, 151), "ignore_ids": [0], "reading": reading}
    truth = FolderSegmentation(root, "images", "annotations", names, **options)  # type: ignore[arg-type]
    other = FolderSegmentation(root, "images", "predictions", names, **options)  # type: ignore[arg-type]
    for index in range(3):
        sample = truth[0, index]
        ids = np.append(sample.labels.numpy() + 1, 0)[sample.segments.numpy()]
        assert (ids == np.asarray(Image.open(root / "annotations" / f"{truth.image_path(index).stem}.png"))).all()
        assert torch.equal(sample.segments, other[0, index].segments)


def test_coco_mini_panoptic_areas_are_those_stated(data_dir: Path) -> None:
    root = data_dir / "coco_mini"
    if not root.is_dir():
        pytest.skip("needs coco_mini")
    labels = "panoptic_segmentation/annotations/panoptic_val2017"
    split = {"annotations": f"{labels}.json", "labels": labels, "images": "images/val2017"}
    data = PanopticDataModule(str(root), split, split, on_bad_sample="error")
    dataset = data.build("val")
    assert (len(dataset), len(dataset.class_names), len(dataset.thing_labels)) == (30, 133, 80)
    stated = {item["image_id"]: item for item in json.loads((root / f"{labels}.json").read_text())["annotations"]}
    for index in range(5):
        sample = dataset[0, index]
        assert sample.truth is not None
        areas = torch.bincount(sample.truth.pixels[sample.truth.pixels >= 0].long()).tolist()
        assert areas == [part["area"] for part in stated[sample.image_id]["segments_info"]]
        assert min(sample.image.shape[1:]) == 800 or max(sample.image.shape[1:]) == 1333


def test_camvid_has_eleven_classes(data_dir: Path) -> None:
    root = data_dir / "camvid" / "original"
    if not root.is_dir():
        pytest.skip("needs camvid")
    names = [line.split()[1] for line in (root.parent / "classes.txt").read_text().splitlines()][:11]
    dataset = FolderSegmentation(
        root, "test", "testannot", names, ignore_ids=[11], reading=Reading(train=False, on_bad_sample="error")
    )
    assert len(dataset) == 4
    for index in range(4):
        sample = dataset[0, index]
        stored = read_ids(root / "testannot" / f"{dataset.image_path(index).stem}.png")
        assert (np.append(sample.labels.numpy(), 11)[sample.segments.numpy()] == stored).all()
