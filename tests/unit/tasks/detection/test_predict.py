"""What stage=predict leaves of detections: the bytes of one json.dumps of all, in memory that does not grow."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from PIL import Image

from lab.data.images.opening import read_image
from lab.system.signals import Interrupted
from lab.tasks.detection.pictures import SHOWN_ABOVE, draw_detections
from lab.tasks.detection.predict import DetectionPredictor, coco_results
from lab.training.parts import Parts, RecordWriter
from tests.unit.tasks.detection.finders import NAMES, Files, Finds, found_in, make_photos


def make_trainer(callbacks: list[pl.Callback]) -> pl.Trainer:
    """Return a plain Trainer."""
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(accelerator="cpu", devices=1, callbacks=callbacks, inference_mode=False, **quiet)


def predictor(photos: Path, task: Any = None, batch_size: int = 4) -> DetectionPredictor:
    return DetectionPredictor(str(photos), task or Finds(), Files(batch_size))


def test_files_are_those_of_one_write_of_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As before this was streamed: everything in a list, one ``json.dumps`` each."""
    photos, out = make_photos(tmp_path / "photos", 11, bad=(5,)), tmp_path / "out"
    looked = predictor(photos)
    looked.run(make_trainer, out, 0)
    numbers = [number for number in range(11) if number != 5]
    results = [row for number in numbers for row in coco_results(found_in(number), number)]
    assert (out / "results.json").read_text() == json.dumps(results) + "\n"
    images = [{"id": number, "file_name": str(photos / f"{number:03d}.png")} for number in numbers]
    names = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    assert (out / "images.json").read_text() == json.dumps({"images": images, "categories": names}, indent=1) + "\n"
    assert sorted(path.name for path in out.iterdir()) == ["images.json", "pictures", "results.json"]
    assert sorted(path.name for path in (out / "pictures").iterdir()) == [f"{n:05d}-{n:03d}.png" for n in numbers]
    found = found_in(3)
    image = read_image(photos / "003.png")
    drawn = draw_detections(image, found.boxes[0], found.labels[0], found.scores[0], NAMES, SHOWN_ABOVE)
    with Image.open(out / "pictures" / "00003-003.png") as written:
        assert (written.size, written.tobytes()) == (drawn.size, drawn.tobytes())
    above = sum(int((found_in(number).scores >= 0.3).sum()) for number in numbers)
    assert 0 < above < 70
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"10 images, 70 detections; pictures show the {above} with a score of 0.3 or more, 1 files left out",
        f"written   {out / 'results.json'} (COCO's format; images.json names the images and categories)",
        f"pictures  {out / 'pictures'}",
    ]
    (warning,) = said.err.splitlines()
    assert warning.startswith(f"warning: {photos / '005.png'} cannot be read as an image and is left out: ")


@pytest.mark.parametrize("count", [12, 60])
def test_predictions_are_let_go(tmp_path: Path, count: int) -> None:
    """However many images there are, those of two batches are held."""
    task = Finds()
    predictor(make_photos(tmp_path / "photos", count), task).run(make_trainer, tmp_path / "out", 0)
    assert 4 <= task.most <= 8
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())) == 7 * count


def test_results_are_put_together_in_little_memory(tmp_path: Path) -> None:
    """Of 10,000 detections that two ranks have left, one image's of each are held."""
    looked = predictor(make_photos(tmp_path / "photos", 1))
    looked.paths *= 100
    ranks = [Parts(tmp_path / "out", tmp_path / "out" / ".parts-x", rank) for rank in range(2)]
    for parts in ranks:
        parts.own.mkdir(parents=True)
        with closing(RecordWriter(parts)) as records:
            for number in range(parts.rank, 100, 2):
                records.write(number, {"results": coco_results(found_in(number, 100), number)})
    ranks[0].merged.mkdir()
    tracemalloc.start()
    try:
        looked.put_together([parts.own for parts in ranks], ranks[0])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    written = tmp_path / "out" / "results.json"
    assert written.stat().st_size > 900_000
    assert peak < 400_000
    assert [row["image_id"] for row in json.loads(written.read_text())] == [n for n in range(100) for _ in range(100)]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Interrupted(2)], ids=["disk", "signal"])
def test_what_ends_on_its_way_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    photos, out = make_photos(tmp_path / "photos", 9), tmp_path / "out"
    predictor(photos).run(make_trainer, out, 0)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for where in (out, tmp_path / "new" / "out"):
        with pytest.raises(type(error)):
            predictor(photos, Finds(6, error)).run(make_trainer, where, 0)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "photos"]
