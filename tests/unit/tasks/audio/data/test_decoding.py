"""Sound files of every kind: read right, or refused with a reason."""

from __future__ import annotations

import math
import os
import wave
from pathlib import Path

import numpy as np
import pytest

from lab.tasks.audio.data.decoding import SoundFileError, look, read_sound

soundfile = pytest.importorskip("soundfile")
soxr = pytest.importorskip("soxr")
RATE = 8000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


def write(path: Path, sound: np.ndarray = TONE, rate: int = RATE, form: str = "WAV", subtype: str = "PCM_16") -> Path:
    soundfile.write(path, sound, rate, format=form, subtype=subtype)
    return path


def read_whole(path: Path) -> np.ndarray:
    """Look at a file, and read it."""
    assert look(path).frames
    return read_sound(path, RATE)


@pytest.mark.parametrize(
    ("name", "form", "subtype", "worst"),
    [
        ("a.wav", "WAV", "PCM_16", 2**-15),
        ("a.wav", "WAV", "PCM_U8", 2**-7),
        ("a.wav", "WAV", "PCM_24", 2**-23),
        ("a.wav", "WAV", "PCM_32", 2**-24),
        ("a.wav", "WAV", "FLOAT", 0.0),
        ("a.wav", "WAV", "DOUBLE", 0.0),
        ("a.flac", "FLAC", "PCM_24", 2**-23),
        ("a.ogg", "OGG", "VORBIS", 0.1),
        ("a.mp3", "MP3", "MPEG_LAYER_III", 0.1),
        ("a.aiff", "AIFF", "PCM_16", 2**-15),
        ("wrong.mp3", "WAV", "PCM_16", 2**-15),
        ("wrong.wav", "OGG", "VORBIS", 0.1),
    ],
)
def test_every_format_gives_the_tone(tmp_path: Path, name: str, form: str, subtype: str, worst: float) -> None:
    """Lossy ones are off by at most .058 (MP3) and .017 (Vorbis), measured."""
    path = write(tmp_path / name, form=form, subtype=subtype)
    found = read_sound(path, RATE)
    assert (found.dtype, found.shape) == (np.float32, (RATE,))
    assert np.abs(found - TONE).max() <= worst
    assert (look(path).frames, look(path).cut_short) == (RATE, False)


def test_channels_become_their_mean(tmp_path: Path) -> None:
    sound = np.stack([TONE, -TONE / 2, np.zeros_like(TONE)], 1)
    found = read_sound(write(tmp_path / "a.wav", sound, subtype="FLOAT"), RATE)
    np.testing.assert_allclose(found, TONE / 6, atol=1e-7)


def test_another_rate_is_resampled(tmp_path: Path) -> None:
    """The same tone at 16 kHz, away from the ends, where the filter sees what is not there."""
    found = read_sound(write(tmp_path / "a.wav", subtype="FLOAT"), 2 * RATE)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / (2 * RATE))
    assert len(found) == 2 * RATE == look(tmp_path / "a.wav").samples_at(2 * RATE)
    assert np.abs(found - expected)[500:-500].max() < 1e-5  # worst seen: 2.5e-7


@pytest.mark.parametrize("rate", [8000, 11_025, 44_100, 44_101])
def test_a_part_is_what_it_is_in_the_whole(tmp_path: Path, rate: int) -> None:
    random = np.random.default_rng(0).normal(size=3 * rate).astype(np.float32) / 8
    path = write(tmp_path / "a.wav", random, rate, subtype="FLOAT")
    whole = read_sound(path, RATE)
    for start, count in ((0, 3000), (9000, 4000), (21_000, 9999)):
        part = read_sound(path, RATE, start, count)
        assert len(part) == min(count, len(whole) - start)
        assert np.abs(part - whole[start : start + count]).max() < 1e-6  # worst seen: 9e-8


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    good = write(tmp_path / "a.wav").read_bytes()
    flac = write(tmp_path / "a.flac", form="FLAC").read_bytes()
    nan = write(tmp_path / "nan.wav", np.full(100, math.nan, dtype=np.float32), subtype="FLOAT")
    os.mkfifo(tmp_path / "pipe.wav")
    for name, content, said in (
        ("empty.wav", b"", "the file is empty"),
        ("text.wav", b"hello\n" * 99, "Format not recognised"),
        ("noise.mp3", bytes(range(256)) * 9, "Format not recognised"),
        ("head.wav", good[:30], "data"),
        ("none.wav", good[:44], "no samples"),
        ("half.flac", flac[: len(flac) // 2], "flac decoder lost sync"),
        ("nan.wav", nan.read_bytes(), "not finite"),
        ("pipe.wav", None, "no regular file"),
        ("absent.wav", None, "No such file"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(SoundFileError, match=said):
            read_whole(tmp_path / name)


def test_a_file_that_was_cut_off_has_what_is_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[:8044])
    assert (look(path).cut_short, look(path).frames, len(read_sound(path, RATE))) == (True, 4000, 4000)


def test_a_wave_that_was_streamed_has_no_length_and_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((TONE * 32767).astype("<i2").tobytes())
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert not look(path).cut_short
    assert len(read_sound(path, RATE)) == RATE
