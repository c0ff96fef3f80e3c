"""The front end of VGGish against the published algorithm in numpy, frame by frame, and against MATLAB's numbers.

The reference below is written from the published description (constants, order of steps), one loop after the other.
"""

from __future__ import annotations

import math
import os
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch

from lab.models.vggish import front_end
from lab.models.vggish.front_end import EXAMPLE, EXAMPLE_HOP, MelFrontEnd, hann, mel_edges, mel_matrix, mel_of_hertz
from tests.agreement import Compared

Array = np.ndarray[Any, np.dtype[np.float64]]


PEER = Compared("vggish", "the published front end")


def reference_bands(keep_dc: bool = False) -> Array:
    """Return the weights (257, 64) of the bands, each value computed on its own."""

    def mel(hertz: float) -> float:
        return 1127.0 * math.log(1.0 + hertz / 700.0)

    low, high = mel(125.0), mel(7500.0)
    edges = [low + (high - low) * step / 65 for step in range(66)]
    weights = np.zeros((257, 64))
    for number in range(257):
        if number == 0 and not keep_dc:
            continue
        here = mel(number * 8000.0 / 256)
        for band in range(64):
            rising = (here - edges[band]) / (edges[band + 1] - edges[band])
            falling = (edges[band + 2] - here) / (edges[band + 2] - edges[band + 1])
            weights[number, band] = max(0.0, min(rising, falling))
    return weights


def reference(
    samples: Array,
    hop: int = 160,
    power: int = 1,
    symmetric: bool = False,
    keep_tail: bool = False,
    centred: bool = False,
    offset: float = 0.01,
) -> Array:
    """Return the examples (N, 96, 64) of a clip; the arguments make mutants."""
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / (399 if symmetric else 400)) for n in range(400)]
    if centred:
        samples = np.pad(samples, 200)
    bands, frames, start = reference_bands(), [], 0
    while start + 400 <= len(samples):
        spectrum = np.fft.rfft(samples[start : start + 400] * window, 512)
        frames.append(np.log(np.abs(spectrum) ** power @ bands + offset))
        start += hop
    count = len(frames) // 96
    if keep_tail and len(frames) % 96:
        frames += [np.full(64, math.log(offset))] * (96 - len(frames) % 96)
        count += 1
    return np.array(frames[: count * 96]).reshape(count, 96, 64)


def sounds(count: int, length: int) -> Array:
    """Return clips of noise with tones in it, of very different levels."""
    random = np.random.default_rng(17)
    times = np.arange(length) / 16000
    tones = np.sin(2 * np.pi * random.uniform(50, 7900, (count, 1)) * times)
    levels = 10 ** random.uniform(-4, 0, (count, 1))
    clips: Array = levels * (tones + 0.1 * random.standard_normal((count, length)))
    return clips


@pytest.fixture(scope="module")
def clips() -> Array:
    return sounds(3, EXAMPLE + 2 * EXAMPLE_HOP + 100)


@pytest.fixture(scope="module")
def lengths(clips: Array) -> list[int]:
    """The last frame of the second clip lacks one sample; the third has just one example."""
    return [clips.shape[1], EXAMPLE + 2 * EXAMPLE_HOP - 1, EXAMPLE]


def ours(clips: Array, lengths: list[int], dtype: torch.dtype = torch.float64) -> list[Array]:
    """Return the examples that are present of each clip; beyond its end stands noise that must not matter."""
    mel = MelFrontEnd()(torch.from_numpy(clips).to(dtype), torch.tensor(lengths))
    assert mel.examples.dtype == dtype
    return [examples[present].double().numpy() for examples, present in zip(*mel, strict=True)]


def largest(found: list[Array], expected: list[Array]) -> float:
    """Return the largest difference; infinite where the numbers of examples differ."""
    if [len(each) for each in found] != [len(each) for each in expected]:
        return math.inf
    return max(float(np.abs(one - two).max()) for one, two in zip(found, expected, strict=True))


def cut(clips: Array, lengths: list[int], **mutant: Any) -> list[Array]:
    return [reference(clip[:length], **mutant) for clip, length in zip(clips, lengths, strict=True)]


def test_a_batch_equals_the_published_front_end_in_float64(clips: Array, lengths: list[int]) -> None:
    apart = largest(ours(clips, lengths), cut(clips, lengths))
    assert PEER.agrees("front end in double precision", apart, 1e-12)  # measured: 9.3e-15


