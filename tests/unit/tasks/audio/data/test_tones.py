"""Generated clips: what each kind sounds like, by its spectrum; from seed, epoch and index alone."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from lab.tasks.audio.data.tones import KINDS, Tones, TonesModule, draw_sound

RATE = 16_000
NUM_LABELS = [2.0, 3.0, 3.0, 2.0]
DIGEST = "5eafc0f529cabe7c"


def peaks(kind: str, seed: int) -> np.ndarray:
    """Return the loudest frequency of each tenth of a sound, in Hz, without what is silent."""
    wave = draw_sound(kind, RATE, RATE, torch.Generator().manual_seed(seed)).numpy()
    sounding = wave[wave.nonzero()[0][0] : wave.nonzero()[0][-1]]
    parts = np.array_split(sounding, 10)
    return np.array([np.abs(np.fft.rfft(part, RATE)).argmax() for part in parts])


@pytest.mark.parametrize("seed", range(3))
def test_kinds_are_what_they_are_called(seed: int) -> None:
    tone, rising, falling, trill = (peaks(kind, seed) for kind in ("tone", "rising", "falling", "trill"))
    assert np.ptp(tone) <= 4
    assert (np.diff(rising) > 0).all()
    assert 1.6 < rising[-1] / rising[0] < 4
    assert (np.diff(falling) < 0).all()
    assert np.ptp(trill) > 0.05 * trill.mean()
    wave = draw_sound("buzz", RATE, RATE, torch.Generator().manual_seed(seed)).numpy()
    spectrum = np.abs(np.fft.rfft(wave))
    low = int(spectrum.argmax())
    near = [spectrum[k * low - 9 : k * low + 10].max() / spectrum[low] for k in (2, 3)]
    assert near == pytest.approx([1 / 2, 1 / 3], rel=0.25)


def test_training_clips_differ_by_epoch_and_evaluation_does_not() -> None:
    def clip(split: str, epoch: int, seed: int = 0) -> torch.Tensor:
        return Tones(split, 9, 800, 8000, 1, 0.1, seed)[epoch, 5].waveform

    assert torch.equal(clip("train", 1), clip("train", 1))
    assert not torch.equal(clip("train", 1), clip("train", 2))
    assert not torch.equal(clip("train", 1), clip("train", 1, seed=1))
    assert torch.equal(clip("val", 0), clip("val", 3, seed=7))
    assert not torch.equal(clip("val", 0), clip("test", 0))


def test_the_digest_of_generated_clips() -> None:
    """A change of it changes the recipe's figure; rounded, since sines differ in the last bit between machines."""
    data = TonesModule(most_sounds=3, num_train=4)
    samples = [data.dataset("train")[0, index] for index in range(4)]
    waves = np.stack([sample.waveform.numpy() for sample in samples])
    assert waves.shape == (4, 15_600)
    assert [sample.shares.sum().item() for sample in samples if sample.shares is not None] == NUM_LABELS
    digest = hashlib.sha256(np.round(waves * 1000).astype("<i2").tobytes()).hexdigest()[:16]
    assert digest == DIGEST
    assert (data.spec.multilabel, data.spec.class_names, data.spec.input_shape) == (True, KINDS, (1, 15_600))
