"""Sound files with labels: the dataset, and the base of its DataModules.

Some damage is found only when a file is decoded: training then takes the next clip, evaluation, which must not count a
clip twice, silence.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from abc import abstractmethod
from collections import Counter
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lab.data.caches import contents
from lab.data.holdout import TEST, TRAIN, VAL, check_shares, hold_out
from lab.data.images.resizing import sample_generator
from lab.data.presence import ClassCounts
from lab.errors import DataError
from lab.ranges import Share, Word
from lab.structures import Table
from lab.structures.audio import AudioSpec
from lab.tasks.audio.data.clips import ClipList
from lab.tasks.audio.data.collate import AudioSample, draw_chances, label_and_shares, placed
from lab.tasks.audio.data.decoding import SoundFileError, read_sound
from lab.tasks.audio.data.inputs import at_least
from lab.tasks.audio.data.module import AudioModule, samples_of
from lab.text import printable

log = logging.getLogger(__name__)
MOST_ROWS = 50
"""Of the table of files that are left out or odd."""
SPLIT_WORDS = {TRAIN: "training", VAL: "validation", TEST: "test"}


class ClipDataset:
    """Sound files as a ``KeyedDataset``.

    Args:
        clips: those that can be used.
        class_names: of the K classes, in the order of the labels.
        multilabel: whether clips have any number of labels.
        sample_rate: to which they are resampled, in Hz.
        least: the fewest samples of a clip; shorter ones get silence behind them.
        length: T of a training clip; None: whole clips.
        train: whether to draw where clips are cut, and what the device draws.
        seed: decides, with epoch and index, all of that.
        keep: keep decoded and resampled clips in memory, in each worker.
        on_bad_sample: ``"skip"`` or ``"error"``.

    Raises:
        DataError: there is no clip.
    """

    def __init__(
        self,
        clips: ClipList,
        class_names: tuple[str, ...],
        multilabel: bool,
        sample_rate: int,
        least: int,
        length: int | None,
        train: bool,
        seed: int,
        keep: bool,
        on_bad_sample: str,
    ) -> None:
        self.clips, self.class_names, self.multilabel, self.sample_rate = clips, class_names, multilabel, sample_rate
        self.least, self.length, self.train, self.seed = least, length, train, seed
        self.keep, self.on_bad_sample = keep, on_bad_sample
        numbers = {name: number for number, name in enumerate(class_names)}
        self.labels = [tuple(numbers[name] for name in clip.labels) for clip in clips.clips]
        self._kept: dict[int, Tensor] = {}
        self.bad_reads: list[str] = []

    def __len__(self) -> int:
        """The number of clips."""
        return len(self.labels)

    def __getitem__(self, key: tuple[int, int]) -> AudioSample:
        """Return the clip at ``(epoch, index)``.

        Raises:
            DataError: a file cannot be decoded under ``on_bad_sample="error"``, or none can.
        """
        epoch, index = key
        for place in range(index, index + len(self)):
            row = place % len(self)
            wave = self._wave(row)
            if wave is not None:
                break
            if not self.train:
                row, wave = index, torch.zeros(self.least)
                break
        else:
            raise DataError(f"{self.clips.source}: none of its {len(self)} sound files can be decoded")
        label, shares = label_and_shares(self.labels[row], len(self.class_names), self.multilabel)
        if not self.train:
            return AudioSample(wave, label, index, shares)
        generator = sample_generator(self.seed, epoch, index)
        if self.length is not None:
            wave = placed(wave, self.length, generator)
        return AudioSample(wave, label, index, shares, draw_chances(generator))

    def unaugmented(self) -> ClipDataset:
        """Return the same clips, whole, to look at them; what cannot be decoded is silence, and in ``bad_reads``."""
        found = copy.copy(self)
        found.train, found.on_bad_sample, found.bad_reads = False, "skip", []
        return found

    def _wave(self, row: int) -> Tensor | None:
        """Return a clip as it is stored, at least of the least length; None where it cannot be decoded."""
        if row in self._kept:
            return self._kept[row]
        clip, rate = self.clips.clips[row], self.sample_rate
        count = None if clip.seconds is None else samples_of(clip.seconds, rate)
        try:
            wave = read_sound(self.clips.folder / clip.name, rate, round(clip.start * rate), count)
        except SoundFileError as error:
            self._bad_read(clip.name, str(error))
            return None
        found = at_least(wave, self.least)
        if self.keep:
            self._kept[row] = found
        return found

    def _bad_read(self, name: str, why: str) -> None:
        path = self.clips.folder / name
        if self.on_bad_sample == "error":
            raise DataError(f"{path} cannot be decoded ({why}); replace the file, or set data.on_bad_sample=skip")
        if name not in self.bad_reads:
            self.bad_reads.append(name)
            fate = "the next clip replaces it" if self.train else "evaluated as silence"
            log.warning("%s cannot be decoded (%s); %s (%d so far)", path, why, fate, len(self.bad_reads))

    @property
    def aspect_ratios(self) -> None:
        """None: batches are made of any clips."""
        return

    def class_counts(self) -> ClassCounts:
        """Return the clips of each class."""
        counts = Counter(label for labels in self.labels for label in labels)
        return ClassCounts(tuple(counts[label] for label in range(len(self.class_names))), "clip")

    def fingerprint(self) -> str:
        """Return a hash of names, contents, labels, and of how clips are prepared."""
        folder, clips = self.clips.folder, self.clips.clips
        digest = hashlib.sha256(f"clips-1:{self.class_names}:{self.sample_rate}:{self.least}:{self.length}".encode())
        files = sorted({clip.name for clip in clips})
        sizes = [(name, (folder / name).stat().st_size if (folder / name).is_file() else -1) for name in files]
        held = dict(zip(files, contents(folder, sizes), strict=True))
        for clip, labels in zip(clips, self.labels, strict=True):
            line = f"{clip.name}\0{held[clip.name]}\0{labels}\0{clip.start}\0{clip.seconds}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


@dataclass(eq=False)
class SoundFilesModule(AudioModule):
    """Base of the DataModules of sound files: a subclass implements ``listed``.

    Args:
        root: the folder of the data.
        val_share: share of the training clips to hold out for validation, balanced by class, where there are none of
            their own.
        check: ``"whole"``: decode every file before the training; ``"header"``: read its beginning.
        keep_sounds: keep decoded and resampled clips in memory, in each worker; else they are decoded at each access.
        on_bad_sample: ``"skip"`` leaves out what cannot be used and says so; ``"error"`` stops.
    """

    root: Word
    _: KW_ONLY
    val_share: Share = 0.1
    check: Literal["whole", "header"] = "whole"
    keep_sounds: bool = False
    on_bad_sample: Literal["skip", "error"] = "skip"

    multilabel = False
    """Whether clips have any number of labels."""
    cut = False
    """Whether clips are parts of their files."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shares(self.val_share, None)
        self._looked: dict[str, ClipList] = {}

    @property
    def folder(self) -> Path:
        """The folder of the data."""
        return Path(self.root)

    @abstractmethod
    def listed(self, split: str) -> ClipList | None:
        """Return the clips of ``train``, ``val`` or ``test``; None where ``val`` or ``test`` have none of their own."""

    def names(self) -> tuple[str, ...] | None:
        """Return the classes in the order of their labels; None: those of the training clips, sorted."""
        return None

    @cached_property
    def _parts(self) -> dict[str, ClipList]:
        train, val, test = (self._usable(split) for split in (TRAIN, VAL, TEST))
        assert train is not None
        if val is None:
            train, val = self._held_out(train)
        return {TRAIN: train, VAL: val, TEST: val if test is None else test}

    def _usable(self, split: str) -> ClipList | None:
        found = self.listed(split)
        if found is None:
            return None
        found = found.looked_at(self.check == "whole", self.cut)
        bad = {why: names for why, names in found.left_out.items() if names}
        if bad and self.on_bad_sample == "error":
            why, names = next(iter(bad.items()))
            raise DataError(
                f"{found.source}: {printable(names[0])}: {printable(why)}; replace the file, or set "
                "data.on_bad_sample=skip"
            )
        if not found.clips:
            why = "; ".join(f"{len(names)} left out: {why}" for why, names in bad.items()) or "it names none"
            raise DataError(
                f"{found.source}: there is no sound file for the {SPLIT_WORDS[split]} set ({printable(why)})"
            )
        found.say()
        self._looked[split] = found
        return found

    def _held_out(self, listed: ClipList) -> tuple[ClipList, ClipList]:
        """Return the training and validation part of clips."""
        if len(listed.clips) < 2:
            raise DataError(f"{listed.source}: {len(listed.clips)} clips are too few to hold a share of them out")
        shares = {TRAIN: 1 - self.val_share, VAL: self.val_share}
        keys = [f"{clip.name}\0{clip.start}\0{number}" for number, clip in enumerate(listed.clips)]
        parts = hold_out(keys, [clip.labels for clip in listed.clips], shares, self.seed)
        train, val = (
            listed.take([clip for clip, part in zip(listed.clips, parts, strict=True) if part == name])
            for name in (TRAIN, VAL)
        )
        log.warning(
            "%s: data.val_share=%g held out by data.seed=%d, balanced by class: %d train, %d val",
            listed.source,
            self.val_share,
            self.seed,
            len(train.clips),
            len(val.clips),
        )
        return train, val

    @cached_property
    def _classes(self) -> tuple[str, ...]:
        """The classes, in the order of their labels: those of a trained task, of a list, or of the training clips."""
        if self._followed is not None:
            return self._followed.class_names
        given = self.names()
        if given is not None:
            return given
        parts = (self._parts[TRAIN], self._parts[VAL])
        found = sorted({label for part in parts for clip in part.clips for label in clip.labels})
        if len(found) < 2:
            raise DataError(
                f"{self._parts[TRAIN].source}: all clips are of one class, {found[0]!r}; there is nothing to tell"
            )
        return tuple(found)

    def build(self, split: str) -> ClipDataset:
        """Return the dataset of a split.

        Raises:
            DataError: it has a class that the training does not know.
        """
        clips, known = self._parts[split], set(self._classes)
        for clip in clips.clips:
            foreign = [label for label in clip.labels if label not in known]
            if foreign:
                raise DataError(
                    f"{clips.source}: {printable(clip.name)} of the {SPLIT_WORDS[split]} set is of class "
                    f"{foreign[0][:40]!r}, and the training knows {', '.join(self._classes[:8])}"
                )
        return ClipDataset(
            clips,
            self._classes,
            self.multilabel,
            self.sample_rate,
            self.example_samples,
            None if self.clip_samples is None else max(self.clip_samples, self.example_samples),
            split == TRAIN,
            self.seed,
            self.keep_sounds,
            self.on_bad_sample,
        )

    def unaugmented(self, split: str, prepared: bool) -> ClipDataset:
        """Return the whole clips of a split."""
        dataset: ClipDataset = self.dataset(split)
        return dataset.unaugmented()

    @property
    def spec(self) -> AudioSpec:
        """The classes, how many clips of each there are to train on, and the sample rate."""
        length = 0 if self.clip_samples is None else max(self.clip_samples, self.example_samples)
        return AudioSpec(
            class_names=self._classes,
            input_shape=(1, length),
            sample_rate=self.sample_rate,
            example_samples=self.example_samples,
            multilabel=self.multilabel,
            class_counts=self.dataset(TRAIN).class_counts().counts,
        )

    def tables(self) -> dict[str, Table]:
        """Return a row for each of the first files that are left out or odd."""
        rows = [
            {"set": split, "file": name, "fate": fate, "why": why}
            for split, listed in self._looked.items()
            for fate, found in (("left out", listed.left_out), ("taken", listed.odd))
            for why, names in found.items()
            for name in names
        ]
        return {"odd_sound_files": rows[:MOST_ROWS]} if rows else {}

    def rows_read(self) -> dict[str, dict[str, Any]]:
        """Return for each source the numbers of files read and used, and the reasons for the difference."""
        return {f"{listed.source} ({SPLIT_WORDS[split]})": listed.report() for split, listed in self._looked.items()}
