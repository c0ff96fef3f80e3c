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
from lab.tasks.audio.data.tones import TonesModule
from lab.tasks.audio.predict import AudioPredictor
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


def test_no_readable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.ogg").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"cannot be read \(bad\.ogg: Format not recognised\)"):
        AudioPredictor(str(tmp_path / "bad.ogg"), make_task(), TonesModule()).run(make_trainer, tmp_path / "out", 0)
