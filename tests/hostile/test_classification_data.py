"""Bad input for classifiers, through the command line: each gets one line and an exit code, or is counted by name."""

from __future__ import annotations

import io
import os
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.cli.main import main
from tests.data_factory import make_image, truncate
from tests.unit.tasks.classification.makers import make_folder, make_idx, make_mnist, make_zip

COMMON = ("check=true", "model=resnet20", "data.batch_size=2", "data.num_workers=0", "trainer.max_steps=2")
FOLDER = ("data=imagefolder", "data.image_size=16")


@dataclass(frozen=True)
class Case:
    """A spoilt dataset.

    Attributes:
        spoil: makes it, in a folder that has ``train/{cat,dog}`` and ``val/{cat,dog}``.
        words: that choose it.
        says: part of the line that is printed.
        code: the exit code.
    """

    spoil: Callable[[Path], object]
    words: tuple[str, ...]
    says: str
    code: int = 2


def _modes(root: Path) -> None:
    """Grey, alpha, 16 bits, CMYK, a palette, two pictures in one file: all of them can be read."""
    place = root / "train" / "dog"
    rgb = Image.effect_noise((20, 24), 80).convert("RGB")
    for mode, name in (("L", "l.png"), ("RGBA", "a.png"), ("CMYK", "k.jpg"), ("P", "p.png"), ("1", "b.png")):
        rgb.convert(mode).save(place / name)
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 100).save(place / "i16.png")
    rgb.save(place / "moving.gif", save_all=True, append_images=[rgb.rotate(90)])


def _float(root: Path) -> None:
    Image.fromarray(np.zeros((9, 9), dtype=np.float32)).save(root / "train" / "cat" / "f.tif")


def _bomb(root: Path) -> None:
    """A PNG of a few bytes whose header says 100,000 x 100,000 pixels."""
    file = io.BytesIO()
    make_image(9, 9).save(file, "PNG")
    content = bytearray(file.getvalue())
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (root / "train" / "cat" / "bomb.png").write_bytes(bytes(content))


def _zips_in_zip(root: Path) -> None:
    make_zip(root / "inner.zip", root / "train")
    with zipfile.ZipFile(root / "outer.zip", "w") as archive:
        archive.write(root / "inner.zip", "inner.zip")


def _cut_zip(root: Path) -> None:
    path = make_zip(root / "train.zip", root / "train")
    os.truncate(path, path.stat().st_size - 40)


def _climbing_zip(root: Path) -> None:
    path = make_zip(root / "train.zip", root / "train")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../cat/evil.png", b"x")


def _arrays(labels: object) -> Callable[[Path], None]:
    def save(root: Path) -> None:
        np.save(root / "x.npy", np.zeros((12, 8, 8), np.uint8))
        np.save(root / "y.npy", np.array(labels), allow_pickle=True)

    return save


def _cut(root: Path) -> None:
    for row in range(2):
        truncate(root / "val" / "cat" / f"{row}.png")


def _stray(root: Path) -> None:
    make_image(9, 9).save(root / "train" / "s.png")


def _odd_size(root: Path) -> None:
    make_image(9, 9).save(root / "train" / "cat" / "z.png")


def _all_empty(root: Path) -> None:
    for path in (root / "train").rglob("*.png"):
        path.write_bytes(b"")


def _nothing(root: Path) -> None:
    """Leave the data as it is."""


def _folders(**counts: int) -> Callable[[Path], object]:
    """Write more images; two underscores stand for a slash."""
    return lambda root: make_folder(root, {name.replace("__", "/"): count for name, count in counts.items()})


