"""What a network for sound is fed: log-mel spectrograms after augmentation, with the sound; and what the data holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from lab.report.canvas import INK
from lab.report.sanity import DAMAGED, NOT_LOOKED_AT, OUTLIERS, SplitLook
from lab.report.sounds import SoundPanel
from lab.structures.audio import AudioBatch
from lab.tasks.audio.data.decoding import SoundFileError
from lab.tasks.audio.data.decoding import look as look_at_header
from lab.tasks.audio.pictures import named_shares, panel
from lab.training.browsing import NOT_IMAGES, BrowseCard, Browser, DataIndex

FULL = 0.999
"""Of full scale: a sample beyond it may have been clipped."""
CLIPPED_SHARE = 0.001
SILENT_LEVEL = 1e-4
SILENT, CLIPPED, NOT_NUMBERS, UNDECODED, UNLABELLED = (
    "silent",
    f"clipped in more than {100 * CLIPPED_SHARE:g} % of its samples",
    "values that are not finite",
    "cannot be decoded",
    "clips without a label",
)


class AudioBrowser(Browser):
    """Clips of sound."""

    unit = "clip"
    skipped = NOT_IMAGES

    @torch.no_grad()
    def cards(self, batch: AudioBatch, augmented: bool) -> Iterator[BrowseCard]:
        """Yield the examples that the network reads, masked and mixed as in training, and the sound before that."""
        mel, labels = self.task.augmented(batch if augmented else replace(batch, chances=None))
        for row in batch.valid.nonzero().flatten().tolist():
            lines = [(text, INK) for text in named_shares(labels[row], self.spec.class_names)]
            picture = panel(mel.examples[row][mel.present[row]], lines)
            length = int(batch.lengths[row])
            wave = batch.waveforms[row, :length].float().numpy()
            text = ", ".join(line for line, _ in lines)
            examples = int(mel.present[row].sum())
            seconds = length / self.spec.sample_rate
            caption = f"clip {int(batch.sample_ids[row])}: {seconds:.2f} s, {examples} examples; {text}"
            yield BrowseCard(picture, caption, wave=SoundPanel(picture, wave, self.spec.sample_rate, text).wave())

    def name(self, split: str, index: int) -> str:
        """Return the name of a clip's file; of generated clips their number."""
        clips = getattr(self.stored(split), "clips", None)
        return super().name(split, index) if clips is None else f"{split}: {clips.clips[index].name}"

    def look(self, look: SplitLook, indices: Sequence[int], index: DataIndex) -> Iterator[None]:
        """Read whole clips."""
        dataset = self.stored(look.split)
        look.watch(OUTLIERS, SILENT, CLIPPED, *([UNLABELLED] if self.spec.multilabel else []))
        look.watch(DAMAGED, NOT_NUMBERS, *([UNDECODED] if hasattr(dataset, "clips") else []))
        bad: list[str] = getattr(dataset, "bad_reads", [])
        if not hasattr(dataset, "clips"):
            look.facts["sample rates of files"] = f"{NOT_LOOKED_AT}: the clips are generated"
        for number in indices:
            count, sample, name = len(bad), dataset[0, number], self.name(look.split, number)
            if len(bad) > count:
                look.find(UNDECODED, bad[-1])
            else:
                self._count(look, number, sample, name, index)
                self._count_rate(look, dataset, number)
            yield
        if look.classes is not None:
            look.classes = {**dict.fromkeys(self.spec.class_names, 0), **look.classes}

    def _count(self, look: SplitLook, number: int, sample: Any, name: str, index: DataIndex) -> None:
        wave = sample.waveform
        look.number("seconds of a clip", len(wave) / self.spec.sample_rate)
        if not torch.isfinite(wave).all():
            look.find(NOT_NUMBERS, name)
            return
        levels = wave.abs()
        look.number("peak level", float(levels.max()))
        look.number("root mean square level", float(wave.double().square().mean().sqrt()))
        if float(levels.max()) < SILENT_LEVEL:
            look.find(SILENT, name)
        if float((levels >= FULL).double().mean()) > CLIPPED_SHARE:
            look.find(CLIPPED, name)
        labels = [sample.label] if sample.shares is None else sample.shares.nonzero().flatten().tolist()
        if self.spec.multilabel and not labels:
            look.find(UNLABELLED, name)
        for label in labels:
            if label >= 0:
                look.count_class(self.spec.class_names[label])
        index.add(look.split, number, wave.contiguous().numpy().tobytes(), repr(labels))

    @staticmethod
    def _count_rate(look: SplitLook, dataset: Any, number: int) -> None:
        """Count the sample rate that a clip's file has."""
        clips = getattr(dataset, "clips", None)
        if clips is None:
            return
        try:
            info = look_at_header(clips.folder / clips.clips[number].name)
        except SoundFileError:
            return  # it was counted as one that cannot be decoded
        look.tally("sample rates of files in Hz", str(info.sample_rate))
        look.tally("channels of files", str(info.channels))
