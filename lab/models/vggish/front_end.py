"""The front end of VGGish: from waveforms to examples of 96 frames of 64 log-mel magnitudes.

Hershey et al., "CNN Architectures for Large-Scale Audio Classification" (ICASSP 2017), section 3.1, with the constants
of the code that its authors published (tensorflow/models, research/audioset/vggish): sound of 16 kHz, frames of 25 ms
every 10 ms without any padding, a periodic Hann window, the magnitude (not the power) of a transform of 512 points, 64
bands from 125 to 7500 Hz whose triangles are linear on the mel scale and are not normalised, and the logarithm of 0.01
more. An example is 96 frames, 0.975 s; what is left at the end of a clip is dropped.

Only 235 of the 257 frequencies lie within a band; the product with the bands leaves the others out.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lab.ops.precision import full_precision, without_autocast
from lab.structures.audio import LogMel

SAMPLE_RATE = 16_000
WINDOW, HOP, POINTS = 400, 160, 512
BANDS, LOWEST, HIGHEST = 64, 125.0, 7500.0
OFFSET = 0.01
FRAMES = 96
EXAMPLE = (FRAMES - 1) * HOP + WINDOW
"""Samples of an example: 15,600, of which the last 240 belong to the next example too."""
EXAMPLE_HOP = FRAMES * HOP
"""Samples from the beginning of an example to that of the next one: 0.96 s."""
_AT_ONCE = 8  # examples: their spectra have 1.6 MB
MelTable = np.ndarray[Any, np.dtype[np.float64]]


def mel_of_hertz(frequencies: MelTable) -> MelTable:
    """Return frequencies on the mel scale of HTK's book: 1127 ln(1 + f / 700)."""
    mels: MelTable = 1127.0 * np.log(1.0 + frequencies / 700.0)
    return mels


def mel_edges(lowest: float, highest: float, bands: int) -> MelTable:
    """Return the edges (bands + 2,) of bands between two frequencies in Hz, equally far apart in mel."""
    low, high = mel_of_hertz(np.array([lowest, highest]))
    edges: MelTable = np.linspace(low, high, bands + 2)
    return edges


@functools.cache
def mel_matrix() -> tuple[slice, MelTable]:
    """Return which of the 257 frequencies lie within a band, and their weights (235, 64), in float64.

    Band b rises from edge b to b + 1 and falls to b + 2. The frequency 0 has no weight.
    """
    bins = mel_of_hertz(np.linspace(0.0, SAMPLE_RATE / 2, POINTS // 2 + 1))[:, None]
    edges = mel_edges(LOWEST, HIGHEST, BANDS)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    weights = np.maximum(0.0, np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)))
    weights[0] = 0.0
    (used,) = np.nonzero(weights.any(1))
    first, last = int(used[0]), int(used[-1]) + 1
    return slice(first, last), weights[first:last]


@functools.cache
def hann() -> MelTable:
    """Return the periodic window (400,), in float64: its period is its length, so that its last value is not 0."""
    window: MelTable = 0.5 - 0.5 * np.cos(2 * np.pi / WINDOW * np.arange(WINDOW))
    return window


def num_examples(num_samples: int) -> int:
    """Return how many examples a clip has."""
    return max(0, 1 + (num_samples - EXAMPLE) // EXAMPLE_HOP)


class MelFrontEnd(nn.Module):
    """Computes the examples of a batch of clips; in float64, where the waveforms are."""

    window: Tensor
    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.from_numpy(hann()).float(), persistent=False)
        self.register_buffer("weights", torch.from_numpy(mel_matrix()[1]).float(), persistent=False)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> LogMel:
        """Return the examples of waveforms (B, T).

        Args:
            waveforms: of 16 kHz, full scale is 1; half precision is computed in float32.
            lengths: (B,) samples of each clip. An example that reaches past them is not present, and holds silence.

        Returns:
            (B, N, 96, 64) with N = ``num_examples(T)``, and which of them are present.
        """
        waveforms = full_precision(waveforms)
        count = num_examples(waveforms.shape[1])
        if not count:
            shape = (len(waveforms), 0, FRAMES, BANDS)
            return LogMel(waveforms.new_zeros(shape), waveforms.new_zeros(shape[:2], dtype=torch.bool))
        ends = torch.arange(count, device=waveforms.device) * EXAMPLE_HOP + EXAMPLE
        present = ends <= lengths[:, None]
        pieces = waveforms.unfold(1, EXAMPLE, EXAMPLE_HOP)  # (B, N, EXAMPLE), a view
        tables, silence = self._tables(waveforms), math.log(OFFSET)
        if tells_at_once(waveforms):
            examples = waveforms.new_full((*present.shape, FRAMES, BANDS), silence)
            examples[present] = _log_mel(pieces[present], *tables)
        else:
            found = _log_mel(pieces.reshape(-1, EXAMPLE), *tables).unflatten(0, present.shape)
            examples = found.masked_fill(~present[:, :, None, None], silence)
        return LogMel(examples, present)

    def _tables(self, waveforms: Tensor) -> tuple[Tensor, Tensor]:
        """Return window and weights in the waveforms' precision: those of float64 are not rounded in between."""
        if waveforms.dtype == self.window.dtype == torch.float32:
            return self.window, self.weights
        tables = (torch.from_numpy(table).to(waveforms) for table in (hann(), mel_matrix()[1]))
        return next(tables), next(tables)


def tells_at_once(values: Tensor) -> bool:
    """Whether asking for a tensor's values, and choosing by them, keeps nobody waiting: on a CPU, not traced."""
    return values.is_cpu and type(values) is Tensor and not torch.compiler.is_compiling()


def _log_mel(pieces: Tensor, window: Tensor, weights: Tensor) -> Tensor:
    """Return (E, 96, 64) of pieces (E, EXAMPLE); on a CPU a few at a time, whose spectra stay in its cache."""
    with without_autocast(pieces):
        if not tells_at_once(pieces):
            return _log_mel_of(pieces, window, weights)
        return torch.cat([_log_mel_of(part, window, weights) for part in pieces.split(_AT_ONCE)])


def _log_mel_of(pieces: Tensor, window: Tensor, weights: Tensor) -> Tensor:
    spectrum = spectrum_of(pieces, window, HOP, POINTS)
    return (_magnitudes(spectrum, mel_matrix()[0]) @ weights).add_(OFFSET).log_()


def _magnitudes(spectrum: Tensor, used: slice) -> Tensor:
    """Return the absolute values of some frequencies: without a gradient in a third of the time of ``abs``."""
    if spectrum.requires_grad:
        return spectrum[..., used].abs()
    squares = torch.view_as_real(spectrum).square_()[..., used, :]
    return (squares[..., 0] + squares[..., 1]).sqrt_()


def spectrum_of(samples: Tensor, window: Tensor, hop: int, points: int) -> Tensor:
    """Return the transform (..., frames, points / 2 + 1) of all whole frames of samples (..., T)."""
    return torch.fft.rfft(samples.unfold(-1, len(window), hop) * window, points)
