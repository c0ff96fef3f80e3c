"""``stage=predict``: a long file in chunks as in one piece, files that cannot be read, in CSV and Parquet."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from lab.errors import DataError
from lab.tasks.audio.data.inputs import AudioInputs, chunks_of
from lab.tasks.audio.data.tones import TonesModule
from lab.tasks.audio.predict import AudioPredictor, files_of
from tests.unit.tasks.audio.makers import make_task

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")


def make_trainer(callbacks: list[Any], progress: bool = True) -> pl.Trainer:
    options: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    return pl.Trainer(callbacks=callbacks, enable_progress_bar=False, enable_model_summary=False, **options)


def test_files_of_any_length(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Five examples in chunks of two have the mean of all five; a whole file from Python has the same."""
    wave = np.random.default_rng(0).normal(size=430).astype(np.float32) / 8
    soundfile.write(tmp_path / "long.wav", wave, 1000, subtype="FLOAT")
    soundfile.write(tmp_path / "short.flac", wave[:30], 1000)
    (tmp_path / "bad.ogg").write_bytes(b"nothing")
    (tmp_path / "read.me").write_text("x")
    task = make_task(top_k=2).eval()
    data = TonesModule(
        sample_rate=1000,
        clip_seconds=0.08,
        example_seconds=0.08,
        example_hop_seconds=0.08,
        chunk_examples=2,
        batch_size=2,
    )
    AudioPredictor(str(tmp_path), task, data).run(make_trainer, tmp_path / "out", 0)
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["file"]).name for row in rows] == ["long.wav", "short.flac"]
    assert [float(row["seconds"]) for row in rows] == [0.43, 0.03]
    whole = task.predict(torch.from_numpy(wave))
    assert rows[0]["class_1"] == whole.names[0]
    assert float(rows[0]["score_1"]) == pytest.approx(float(whole.scores[0]), abs=1e-6)
    said = capsys.readouterr()
    assert "2 files, 1 left out; files that are no sounds by their ending: 1 .me" in said.out
    assert "bad.ogg cannot be read and is left out: Format not recognised" in said.err
    from pyarrow import parquet

    table = parquet.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    assert [row["class_1"] for row in table] == [row["class_1"] for row in rows]


def test_files_that_break_off(tmp_path: Path) -> None:
    """Of 5 examples in chunks of two the last does not decode; and of two chunks of another file none."""
    inputs = AudioInputs([], 1000, 80, 80, 2)
    inputs.chunks = [*chunks_of(0, 400, 80, 80, 2), *chunks_of(1, 200, 80, 80, 1), *chunks_of(2, 80, 80, 80, 2)]
    inputs.seconds = {0: 0.4, 1: 0.2, 2: 0.08}
    rows: list[dict[str, Any]] = [
        {"number": 0, "examples": 2, "logits": [1.0]},
        {"number": 1, "examples": 1, "logits": [4.0]},
        {"number": 2, "unreadable": True},
        {"number": 3, "unreadable": True},
        {"number": 4, "unreadable": True},
        {"number": 5, "examples": 1, "logits": [7.0]},
    ]
    found = [(number, seconds, logits.tolist()) for number, seconds, logits in files_of(rows, inputs)]
    assert found == [(0, 0.4, [2.0]), (2, 0.08, [7.0])]
    assert inputs.notes == {0: "it breaks off: 3 of its 5 examples can be decoded"}
    assert inputs.problems == {1: "it does not decode"}


def test_no_readable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.ogg").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"cannot be read \(bad\.ogg: Format not recognised\)"):
        AudioPredictor(str(tmp_path / "bad.ogg"), make_task(), TonesModule()).run(make_trainer, tmp_path / "out", 0)
