"""Pins the generated benchmark. Changing a statistic or a hash in here is a change of benchmark.

Results measured before such a change cannot be compared with results after it: raise ``shapes.VERSION``, say so in
CHANGELOG.md and measure the recipes again. Never edit a number in here only to make a test pass.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import lru_cache
from itertools import combinations

import pytest
import torch
from torchvision.ops import box_iou, masks_to_boxes

from lab.data.scenes import shapes
from lab.data.scenes.drawing import Stream, outline
from lab.data.scenes.shapes import CLASS_NAMES, ShapesDataset, ShapesScene, semantic_mask
from lab.errors import ConfigError, DataError

SAMPLE_HASHES = {
    ("train", 0, 0): "da3e17056f34afccc83fa8ea2183fce5d5392eab03cfdef4c71c8a29604f45fa",
    ("train", 0, 511): "b9162459fb97bfbb51f5859b5ea63f86a1a6847e3a2e3ff976be5eccf0ac7303",
    ("train", 7, 3): "7df655f097f79957341352a42b481769248700342ca484063e0a997688a7b085",
    ("train", 7, 4): "3ec2060591911f5fc18d5acdaed6c858fc2ed17a5f564f2da987b8d55b32b544",
    ("val", 0, 0): "87f12777172740b01d13c75ea12c562e7d4e78883f04db432820db0eb6025a54",
    ("val", 0, 511): "80ae1876f2ab854affa3f58e5a4d5a586a48ec9f6a4be0e67fcd0ee63344b8f4",
    ("test", 0, 0): "6a6570571c6bf2402dc7f88812ec320c643d115ce381d0fcbf2e9bdd69122611",
    ("test", 0, 511): "51b40054237f7c5d4f37792e56a1cb684edb844b166fa5c4830414d10c998bf2",
    ("train seed 1", 0, 0): "bd8b1cd1e2b74b7fcc70b9c59c5b342e8ecec5992714eaa004126dbb703d49e9",
    ("train 96 px", 0, 0): "aead05bbe32702c992c4efde81eda670b173e917f169b211d4d917f2cb7043fc",
}
FINGERPRINT = (
    "shapes-v1:split=test,num_samples=512,image_size=64,shapes=1..3,sides=10..32,max_overlap=0.5,seed=0,masks=False"
)


def sha256(sample: ShapesScene) -> str:
    """Hash the bytes of the image, then boxes (float32) and labels (int64), little-endian."""
    digest = hashlib.sha256(sample.image.contiguous().numpy().tobytes())
    digest.update(sample.boxes.numpy().astype("<f4").tobytes())
    digest.update(sample.labels.numpy().astype("<i8").tobytes())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def training_samples() -> list[ShapesScene]:
    dataset = ShapesDataset("train", num_samples=2000, masks=True)
    return [dataset[1, index] for index in range(len(dataset))]


def test_splitmix64_gives_the_published_sequence() -> None:
    # The first outputs for seed 1234567, as the reference C code of S. Vigna prints them.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    data = Stream(1234567).bytes(32).tobytes()
    assert [int.from_bytes(data[i : i + 8], "little") for i in range(0, 32, 8)] == published
    stream = Stream(1234567)
    assert [stream.below(1000) for _ in range(4)] == [(value >> 32) * 1000 >> 32 for value in published]


def test_ten_samples_have_the_pinned_bytes() -> None:
    found = {}
    for split in ("train", "val", "test"):
        for epoch, index in ((0, 0), (0, 511), (7, 3), (7, 4)):
            if split == "train" or epoch == 0:
                found[split, epoch, index] = sha256(ShapesDataset(split)[epoch, index])
    found["train seed 1", 0, 0] = sha256(ShapesDataset("train", seed=1)[0, 0])
    found["train 96 px", 0, 0] = sha256(ShapesDataset("train", image_size=96, max_shapes=8)[0, 0])
    assert len(found) == 10
    assert found == SAMPLE_HASHES, "this is another benchmark: see the docstring of this file"


def test_defaults_are_those_of_the_benchmark() -> None:
    dataset = ShapesDataset("test")
    assert len(dataset) == 512
    assert dataset[0, 0].image.shape == (3, 64, 64)
    assert dataset.fingerprint() == FINGERPRINT
    assert dataset.aspect_ratios is None
    assert dataset.class_names == CLASS_NAMES == ("ellipse", "rectangle", "triangle", "cross")
    assert shapes.VERSION == 1


def test_samples_have_the_types_of_the_contract() -> None:
    sample = ShapesDataset("test", masks=True)[0, 17]
    count = len(sample.labels)
    assert (sample.image.dtype, sample.boxes.dtype, sample.labels.dtype) == (torch.uint8, torch.float32, torch.int64)
    assert sample.boxes.shape == (count, 4)
    assert sample.masks is not None
    assert sample.masks.shape == (count, 64, 64)
    assert sample.masks.dtype == torch.bool
    assert (sample.index, sample.size) == (17, (64, 64))
    assert ShapesDataset("test")[0, 17].masks is not None
    assert ShapesDataset("train")[0, 0].masks is None


def test_counts_and_classes_are_uniform() -> None:
    samples = training_samples()
    counts = Counter(len(sample.labels) for sample in samples)
    assert sorted(counts) == [1, 2, 3]
    # 2000 draws of 3: standard deviation 21; 4000 shapes of 4 classes: 27. Five of them are allowed.
    assert all(abs(count - 2000 / 3) < 105 for count in counts.values())
    labels = torch.cat([sample.labels for sample in samples])
    balance = labels.bincount(minlength=4)
    assert balance.shape == (4,)
    assert (balance - len(labels) / 4).abs().max() < 140


def test_sides_are_in_range_and_alike_for_all_classes() -> None:
    boxes = torch.cat([sample.boxes for sample in training_samples()])
    labels = torch.cat([sample.labels for sample in training_samples()])
    sides = boxes[:, 2:] - boxes[:, :2]
    assert (sides.min(), sides.max()) == (10, 32)
    assert (sides.amax(1) / sides.amin(1)).max() <= 1.5
    assert (boxes >= 0).all()
    assert (boxes <= 64).all()
    assert torch.equal(boxes, boxes.round())
    # By hand: the mean width of all pairs in 10..32 whose ratio is at most 1.5.
    pairs = [(w, h) for w in range(10, 33) for h in range(10, 33) if max(w, h) <= 1.5 * min(w, h)]
    expected = sum(w for w, _ in pairs) / len(pairs)
    centres = (boxes[:, 2:] + boxes[:, :2]) / 2
    for label in range(4):
        chosen = labels == label
        # About 1000 of each: the mean's standard error is 0.2 for sides and 0.5 for centres; five are allowed.
        assert (sides[chosen].mean(0) - expected).abs().max() < 1.0
        assert (centres[chosen].mean(0) - 32).abs().max() < 2.5


def test_colour_tells_nothing_of_the_class() -> None:
    colours: list[list[torch.Tensor]] = [[], [], [], []]
    for sample in training_samples():
        assert sample.masks is not None
        for label, mask in zip(sample.labels.tolist(), sample.masks, strict=True):
            colours[label].append(sample.image[:, mask].float().mean(1))
    means = torch.stack([torch.stack(found).mean(0) for found in colours])
    # Colours spread over 28..227 (deviation 58, about 1000 for each class: standard error 1.8); five are allowed.
    assert (means - 127.5).abs().max() < 9.0


def test_overlap_stays_within_its_limit_and_is_reached() -> None:
    worst, overlapping = 0.0, 0
    for sample in training_samples():
        iou = box_iou(sample.boxes, sample.boxes).triu(diagonal=1)
        worst, overlapping = max(worst, float(iou.max())), overlapping + bool(iou.any())
    assert 0.45 < worst <= 0.5
    assert 0.25 < overlapping / 2000 < 0.6


def test_boxes_are_the_tight_bounds_of_whole_outlines() -> None:
    single = ShapesDataset("train", max_shapes=1, masks=True)
    for index in range(200):
        sample = single[0, index]
        assert sample.masks is not None
        bounds = masks_to_boxes(sample.masks)
        bounds[:, 2:] += 1  # masks_to_boxes names the last pixel, a box its far edge
        assert torch.equal(bounds, sample.boxes)


def test_hidden_parts_count_for_boxes_but_not_for_masks() -> None:
    hidden = 0
    for sample in training_samples():
        assert sample.masks is not None
        assert sample.masks.any(dim=(1, 2)).all(), "a shape cannot be seen at all"
        for first, second in combinations(sample.masks, 2):
            assert not (first & second).any()
        bounds = masks_to_boxes(sample.masks)
        bounds[:, 2:] += 1
        assert (bounds[:, :2] >= sample.boxes[:, :2]).all()
        assert (bounds[:, 2:] <= sample.boxes[:, 2:]).all()
        hidden += int((bounds != sample.boxes).any(dim=1).sum())
    assert hidden > 50


@pytest.mark.parametrize("name", CLASS_NAMES)
@pytest.mark.parametrize("size", [(3, 4), (10, 15), (15, 10), (11, 11), (31, 32), (200, 140)])
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_outlines_touch_all_four_sides(name: str, size: tuple[int, int], turn: int) -> None:
    mask = outline(name, *size, turn)
    assert mask.shape == size[::-1]
    assert mask[0].any()
    assert mask[-1].any()
    assert mask[:, 0].any()
    assert mask[:, -1].any()


@pytest.mark.parametrize(
    ("name", "share"), [("ellipse", 0.7854), ("rectangle", 1.0), ("triangle", 0.5), ("cross", 5 / 9)]
)
def test_outlines_cover_what_geometry_says(name: str, share: float) -> None:
    assert outline(name, 300, 240, 0).mean() == pytest.approx(share, abs=0.004)


def test_semantic_mask_of_two_instances() -> None:
    masks = torch.zeros(2, 2, 3, dtype=torch.bool)
    masks[0, 0, :2] = True
    masks[1, 1, 2] = True
    assert semantic_mask(masks, torch.tensor([3, 0])).tolist() == [[4, 4, 0], [0, 0, 1]]


def test_the_epoch_changes_training_samples_only() -> None:
    train, test = ShapesDataset("train"), ShapesDataset("test")
    assert sha256(train[0, 5]) == sha256(ShapesDataset("train", num_samples=6)[0, 5])
    assert sha256(train[0, 5]) != sha256(train[1, 5])
    assert sha256(test[0, 5]) == sha256(test[9, 5])
    assert sha256(ShapesDataset("test", seed=1)[0, 5]) != sha256(test[0, 5])


def test_seed_ranges_of_the_splits_are_disjoint() -> None:
    largest = (1 << 32) - 1
    splits = {split: ShapesDataset(split, num_samples=largest) for split in ("train", "val", "test")}
    last_epoch = (1 << 30) - 1
    ends = [(s.sample_seed(0, 0), s.sample_seed(last_epoch, largest - 1)) for s in splits.values()]
    assert ends[0][0] == 0
    assert ends[0][1] < ends[1][0] <= ends[1][1] < ends[2][0] <= ends[2][1] < 1 << 64
    train = {sha256(sample) for sample in (ShapesDataset("train")[0, index] for index in range(512))}
    test = {sha256(sample) for sample in (ShapesDataset("test")[0, index] for index in range(512))}
    assert len(train) == len(test) == 512
    assert not train & test


def test_other_options_are_kept() -> None:
    dataset = ShapesDataset(
        "train", image_size=128, min_shapes=4, max_shapes=10, min_side=12, max_side=43, max_overlap=0.1, masks=True
    )
    for index in range(50):
        sample = dataset[0, index]
        assert sample.image.shape == (3, 128, 128)
        assert 4 <= len(sample.labels) <= 10
        sides = sample.boxes[:, 2:] - sample.boxes[:, :2]
        assert 12 <= sides.min() <= sides.max() <= 43
        assert box_iou(sample.boxes, sample.boxes).triu(diagonal=1).max() <= 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tset"}, "did you mean 'test'"),
        ({"split": "test", "num_samples": 0}, "num_samples=0"),
        ({"split": "test", "min_shapes": 4}, "min_shapes \\(4\\)"),
        ({"split": "test", "max_side": 65}, "max_side \\(65\\)"),
        (
            {"split": "test", "image_size": 48},
            "3 shapes of up to max_side=32 px.*image_size=48 px: max_side=31 would fit",
        ),
        ({"split": "test", "max_shapes": 9, "min_side": 40, "max_side": 40}, "image_size=64 px: lower max_shapes"),
        ({"split": "test", "max_overlap": 1.5}, "max_overlap=1.5"),
        ({"split": "test", "seed": -1}, "seed=-1"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ShapesDataset(**options)


def test_what_cannot_be_placed_or_found_is_an_error() -> None:
    with pytest.raises(ConfigError, match="cannot place 9 shapes"):
        ShapesDataset("train", min_shapes=9, max_shapes=9, min_side=40, max_side=40)
    crowded = ShapesDataset("train", min_shapes=3, max_side=31, image_size=48)
    crowded._sides = [(47, 47)]
    with pytest.raises(DataError, match="cannot place 3 shapes"):
        crowded[0, 0]


def test_a_scene_without_room_gets_other_sizes() -> None:
    """Three squares of 31 never fit into 48 pixels, three of 10 always: the scene is drawn, its labels are kept."""
    crowded = ShapesDataset("train", min_shapes=3, max_side=31, image_size=48)
    crowded._sides = [(31, 31)] * 3 + [(10, 10)] * 2
    scenes = [crowded[0, index] for index in range(12)]
    assert all(len(scene.labels) == 3 for scene in scenes)
    assert [int(scene.labels[0]) for scene in scenes] == [crowded.first_label((0, index)) for index in range(12)]


@pytest.mark.parametrize(("image_size", "max_side"), [(64, 32), (48, 24), (32, 20), (128, 64)])
def test_sizes_with_room_are_taken(image_size: int, max_side: int) -> None:
    assert len(ShapesDataset("test", image_size=image_size, max_side=max_side)[0, 0].boxes)


def test_an_index_beyond_the_samples_is_an_error() -> None:
    with pytest.raises(IndexError, match="index 512"):
        ShapesDataset("test")[0, 512]