def test_float32_is_close(clips: Array, lengths: list[int]) -> None:
    """Of values from -4.6 to 3.5."""
    apart = largest(ours(clips, lengths, torch.float32), cut(clips, lengths))
    assert PEER.agrees("front end", apart, 2e-5)  # measured: 2.2e-6


@pytest.mark.parametrize(
    "mutant",
    [{"symmetric": True}, {"power": 2}, {"keep_tail": True}, {"centred": True}, {"offset": 1e-3}, {"hop": 161}],
    ids=str,
)
def test_mutants_are_seen(clips: Array, lengths: list[int], mutant: dict[str, Any]) -> None:
    """A symmetric Hann window is the closest of them."""
    assert largest(ours(clips, lengths), cut(clips, lengths, **mutant)) > 1e-4


def test_constants() -> None:
    """Of the published code, always: window, bands, examples."""
    assert (front_end.SAMPLE_RATE, EXAMPLE, EXAMPLE_HOP) == (16000, 15600, 15360)
    used, weights = mel_matrix()
    expected = reference_bands()
    assert (used.start, used.stop, weights.shape) == (5, 240, (235, 64))
    assert np.abs(weights - expected[used]).max() < 1e-13
    assert not np.delete(expected, np.r_[used], axis=0).any()
    assert not reference_bands(keep_dc=True)[0].any()  # so that leaving its row out changes nothing
    assert hann()[0] == 0
    assert hann()[-1] > 0
    assert np.abs(hann()[1:] - hann()[:0:-1]).max() < 1e-15


def test_halves_of_long_clips_are_those_of_the_whole() -> None:
    """Many examples are computed in parts, whose borders must not show."""
    clip = sounds(1, EXAMPLE + 40 * EXAMPLE_HOP)
    found = ours(clip, [clip.shape[1]])
    assert len(found[0]) == 41
    for number in (0, 9, 10, 11, 40):
        piece = clip[:, number * EXAMPLE_HOP :][:, :EXAMPLE]
        assert np.abs(ours(piece, [EXAMPLE])[0][0] - found[0][number]).max() < 1e-13


def matlab(name: str) -> dict[str, Any]:
    """Return what Ellis' MATLAB code has computed; skip the test where the file is absent."""
    file = Path(os.environ.get("LAB_DATA_DIR", "data")) / "oracles" / "librosa_matlab" / name
    if not file.is_file():
        pytest.skip(f"{file} is absent")
    found: dict[str, Any] = scipy.io.loadmat(file)
    return found


def test_transform_equals_matlab() -> None:
    """Frames without padding, here with a rectangular window of 128."""
    expected = matlab("core-stft-001.mat")
    with wave.open(str(Path(os.environ["LAB_DATA_DIR"]) / "oracles" / "librosa_matlab" / "test1_22050.wav")) as file:
        channels, samples = file.getnchannels(), np.frombuffer(file.readframes(file.getnframes()), "<i2")
    sound = torch.from_numpy(samples.reshape(-1, channels).mean(1) / 32768)
    points, hop = int(expected["nfft"].item()), int(expected["hop_length"].item())
    found = front_end.spectrum_of(sound, torch.ones(points, dtype=torch.float64), hop, points).numpy().T
    assert found.shape == expected["D"].shape
    assert np.abs(found - expected["D"].conj()).max() < 1e-12  # the apostrophe of MATLAB conjugates; measured: 4.0e-15


def test_mel_scale_equals_matlab() -> None:
    """HTK's, 2595 log10(1 + f / 700) there. The triangles differ, which are linear in Hz there; their edges do not."""
    scale = matlab("feature-hz_to_mel-004.mat")
    found = mel_of_hertz(scale["f"].astype(float))
    np.testing.assert_allclose(found, scale["result"], rtol=1e-5)  # the constants differ by 9.3e-6
    for number in (2, 4, 6, 8, 10, 12, 14, 16, 18):
        bands = matlab(f"feature-melfb-{number:03d}.mat")
        edges = mel_edges(float(bands["fmin"].item()), float(bands["fmax"].item()), int(bands["nfilts"].item()))
        np.testing.assert_allclose(700 * np.expm1(edges / 1127), bands["frqs"][0], rtol=1e-12, atol=1e-9)
