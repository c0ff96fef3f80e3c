"""Files to predict: in chunks of whole examples, what cannot be read beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab.errors import DataError
from lab.tasks.audio.data.inputs import AudioInputs, SoundChunk, chunks_of, find_sounds


def test_chunks_hold_the_examples_of_a_file_each_once() -> None:
    """Examples of 10 samples that start 8 apart: 45 samples have five, 0-10, 8-18, ..., 32-42; the rest is dropped."""
    assert chunks_of(3, 45, 10, 8, 2) == [SoundChunk(3, 0, 0, 18), SoundChunk(3, 2, 16, 18), SoundChunk(3, 4, 32, 10)]
    assert chunks_of(0, 7, 10, 8, 2) == [SoundChunk(0, 0, 0, 7)]
    assert [chunk.count for chunk in chunks_of(0, 18, 10, 8, 9)] == [18]


def test_files_and_what_cannot_be_read(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    wave = np.linspace(-0.5, 0.5, 250, dtype=np.float32)
    (tmp_path / "sub").mkdir()
    soundfile.write(tmp_path / "sub" / "a.wav", wave, 1000, subtype="FLOAT")
    soundfile.write(tmp_path / "b.flac", wave[:30], 1000)
    (tmp_path / "c.mp3").write_bytes(b"no sound at all")
    (tmp_path / "notes.txt").write_text("x")
    paths, others = find_sounds(tmp_path)
    assert [path.name for path in paths] == ["b.flac", "c.mp3", "a.wav"]
    assert dict(others) == {".txt": 1}
    inputs = AudioInputs(paths, 1000, 80, 80, 2)
    assert inputs.problems == {1: "Format not recognised"}
    assert [(chunk.file, chunk.first_example, chunk.count) for chunk in inputs.chunks] == [
        (0, 0, 30),
        (2, 0, 160),
        (2, 2, 80),
    ]
    assert [len(inputs[0, number].waveform) for number in range(3)] == [80, 160, 80]
    np.testing.assert_array_equal(inputs[0, 2].waveform.numpy(), wave[160:240])
    (tmp_path / "sub" / "a.wav").unlink()
    assert (inputs[0, 1].sample_id, int(inputs[0, 1].waveform.count_nonzero())) == (-2, 0)


def test_no_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no sound file in it"):
        find_sounds(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        find_sounds(tmp_path / "x")
