"""Sound files to predict, read in chunks, so that memory does not grow with the length of a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lab.data.folders import list_files, unreadable
from lab.errors import DataError
from lab.tasks.audio.data.collate import AudioSample
from lab.tasks.audio.data.decoding import SOUND_SUFFIXES, SoundFileError, Waveform, look, read_sound


@dataclass(frozen=True)
class SoundChunk:
    """A part of a file.

    Attributes:
        file: the number of the file.
        first_example: of the part, counted from the beginning of the file.
        start: its first sample, after resampling.
        count: its samples.
    """

    file: int
    first_example: int
    start: int
    count: int


class AudioInputs:
    """Parts of sound files as a ``KeyedDataset``, each of whole examples; those of a file follow each other.

    A chunk that cannot be read is silence with the negative number ``unreadable(number)``.

    Args:
        paths: the files.
        sample_rate: to which they are resampled, in Hz.
        example_samples: of an example; shorter files get silence behind them.
        hop_samples: from the start of an example to that of the next.
        chunk_examples: of a chunk.

    Attributes:
        paths: the files.
        chunks: the parts of the readable files.
        problems: why other files cannot be read, by their number.
        notes: what is odd about files that can be read, by their number.
        seconds: how long each readable file is, by its number.
    """

    def __init__(
        self, paths: Sequence[Path], sample_rate: int, example_samples: int, hop_samples: int, chunk_examples: int
    ) -> None:
        self.paths, self.sample_rate = list(paths), sample_rate
        self.example_samples, self.hop_samples = example_samples, hop_samples
        self.chunks: list[SoundChunk] = []
        self.problems: dict[int, str] = {}
        self.notes: dict[int, str] = {}
        self.seconds: dict[int, float] = {}
        for number, path in enumerate(self.paths):
            try:
                info = look(path)
            except SoundFileError as error:
                self.problems[number] = str(error)
                continue
            if info.cut_short:
                self.notes[number] = "shorter than its header says"
            self.seconds[number] = info.frames / info.sample_rate
            total = info.samples_at(sample_rate)
            self.chunks += chunks_of(number, total, example_samples, hop_samples, chunk_examples)

    def __len__(self) -> int:
        """The number of chunks."""
        return len(self.chunks)

    def __getitem__(self, key: tuple[int, int]) -> AudioSample:
        """Return the chunk at ``(epoch, index)``."""
        number, chunk = key[1], self.chunks[key[1]]
        try:
            wave = read_sound(self.paths[chunk.file], self.sample_rate, chunk.start, chunk.count)
        except SoundFileError:
            return AudioSample(torch.zeros(self.example_samples), -1, unreadable(number))
        if not len(wave):
            return AudioSample(torch.zeros(self.example_samples), -1, unreadable(number))
        return AudioSample(at_least(wave, self.example_samples), -1, number)

    def examples_of(self, number: int) -> int:
        """Return how many examples a chunk has, if its file is as long as its header says."""
        return max(0, self.chunks[number].count - self.example_samples) // self.hop_samples + 1

    @property
    def aspect_ratios(self) -> None:
        """None: a prediction goes through the chunks in order."""
        return


def chunks_of(file: int, samples: int, example: int, hop: int, most: int) -> list[SoundChunk]:
    """Return the chunks of a file of so many samples: ``most`` examples each, the last one the rest.

    A file has an example for each start 0, hop, 2 hop, ... that leaves room for it, and one if it is shorter.
    """
    total = max(0, samples - example) // hop + 1
    found = []
    for first in range(0, total, most):
        count = min(most, total - first)
        length = min((count - 1) * hop + example, samples - first * hop)
        found.append(SoundChunk(file, first, first * hop, length))
    return found


def at_least(wave: Waveform, samples: int) -> torch.Tensor:
    """Return a waveform as a tensor, with silence behind it if it has fewer samples."""
    found = torch.from_numpy(wave)
    return torch.nn.functional.pad(found, (0, max(0, samples - len(found))))


def find_sounds(source: str | Path) -> tuple[list[Path], Counter[str]]:
    """Return the sound files that ``input=`` names, and how many others of each ending its folder has.

    Raises:
        DataError: there are none.
    """
    path = Path(source)
    if path.is_file():
        return [path], Counter()
    if not path.is_dir():
        raise DataError(f"input={source}: there is no such file or folder")
    found = [path / name for name, _ in list_files(path, SOUND_SUFFIXES)]
    others = Counter(
        other.suffix.lower() or "no ending"
        for other in path.rglob("*")
        if other.is_file() and not other.name.startswith(".") and other.suffix.lower() not in SOUND_SUFFIXES
    )
    if not found:
        raise DataError(f"input={source}: there is no sound file in it ({', '.join(sorted(SOUND_SUFFIXES))})")
    return found, others
