"""Image files: every mode of Pillow and every EXIF orientation has the right pixels, or is refused by name."""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.Image import Transpose

from lab.data.folders import leads_out, list_files, stored_name
from lab.data.images.dataset import Reading
from lab.data.images.files import find_images
from lab.data.images.opening import MAX_PIXELS, ImageFileError, read_image, read_image_header, to_rgb
from lab.data.images.resizing import resized_size, sample_generator
from lab.errors import DataError
from lab.tasks.detection.data.coco import CocoDataset
from lab.tasks.detection.data.files import ImageFolder
from lab.tasks.detection.data.transforms import DetectionTransform
from lab.tasks.segmentation.data.coco_instances import InstancesDataset
from lab.tasks.segmentation.data.folder import FolderSegmentation
from lab.tasks.segmentation.data.label_maps import label_header, read_ids
from lab.tasks.segmentation.data.transforms import SegmentationTransform
from lab.training.parts import RecordWriter, parts_in
from lab.training.predictor import ImagePredictor
from tests.data_factory import make_coco, make_image, make_label_map, make_segfolder

ROOT = Path(__file__).resolve().parents[4]
BACK = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}
"""What a camera of each orientation does to the upright picture before it is stored."""
ORIENTATION = 274


def save_turned(image: Image.Image, path: Path, turn: Any, **options: Any) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    (image.transpose(BACK[turn]) if turn in BACK else image).save(path, exif=exif, **options)


def difference(found: Image.Image, wanted: Image.Image) -> int:
    assert found.mode == "RGB"
    assert found.size == wanted.size
    return int(np.abs(np.asarray(found, dtype=int) - np.asarray(wanted.convert("RGB"), dtype=int)).max())


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
def test_every_orientation_is_read_upright(tmp_path: Path, suffix: str) -> None:
    y, x = np.mgrid[:40, :60]
    image = Image.fromarray(np.stack([x * 4, y * 6, x + y], axis=-1).astype(np.uint8))
    options = {"jpg": {"quality": 98, "subsampling": 0}, "webp": {"lossless": True}, "avif": {"quality": 100}}
    for turn in (*range(10), 65535):
        path = tmp_path / f"{turn}.{suffix}"
        try:
            save_turned(image, path, turn, **options.get(suffix, {}))
        except (KeyError, OSError):
            pytest.skip(f"this Pillow does not write {suffix}")
        assert difference(read_image(path), image) <= 6, turn
        header = read_image_header(path)
        assert header.size == (40, 60)
        assert header.stored == ((60, 40) if turn in (5, 6, 7, 8) else (40, 60))
        as_stored = read_image(path, header.stored)
        if turn in (5, 6, 7, 8):
            assert difference(as_stored, image.transpose(BACK[turn])) <= 6, turn


def test_exif_after_the_pixels_of_a_png_and_exif_that_is_none(tmp_path: Path) -> None:
    image = make_image(20, 30)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image.transpose(BACK[6]).save(tmp_path / "late.png")
    plain = (tmp_path / "late.png").read_bytes()
    body = b"eXIf" + exif.tobytes(8)[6:]
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "late.png").write_bytes(plain[:-12] + chunk + plain[-12:])
    assert read_image_header(tmp_path / "late.png").size == (20, 30)
    assert difference(read_image(tmp_path / "late.png"), image) == 0
    image.save(tmp_path / "odd.jpg", exif=b"Exif\0\0MM\0*\0\0\xff\xff nonsense")
    assert read_image(tmp_path / "odd.jpg").size == (30, 20)