AT = "data.train.images="
ARRAYS = (
    "data=arrays",
    *(f"data.{split}.{key}" for split in ("train", "test") for key in ("images=x.npy", "labels=y.npy")),
)
SMALL = ("data=small_images", "data.test.images=val")
TRAIN_ZIP = (*FOLDER, f"{AT}train.zip")
CASES = {
    "no such folder": Case(_nothing, (*FOLDER, f"{AT}nope"), "data=imagefolder: .*nope does not exist"),
    "no folder of a class": Case(
        _folders(flat=3), (*FOLDER, f"{AT}flat"), "there is no folder in it, and each class has a folder of its own"
    ),
    "empty folders": Case(
        _folders(none__a=0, none__b=0), (*FOLDER, f"{AT}none"), "there is no image in the folders of its 2 classes"
    ),
    "one class": Case(_folders(one__cat=3), (*FOLDER, f"{AT}one"), "there is one folder, 'cat' in it"),
    "another class in val": Case(
        _folders(val__bird=1), FOLDER, "val: bird: no such class in the training set, which has cat, dog"
    ),
    "empty file": Case(
        lambda root: (root / "train" / "cat" / "e.jpg").touch(), FOLDER, r"images, 8 of 9 are .*cat/e\.jpg \(empty\)", 0
    ),
    "text called .jpg": Case(
        lambda root: (root / "train" / "cat" / "t.jpg").write_text("hello"),
        FOLDER,
        r"cat/t\.jpg \(not an image of a",
        0,
    ),
    "cut images": Case(_cut, (*FOLDER, "check=false"), r"cannot be decoded \(damaged: .*evaluated as a black image", 0),
    "cut images, on_bad_sample=error": Case(
        _cut,
        (*FOLDER, "check=false", "data.on_bad_sample=error"),
        r"\.png cannot be decoded \(damaged: .*; replace the file, or set data\.on_bad_sample=skip",
    ),
    "only empty files": Case(_all_empty, FOLDER, "none of its 8 images can be read"),
    "10^10 pixels in a header": Case(_bomb, FOLDER, r"bomb\.png \(10,000,000,000 pixels, more than the 178,956,970", 0),
    "float pixels": Case(_float, FOLDER, r"cat/f\.tif \(of mode F, floating-point numbers: save it with 8 or 16", 0),
    "grey, alpha, 16 bits, CMYK, palette, animated": Case(_modes, FOLDER, "training 2 steps, 7 an epoch", 0),
    "image in no class's folder": Case(_stray, FOLDER, r"s\.png \(in no class's folder\)", 0),
    "fewer images than a batch": Case(
        _nothing, (*FOLDER, "data.batch_size=64"), "the training set has 8 samples, fewer than data.batch_size=64"
    ),
    "cut zip": Case(_cut_zip, TRAIN_ZIP, r"train\.zip: it cannot be read as a zip, or it is cut"),
    "zip of zips": Case(
        _zips_in_zip, (*FOLDER, f"{AT}outer.zip"), r"archives in it are not opened \(inner\.zip\): unpack them"
    ),
    "zip with a name that climbs": Case(
        _climbing_zip, TRAIN_ZIP, r"names that lead out of it or are none, left out: 1 \(\.\./\.\./cat/evil\.png", 0
    ),
    "no such folder in a zip": Case(
        lambda root: make_zip(root / "all.zip", root, only=("train", "val")),
        (*FOLDER, f"{AT}all.zip/tain"),
        r"all\.zip: there is no folder 'tain' in it, it has train, val; did you mean 'train'",
    ),
    "sizes that differ in one array": Case(
        _odd_size, (*SMALL, "data.image_size=null"), r"differ in size, .*cat/z\.png 9x9\); set data\.image_size=N"
    ),
    "label outside of the range": Case(
        _arrays([0, 1, 5] * 4), (*ARRAYS, "data.class_names=[a,b]"), "4 labels are of no class, the first of image 2: 5"
    ),
    "labels that are a pickle": Case(_arrays([{}] * 12), ARRAYS, "it holds objects, which are a pickle and never"),
    "fewer labels than images": Case(_arrays([0, 1] * 5), ARRAYS, r"x\.npy has 12 images, .*y\.npy 10 labels"),
    "num_labels below the classes": Case(
        _nothing, (*FOLDER, "data.num_labels=1"), "data.num_labels=1: give one for each of the 2 classes at least"
    ),
    "cut IDX file": Case(
        lambda root: os.truncate(make_mnist(root) / "train-images-idx3-ubyte", 900),
        ("data=idx",),
        "1440 values, and it holds 884",
    ),
    "IDX label of no class": Case(
        lambda root: make_idx(make_mnist(root) / "t10k-labels-idx1-ubyte", np.full(10, 7)),
        ("data=idx",),
        "10 labels are of no class, the first of image 0: 7, and classes go from 0 to 3",
    ),
    "no such dataset": Case(
        _nothing, ("data=hub", "data.path=./nowhere"), "data.path=./nowhere: there is no such folder"
    ),
}


def run(case: Case, root: Path, capture: Callable[[], str]) -> tuple[int, str]:
    """Return the exit code, and the lines that were printed, without line breaks of the terminal's width."""
    make_folder(root, {"train/cat": 4, "train/dog": 4, "val/cat": 2, "val/dog": 2}, (20, 24))
    case.spoil(root)
    place = () if "data=hub" in case.words else (f"data.root={root}",)
    code = main([*COMMON, *place, f"paths.runs_dir={root}/runs", *case.words])
    return code, " ".join(capture().split())


@pytest.mark.parametrize("name", CASES)
def test_bad_input(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    case = CASES[name]
    code, text = run(case, tmp_path, lambda: "".join(capfd.readouterr()) + caplog.text)
    assert re.search(case.says, text), text
    assert code == case.code
    assert "Traceback" not in text


def test_another_folder_is_read_where_root_is_missing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_mnist(tmp_path / "packaged")
    words = [*COMMON, "data=fashion_mnist", f"data.root={tmp_path}/own", f"paths.runs_dir={tmp_path}/runs"]
    assert main([*words, f"data.fallback_root={tmp_path}/packaged"]) == 0
    assert "check passed" in capfd.readouterr().out
    assert main([*words, f"data.fallback_root={tmp_path}/nowhere"]) == 2
    assert "/own does not exist" in " ".join("".join(capfd.readouterr()).split())
