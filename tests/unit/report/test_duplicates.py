"""Copies and near copies, where which ones there are is known by construction."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lab.report.duplicates import NEAR_BITS, ContentIndex, NearIndex, perceptual_hash, thumbnail
from lab.report.sanity import SanityReport, SplitLook
from tests.data_factory import make_image

SPLITS = ("train", "val", "test")


def report_of(*splits: str) -> SanityReport:
    return SanityReport("x", "y", [SplitLook(split, "image", 9) for split in splits])


def name_of(split: str, index: int) -> str:
    return f"{split}-{index}"


def test_copies_within_and_across_splits() -> None:
    index = ContentIndex(SPLITS)
    for split, number, content, label in (
        ("train", 0, b"a", "cat"),
        ("train", 1, b"b", "dog"),
        ("train", 2, b"a", "cat"),
        ("train", 3, b"a", "dog"),
        ("val", 0, b"c", "cat"),
        ("val", 1, b"b", "cat"),
        ("test", 0, b"d", "cat"),
    ):
        index.add(split, number, content, label)
    report = report_of(*SPLITS)
    index.report(report, name_of, labelled=True)
    train = report.looks[0].findings
    assert train["exact duplicates"].count == 2
    assert train["exact duplicates"].examples == ["train-2 = train-0", "train-3 = train-0"]
    assert train["duplicates with another label"].examples == ["train-3 = train-0"]
    assert report.looks[1].findings["exact duplicates"].count == 0
    assert {name: finding.count for name, finding in report.between.items()} == {
        "val also in train": 1,
        "test also in train": 0,
        "test also in val": 0,
    }
    assert report.between["val also in train"].examples == ["val-1 = train-1"]


def test_splits_without_samples_are_not_reported() -> None:
    index = ContentIndex(SPLITS)
    index.add("train", 0, b"a")
    report = report_of("train", "val")
    index.report(report, name_of, labelled=False)
    assert set(report.looks[0].findings) == {"exact duplicates"}
    assert report.looks[1].findings == {}
    assert report.between == {}


def test_a_brute_force_search_finds_the_same_pairs() -> None:
    rng = np.random.default_rng(0)
    images = [make_image(40, 60, tone) for tone in range(20)]
    for tone in range(0, 20, 2):  # the same again, brighter by a level or two
        noise = rng.integers(0, 3, (40, 60, 3))
        images.append(Image.fromarray((np.asarray(images[tone]) + noise).clip(0, 255).astype(np.uint8)))
    index = NearIndex(SPLITS)
    for number, image in enumerate(images):
        index.add("train", number, image, content=number)
    small = [thumbnail(image).astype(int) for image in images]
    bits = [np.unpackbits(np.array(perceptual_hash(one.astype(np.uint8)), ">u8").view(np.uint8)) for one in small]
    expected = [
        ((0, one), (0, two))
        for one in range(len(images))
        for two in range(one + 1, len(images))
        if (bits[one] != bits[two]).sum() <= NEAR_BITS and np.abs(small[one] - small[two]).mean() <= 6
    ]
    assert index.pairs() == expected
    assert {(2 * number, 20 + number) for number in range(10)} <= {(one[1], two[1]) for one, two in expected}


def test_a_photo_stored_again_is_nearly_equal() -> None:
    image = make_image(96, 128, 3)
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=60)
    index = NearIndex(SPLITS)
    index.add("train", 0, image, 1)
    index.add("val", 4, Image.open(stored), 2)
    index.add("val", 5, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 3)
    report = report_of("train", "val")
    assert index.report(report, name_of) == [((0, 0), (1, 4))]
    assert report.between["val nearly in train"].count == 1
    assert report.looks[0].findings["pairs of near duplicates"].count == 0


@pytest.mark.parametrize("level", [0, 128])
def test_images_of_one_colour_and_copies_are_no_near_duplicates(level: int) -> None:
    index = NearIndex(SPLITS)
    flat = Image.new("RGB", (20, 20), (level, level, level))
    for number in range(3):
        index.add("train", number, flat, number)
    for number in range(3, 6):
        index.add("train", number, make_image(20, 20), content=7)
    assert index.pairs() == []
