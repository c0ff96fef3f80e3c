"""``stage=predict`` with ``eval.embeddings``: a row for each example, or a SequenceExample for each file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
from pyarrow import parquet

from lab.tasks.audio.data.tones import TonesModule
from lab.tasks.audio.predict import AudioPredictor
from lab.tasks.audio.settings import conflict
from tests.tensorflow_files import read_records, read_sequence_example
from tests.unit.tasks.audio.makers import make_task

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")
WIDTH = 11
"""Of the tiny network's embeddings."""


def make_trainer(callbacks: list[Any], progress: bool = True) -> pl.Trainer:
    options: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    return pl.Trainer(callbacks=callbacks, enable_progress_bar=False, enable_model_summary=False, **options)


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray[Any, Any]]]:
    """A file of five examples and one of two, and one that is no sound."""
    folder = tmp_path_factory.mktemp("sounds")
    random = np.random.default_rng(0)
    found = [random.normal(size=length).astype(np.float32) / 8 for length in (430, 161)]
    for name, wave in zip("ab", found, strict=True):
        soundfile.write(folder / f"{name}.wav", wave, 1000, subtype="FLOAT")
    (folder / "c.wav").write_bytes(b"nothing")
    return folder, found


def predict(source: Path, folder: Path, **settings: Any) -> None:
    times = {"clip_seconds": 0.08, "example_seconds": 0.08, "example_hop_seconds": 0.08}
    data = TonesModule(sample_rate=1000, chunk_examples=2, batch_size=3, **times)
    AudioPredictor(str(source), make_task(**settings).eval(), data).run(make_trainer, folder, 0)


def embeddings(wave: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return (N, 11): the mean over four frames of 20 samples of the log magnitudes, by numpy."""
    frames = wave[: len(wave) // 80 * 80].reshape(-1, 4, 20)
    found: np.ndarray[Any, Any] = np.log(np.abs(np.fft.rfft(frames)) + 0.01).mean(1)
    return found


def test_rows_of_all_examples(
    waves: tuple[Path, list[np.ndarray[Any, Any]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In chunks of two examples, in the order of the files."""
    predict(waves[0], tmp_path / "out", embeddings="parquet")
    rows = parquet.read_table(tmp_path / "out" / "embeddings.parquet").to_pylist()
    assert [(Path(row["file"]).name, row["example"]) for row in rows] == [
        *(("a.wav", n) for n in range(5)),
        *(("b.wav", n) for n in range(2)),
    ]
    assert [row["seconds"] for row in rows[:5]] == pytest.approx([0, 0.08, 0.16, 0.24, 0.32])
    expected = np.concatenate([embeddings(wave) for wave in waves[1]])
    np.testing.assert_allclose([row["embedding"] for row in rows], expected, atol=1e-5)  # measured: 9.5e-7
    said = capsys.readouterr()
    assert "2 files, 7 examples, 1 left out" in said.out
    assert "embeddings.parquet (file, example, seconds, embedding)" in said.out
    assert "c.wav cannot be read and is left out" in said.err


def test_sequence_examples_of_codes(waves: tuple[Path, list[np.ndarray[Any, Any]]], tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    vectors, means = random.normal(size=(WIDTH, WIDTH)), random.normal(size=WIDTH)
    np.savez(tmp_path / "pca.npz", pca_eigen_vectors=vectors, pca_means=means[:, None])
    predict(waves[0], tmp_path / "out", embeddings="tfrecord", pca=str(tmp_path / "pca.npz"), rounding="round")
    examples = [read_sequence_example(data) for data in read_records(tmp_path / "out" / "embeddings.tfrecord")]
    assert [context for context, _ in examples] == [
        {"video_id": [str(waves[0] / name).encode()]} for name in ("a.wav", "b.wav")
    ]
    for (_, lists), wave in zip(examples, waves[1], strict=True):
        assert list(lists) == ["audio_embedding"]
        found = np.array([list(codes) for codes in lists["audio_embedding"]])
        scaled = (np.clip((embeddings(wave) - means) @ vectors.T, -2, 2) + 2) * 255 / 4
        assert found.shape == scaled.shape
        assert np.abs(found - scaled).max() < 0.501
    predict(waves[0], tmp_path / "out", embeddings="parquet", pca=str(tmp_path / "pca.npz"), rounding="round")
    table = parquet.read_table(tmp_path / "out" / "embeddings.parquet")
    assert str(table.schema.field("embedding").type) == "list<element: uint8>"
    assert table.to_pylist()[0]["embedding"] == list(examples[0][1]["audio_embedding"][0])


def test_a_record_without_codes_is_refused() -> None:
    config: dict[str, Any] = {"stage": "predict", "model": {}, "eval": {"embeddings": "tfrecord", "pca": None}}
    assert conflict(config) == (
        "eval.embeddings",
        "a TFRecord holds codes of eight bits, which take the PCA of the embeddings: give its file by eval.pca, or "
        "write numbers by eval.embeddings=parquet",
    )
    config["eval"]["pca"] = "vggish_pca_params.npz"
    assert conflict(config) is None
