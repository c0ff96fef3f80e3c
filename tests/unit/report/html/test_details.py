"""What only the page of a single run has: pairs of pictures, tables, a diff, origins; what is damaged is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.report.html import details
from lab.report.html.details import detail_of
from lab.report.html.page import Detail
from lab.report.runs import Run
from tests.reports import write_run


def detail(run: Path) -> Detail:
    return detail_of(Run(run))


def pair(width: int = 64, gap: int = 4) -> Image.Image:
    """Two pictures side by side as ``tasks.detection.pictures.side_by_side`` joins them."""
    pixels = np.full((80, 2 * width + gap, 3), 255, np.uint8)
    pixels[16:, :width] = 90
    pixels[16:, width + gap :] = 120
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("width", "gap"), [(64, 4), (65, 4), (300, 5), (640, 10)])
def test_a_pair_of_truth_and_prediction_is_found(width: int, gap: int, tmp_path: Path) -> None:
    write_run(tmp_path, points=2)
    (tmp_path / "pictures").mkdir()
    pair(width, gap).save(tmp_path / "pictures" / "test-000.png")
    pair(width, gap).save(tmp_path / "pictures" / "test.png")  # a sheet
    Image.new("RGB", (64, 64), (9, 9, 9)).save(tmp_path / "pictures" / "test-001.png")
    Image.new("RGB", (64, 64), "white").save(tmp_path / "pictures" / "test-002.png")
    found = {picture.name: picture.parts for picture in detail(tmp_path).pictures}
    assert found == {"test-000": width, "test-001": 0, "test-002": 0, "test": 0}


def test_what_detection_draws_is_a_pair(tmp_path: Path) -> None:
    import torch

    from lab.tasks.detection.pictures import side_by_side

    image = torch.randint(0, 200, (3, 64, 96), dtype=torch.uint8)
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
    write_run(tmp_path, points=2)
    (tmp_path / "pictures").mkdir()
    side_by_side(image, nothing, (*nothing, torch.zeros(0)), ["a"]).save(tmp_path / "pictures" / "test-000.png")
    (picture,) = detail(tmp_path).pictures
    assert picture.parts == (picture.width - max(4, picture.parts // 64)) // 2 > 0


def test_pictures_that_do_not_fit_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(details, "MOST_BYTES", 2_000)
    write_run(tmp_path, points=2)
    (tmp_path / "pictures").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    for number in range(4):
        Image.fromarray(noise).save(tmp_path / "pictures" / f"test-{number:03d}.png")
    (tmp_path / "pictures" / "test-009.png").write_bytes(b"no picture")
    found = detail(tmp_path)
    assert len(found.pictures) == 1
    assert [note.split(":")[0] for note in found.notes] == [
        "test-009.png cannot be read (cannot identify image file '" + str(tmp_path / "pictures/test-009.png") + "')",
        "3 pictures are left out",
    ]


def test_tables_and_confusion(tmp_path: Path) -> None:
    write_run(tmp_path, points=2)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "confusion.csv").write_text("true / predicted,a,b\na,3,1\nb,0,2\n")
    (tmp_path / "tables" / "classes.csv").write_text("class,images,f1\n01,4,0.85\nb,2,\n")
    (tmp_path / "tables" / "broken.csv").write_bytes(b"\xff\xfe\x00")
    found = detail(tmp_path)
    sheets = {sheet.name: sheet for sheet in found.sheets}
    assert sheets["confusion"].is_matrix
    assert sheets["confusion"].rows == [["a", 3, 1], ["b", 0, 2]]
    assert not sheets["classes"].is_matrix
    assert sheets["classes"].rows == [["01", 4, 0.85], ["b", 2, None]]
    assert len(found.notes) == 1
    assert found.notes[0].startswith("tables/broken.csv cannot be read")


def test_the_diff_is_that_of_the_run(tmp_path: Path) -> None:
    write_run(tmp_path, points=2, diff="uncommitted.diff")
    assert detail(tmp_path).diff == "uncommitted.diff cannot be read (No such file or directory)"
    (tmp_path / "uncommitted.diff").write_text("-old\n+new\n")
    assert detail(tmp_path).diff == "-old\n+new\n"
    (tmp_path.parent / "secret").write_text("secret")
    write_run(tmp_path, points=2, diff="../secret", state="failed")
    assert detail(tmp_path).diff == ""  # a record names no file elsewhere