@pytest.mark.parametrize(
    ("suffix", "at_least", "size"),
    [
        (".jpg", (20, 40), (40, 23)),
        (".jpg", (23, 41), (80, 45)),
        (".jpg", (91, 40), (160, 90)),
        (".jpg", (1, 1), (20, 12)),
        (".png", (1, 1), (160, 90)),
    ],
)
def test_a_jpeg_is_decoded_at_the_smallest_size_that_suffices(
    suffix: str, at_least: tuple[int, int], size: tuple[int, int], tmp_path: Path
) -> None:
    """At an eighth, a quarter or a half of 160 x 90; its pixels are those of the whole picture made smaller."""
    slope = Image.linear_gradient("L")
    sides = [slope.resize((160, 90)), slope.transpose(Transpose.ROTATE_90).resize((160, 90))]
    Image.merge("RGB", [*sides, sides[0]]).save(tmp_path / f"a{suffix}")
    whole, found = read_image(tmp_path / f"a{suffix}"), read_image(tmp_path / f"a{suffix}", at_least=at_least)
    assert found.size == size
    small = whole.resize(size, Image.Resampling.BOX)
    # Measured: 4.8 levels at an eighth, where the last row reaches over the border; 1.0 at a quarter.
    assert np.abs(np.asarray(small, float) - np.asarray(found, float)).mean() < 6


def test_a_turned_jpeg_is_decoded_whole(tmp_path: Path) -> None:
    save_turned(Image.new("RGB", (160, 90)), tmp_path / "a.jpg", 6)
    assert read_image(tmp_path / "a.jpg", at_least=(10, 10)).size == (160, 90)


def coloured(mode: str) -> Image.Image:
    """Return a picture of a mode, 4 x 3, opaque and as near to (200, 100, 50) as the mode can be."""
    picture = Image.new("RGB", (4, 3), (200, 100, 50))
    if mode in ("RGBa", "La"):
        return picture.convert(mode[:-1] + "A").convert(mode)
    if mode == "PA":
        return picture.convert("P", palette=Image.Palette.ADAPTIVE).convert("PA")
    return picture.convert(mode, palette=Image.Palette.ADAPTIVE)


@pytest.mark.parametrize("mode", ["P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_colour_modes(mode: str) -> None:
    assert np.abs(np.asarray(to_rgb(coloured(mode)), dtype=int) - (200, 100, 50)).max() <= 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N"])
def test_grey_modes(mode: str) -> None:
    for level in (0, 100, 200, 255):
        if mode.startswith("I"):
            kind = {"B": ">u2", "N": "=u2"}.get(mode[-1], "<u2")
            image = Image.frombytes(mode, (4, 3), np.full((3, 4), level * 257 - (level > 0), kind).tobytes())
        else:
            image = Image.new("L", (4, 3), level).convert("LA" if mode == "La" else mode, dither=Image.Dither.NONE)
            image = image.convert("La") if mode == "La" else image
        expected = 255 * (level > 127) if mode == "1" else level
        assert np.unique(np.asarray(to_rgb(image))).tolist() == [expected]


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_modes_without_one_right_reading_are_refused_by_name(mode: str, tmp_path: Path) -> None:
    Image.new(mode, (4, 3)).save(tmp_path / "a.tif")
    assert f"of mode {mode}, " in read_image_header(tmp_path / "a.tif").problem
    with pytest.raises(ImageFileError, match=f"of mode {mode}, .*save it with 8 or 16 bits"):
        read_image(tmp_path / "a.tif")


def test_all_modes_of_this_pillow_have_a_test() -> None:
    colour = {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"}
    assert set(Image.MODES) <= colour | {"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"}


def test_files_of_16_bits(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint16)[None].repeat(4, axis=0)
    Image.fromarray(ramp * 257).save(tmp_path / "a.png")
    Image.fromarray(ramp * 257).save(tmp_path / "a.tif")
    (tmp_path / "a.pgm").write_bytes(b"P5 256 4 65535\n" + (ramp * 257).astype(">u2").tobytes())
    (tmp_path / "b.pgm").write_bytes(b"P5 256 4 1023\n" + (ramp * 4).astype(">u2").tobytes())
    for name in ("a.png", "a.tif", "a.pgm", "b.pgm"):
        found = np.asarray(read_image(tmp_path / name), dtype=int)
        assert np.abs(found - ramp[..., None]).max() <= (1 if name[0] == "b" else 0), name
    tags = {258: 16, 262: 0}
    Image.fromarray(65535 - ramp * 257).save(tmp_path / "white.tif", tiffinfo=tags)
    with Image.open(tmp_path / "white.tif") as image:
        if image.tag_v2[262] == 0:
            assert np.abs(np.asarray(read_image(tmp_path / "white.tif"), dtype=int) - ramp[..., None]).max() == 0


def test_transparency_is_dropped_and_the_stored_colours_count(tmp_path: Path) -> None:
    palette = Image.new("P", (4, 3), 1)
    palette.putpalette([9, 9, 9, 200, 100, 50])
    palette.save(tmp_path / "a.png", transparency=1)
    palette.save(tmp_path / "b.png", transparency=bytes([255, 7]))
    palette.save(tmp_path / "c.gif", transparency=1)
    Image.new("RGBA", (4, 3), (200, 100, 50, 0)).save(tmp_path / "d.png")
    Image.new("RGB", (4, 3), (200, 100, 50)).save(tmp_path / "e.png", transparency=(200, 100, 50))
    for name in ("a.png", "b.png", "c.gif", "d.png", "e.png"):
        image = read_image(tmp_path / name)
        assert image.getpixel((0, 0)) == (200, 100, 50), name
        image.save(tmp_path / "drawn.png")
        assert "transparency" not in Image.open(tmp_path / "drawn.png").info


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (200, 100, 50)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(np.asarray(read_image(tmp_path / "a.jpg"), dtype=int) - (200, 100, 50)).max() <= 4


def test_what_is_no_image_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing starts a program: an EPS stays closed, whatever it is called and whatever stands in PATH."""
    (tmp_path / "bin").mkdir()
    started = tmp_path / "started"
    for name in ("gs", "gswin32c", "gswin64c"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\ntouch {started}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n%%EndComments\nshowpage\n%%EOF\n"
    files = {
        "eps.png": (eps, "PostScript"),
        "empty.png": (b"", "empty"),
        "lfs.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        "phone.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        "page.jpg": (b"<!doctype html>", "not an image of a format that is read"),
    }
    for name, (content, said) in files.items():
        (tmp_path / name).write_bytes(content)
        assert said in read_image_header(tmp_path / name).problem
        with pytest.raises(ImageFileError, match=said):
            read_image(tmp_path / name)
    for kind in ("PCX", "TGA", "SGI", "ICO"):
        Image.new("RGB", (16, 16)).save(tmp_path / "other.png", format=kind)
        assert "not an image of a format that is read" in read_image_header(tmp_path / "other.png").problem
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "dead.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    for name, said in (
        ("pipe.png", "no regular file"),
        ("folder.png", "a folder"),
        ("dead.png", "a link to a file that is missing"),
        ("loop.png", "cannot be opened"),
        ("none.png", "missing"),
        ("zero\0.png", "cannot be opened"),
    ):
        assert said in read_image_header(tmp_path / name).problem
    assert not started.exists()


def huge_png(path: Path, width: int, height: int) -> None:
    """Write a PNG whose header states this size, and hardly any pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + pixels + chunk(b"IEND", b""))


@pytest.mark.parametrize("limit", [None, 10, 10**12])
def test_the_limit_of_pixels_is_said_whatever_pillows_own_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    huge_png(tmp_path / "a.png", 14000, 13000)
    said = f"182,000,000 pixels, more than the {MAX_PIXELS:,} that are read"
    assert read_image_header(tmp_path / "a.png").problem.startswith(said)
    with pytest.raises(ImageFileError, match=said):
        read_image(tmp_path / "a.png")


def test_strips_are_bounded_before_memory_is_taken() -> None:
    for height, width in ((60000, 1), (1, 60000), (2, 178_000_000 // 2)):
        size = resized_size(height, width, 800, 1333)
        assert min(size) == 1
        assert max(size) == 1333
        for short in (400, 600):
            size = resized_size(height, width, short)
            assert min(size) >= 1
            assert size[0] * size[1] <= max(2**25, height * width)
    assert resized_size(480, 640, 800, 1333) == (800, 1066)  # as DETR has it
    assert resized_size(6000, 8000, 4000) == (4000, 5333)
    strip, box, label = torch.zeros(3, 60000, 1, dtype=torch.uint8), torch.tensor([[0.0, 0, 1, 50]]), torch.tensor([0])
    done = DetectionTransform(train=True, crop_probability=1.0)(strip, box, label, sample_generator(0, 0, 0))
    assert max(done.image.shape[1:]) <= 1340
    transform = SegmentationTransform(True, scales=(512,), max_size=2048, crop=512, detr_crop_scales=(400,))
    segments = torch.zeros(60000, 1, dtype=torch.int16)
    assert max(transform(strip, segments, label, sample_generator(0, 0, 1)).image.shape) <= 512


def test_only_one_place_opens_images() -> None:
    """Pillow's other openers, torchvision's and OpenCV's count too.

    Plain JPEGs are decoded by torchvision, in the same module. Peers of benchmarks read as they would.
    Textures within files of meshes are an exception: geometry stands below the data, so it checks their size itself.
    The pages of lab report are another: they read what runs have drawn, and stand beside the data.
    README's film reads what its own browser shows.
    """
    opens = re.compile(
        r"\b(Image|pil|PIL)\.open\(|from PIL\.Image import .*\bopen\b|imread|decode_image|imageio|torchvision\.io"
    )
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("lab", "scripts")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if opens.search(line)
    ]
    assert found == [
        "lab/data/images/opening.py: from torchvision.io import ImageReadMode, decode_jpeg",
        "lab/data/images/opening.py: with Image.open(_file(source), formats=_known_formats()) as image:",
        'lab/geometry/files/pictures.py: picture = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))',
        "lab/report/html/details.py: with Image.open(file, formats=_FORMATS) as picture:",
        "scripts/benchmarks/images.py: with Image.open(path) as opened:",
        'scripts/demo/pictures.py: return Image.open(io.BytesIO(opened.get_screenshot_as_png())).convert("RGB")',
    ]


def test_names_that_lead_out(tmp_path: Path) -> None:
    for name in ("../a.png", "/a.png", "b/../../a.png", "..\\a.png", "C:\\a.png", "..", "b/../.."):
        assert leads_out(name), name
    for name in ("a.png", "b/a.png", "b/../a.png", "./a.png", "..a.png", "a..png", "b/..a/c.png"):
        assert not leads_out(name), name
    make_image(9, 9).save(tmp_path / "secret.png")
    root = make_coco(tmp_path / "d")
    make_image(48, 64).save(root / "train2017" / "é b.png")
    (root / "train2017" / "sub").mkdir()
    make_image(48, 64).save(root / "train2017" / "sub" / "a.png")
    path = root / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    names = ["../../secret.png", str(tmp_path / "secret.png"), "e\u0301 b.png", "sub\\a.png", "a\0.png"]
    content["images"] += [
        {"id": 100 + number, "file_name": name, "height": 48, "width": 64} for number, name in enumerate(names)
    ]
    path.write_text(json.dumps(content))
    for kind in (CocoDataset, InstancesDataset):
        dataset = kind(root, reading=Reading(train=False))
        assert dataset.image_ids == [10, 20, 30, 102, 103]
    with pytest.raises(DataError, match="its name leads out of the folder"):
        CocoDataset(root, reading=Reading(on_bad_sample="error"))
    assert stored_name(root / "train2017", "sub\\a.png") == "sub/a.png"


def test_orientation_and_the_stated_size(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Boxes of the upright picture find it upright; boxes of the stored pixels, told by the stated size, find those."""
    for stated in ("upright", "stored", "none"):
        root = make_coco(tmp_path / stated, sizes=((48, 64),))
        image = Image.open(root / "train2017" / "000001.jpg")
        save_turned(image.copy(), root / "train2017" / "000001.jpg", 6, quality=95)
        path = root / "annotations" / "instances_train2017.json"
        content = json.loads(path.read_text())
        content["annotations"] = content["annotations"][:1]
        if stated == "stored":
            content["images"][0] |= {"height": 64, "width": 48}
        elif stated == "none":
            del content["images"][0]["height"], content["images"][0]["width"]
        path.write_text(json.dumps(content))
        caplog.clear()
        for kind in (CocoDataset, InstancesDataset):
            sample = kind(root, reading=Reading(train=False))[0, 0]
            expected = image.transpose(Transpose.ROTATE_90) if stated == "stored" else image
            assert sample.original_size == (expected.height, expected.width)
            assert (sample.image.float() - torch.tensor(np.asarray(expected)).permute(2, 0, 1)).abs().mean() < 6
        said = "annotated before their EXIF orientation was applied, taken unturned"
        assert (said in caplog.text) == (stated == "stored")
        assert "another size" not in caplog.text


def test_prediction_sees_the_image_upright(tmp_path: Path) -> None:
    image = make_image(20, 30)
    save_turned(image, tmp_path / "a.png", 8)
    sample = ImageFolder([tmp_path / "a.png"], DetectionTransform(train=False, scales=(20,)))[0, 0]
    assert sample.original_size == (20, 30)
    assert sample.image.permute(1, 2, 0).tolist() == np.asarray(image).tolist()


def test_label_maps_are_turned_by_their_own_orientation_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_segfolder(tmp_path, sizes=((24, 30),))
    options: dict[str, Any] = {"images": "images/train", "labels": "labels/train", "class_names": ("a", "b", "c")}
    plain = FolderSegmentation(root, **options, reading=Reading(train=False))[0, 0]
    image = Image.open(root / "images" / "train" / "a.jpg")
    save_turned(image.copy(), root / "images" / "train" / "a.jpg", 6, quality=95)
    turned = FolderSegmentation(root, **options, reading=Reading(train=False))[0, 0]
    assert turned.segments.tolist() == plain.segments.tolist()
    assert turned.image.shape == plain.image.shape
    label = Image.open(root / "labels" / "train" / "a.png")
    save_turned(label.copy(), root / "labels" / "train" / "a.png", 8)
    assert (
        FolderSegmentation(root, **options, reading=Reading(train=False))[0, 0].segments.tolist()
        == plain.segments.tolist()
    )
    ids = make_label_map(24, 30, (0, 1, 2, 255))
    for turn in range(1, 9):
        for suffix in ("png", "tif"):
            save_turned(Image.fromarray((ids * 200).astype(np.uint16)), tmp_path / f"l.{suffix}", turn)
            assert label_header(tmp_path, f"l.{suffix}", packed=False) == ((24, 30), "")
            assert read_ids(tmp_path / f"l.{suffix}").tolist() == (ids * 200).tolist()


def grey_png(path: Path, ids: np.ndarray, bits: int) -> None:
    """Write a grey PNG of 1, 2 or 4 bits, which Pillow reads stretched to 255."""
    rows = b""
    for row in ids:
        text = "".join(f"{value:0{bits}b}" for value in row)
        rows += b"\0" + bytes(int(text[place : place + 8].ljust(8, "0"), 2) for place in range(0, len(text), 8))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_label_maps_of_few_bits_keep_their_ids(tmp_path: Path, bits: int) -> None:
    ids = make_label_map(8, 17, range(2**bits))
    grey_png(tmp_path / "a.png", ids, bits)
    assert label_header(tmp_path, "a.png", packed=False) == ((8, 17), "")
    assert read_ids(tmp_path / "a.png").tolist() == ids.tolist()


def test_label_maps_that_would_lose_ids_are_refused(tmp_path: Path) -> None:
    Image.new("F", (4, 3)).save(tmp_path / "f.tif")
    Image.new("LA", (4, 3)).save(tmp_path / "la.png")
    Image.new("L", (4, 3)).save(tmp_path / "l.jp2")
    Image.new("L", (4, 3)).save(tmp_path / "w.webp", lossless=True)
    (tmp_path / "p.pgm").write_bytes(b"P5 4 3 3\n" + bytes(12))
    (tmp_path / "e.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    wrong = {"f.tif": "mode F", "la.png": "mode LA", "l.jp2": "JPEG2000", "w.webp": "WEBP", "p.pgm": "stretches"}
    for name, said in {**wrong, "e.png": "PostScript", "../x.png": "leads out", "none.png": "is missing"}.items():
        assert said in label_header(tmp_path, name, packed=False)[1]
    rows = b"".join(b"\0" + bytes(24) for _ in range(3))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 3, 16, 2, 0, 0, 0))
    content = head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    assert "16 bits a channel" in label_header(tmp_path, "deep.png", packed=True)[1]


def test_hidden_names_loops_and_dead_links(tmp_path: Path) -> None:
    data = tmp_path / "real"
    for name in (
        "a.jpg",
        "sub/b.PNG",
        ".ipynb_checkpoints/a-checkpoint.jpg",
        "._a.jpg",
        "sub/.c.jpg",
        "__MACOSX/d.jpg",
    ):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        make_image(8, 8).save(data / name, format="PNG")
    (data / ".DS_Store").write_bytes(b"x")
    (data / "Thumbs.db").write_bytes(b"x")
    (data / "sub" / "up").symlink_to(data)
    (data / "self").symlink_to(data / "self")
    (data / "dead.jpg").symlink_to(data / "nowhere.jpg")
    (data / "linked.jpg").symlink_to(data / "a.jpg")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "one").symlink_to(data)
    (folder / "two").symlink_to(data)
    expected = ["a.jpg", "dead.jpg", "linked.jpg", "sub/b.PNG"]
    assert [name for name, _ in list_files(data)] == expected
    assert [name for name, size in list_files(data) if size < 0] == ["dead.jpg"]
    assert [name for name, _ in list_files(folder)] == [
        f"{part}/{name}" for part in ("one", "two") for name in expected
    ]
    assert [path.relative_to(data).as_posix() for path in find_images(data)] == expected
    asked = tmp_path / ".photos"
    asked.mkdir()
    make_image(8, 8).save(asked / "a.png")
    assert len(find_images(asked)) == 1  # a hidden folder that was asked for


def test_the_predictor_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_image(8, 8).save(tmp_path / "good.png")
    huge_png(tmp_path / "huge.png", 14000, 13000)

    class Silent(ImagePredictor):
        def write_image(self, number: int, found: Any, part: Path) -> dict[str, Any]:
            return {}

        def write_results(self, records: Any, out: Path, folder: Path, left_out: str) -> list[str]:
            return [f"{len(list(records))} {left_out}"]

    def predict(source: Path, *numbers: int) -> None:
        nothing: Any = None
        predictor = Silent(str(source), nothing, nothing)
        with parts_in(tmp_path / "out", 0) as parts:
            with closing(RecordWriter(parts)) as records:
                for number in numbers:
                    predictor.write(number, None, parts, records)
            predictor.put_together(parts.collect(), parts)

    predict(tmp_path, 0, -2)
    said = capsys.readouterr()
    assert said.out == "1 , 1 files left out\n"
    assert "huge.png cannot be read as an image and is left out: 182,000,000 pixels" in said.err
    with pytest.raises(DataError, match=r"cannot be read as an image \(182,000,000 pixels, more than the 178,956,970"):
        predict(tmp_path / "huge.png", -1)
