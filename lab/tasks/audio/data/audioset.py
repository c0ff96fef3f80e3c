"""``data=audioset``: clips of several labels each, as AudioSet lists them (Gemmeke et al., ICASSP 2017).

Its lists of segments (``balanced_train_segments.csv``, ``unbalanced_train_segments.csv``, ``eval_segments.csv``) have
lines of ``YTID, start_seconds, end_seconds, "label,label"`` under lines of comment; ``class_labels_indices.csv`` names
the labels. The sounds themselves are not distributed: a segment whose clip is not on the disk is counted and left out.
"""

from __future__ import annotations

import csv
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lab.data.holdout import TEST, TRAIN, VAL
from lab.data.text_files import read_text
from lab.errors import DataError
from lab.ranges import Word
from lab.tasks.audio.data.clips import Clip, ClipList
from lab.tasks.audio.data.esc50 import read_rows
from lab.tasks.audio.data.files import SoundFilesModule
from lab.tasks.audio.data.folder import files_below, is_sound


class Segment(NamedTuple):
    """A line of a list of segments: times in seconds, labels as identifiers (``/m/09x0r``)."""

    video: str
    start: float
    end: float
    labels: tuple[str, ...]


def read_segments(path: Path) -> list[Segment]:
    """Return the segments of a list.

    Raises:
        DataError: it is not there, or a line is none of a segment.
    """
    found = []
    for number, row in enumerate(csv.reader(read_text(path).splitlines(), skipinitialspace=True), start=1):
        if not row or row[0].startswith("#"):
            continue
        try:
            video, start, end, labels = row
            segment = Segment(video, float(start), float(end), tuple(filter(None, labels.split(","))))
        except ValueError:
            segment = Segment("", 0.0, 0.0, ())
        if not (segment.video and 0 <= segment.start < segment.end < 1e9 and segment.labels):
            raise DataError(
                f"{path}, line {number}: {','.join(row)[:60]!r} is no segment; a line has YTID, start_seconds, "
                'end_seconds, "label,label"'
            )
        found.append(segment)
    return found


@dataclass(eq=False)
class AudioSetModule(SoundFilesModule):
    """``data=audioset``: clips that lie on the disk under the identifiers of their videos.

    A clip of a segment is a file that is called ``YTID``, ``YYTID``, ``YTID_START`` or ``YTID_START_END`` (whole
    seconds or thousandths), with any ending of a sound, anywhere below ``clips``.

    Args:
        train: the list of segments to train on, relative to ``root``.
        val: the one to validate on; None: ``val_share`` of the training segments.
        test: the one to test on.
        labels: the list of classes.
        clips: the folder of sounds.
        whole_videos: files are whole videos, of which each segment is a part; else they are segments.
    """

    train: Word = "balanced_train_segments.csv"
    _: KW_ONLY
    val: Word | None = None
    test: Word | None = "eval_segments.csv"
    labels: Word = "class_labels_indices.csv"
    clips: Word = "clips"
    whole_videos: bool = False

    multilabel = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.cut = self.whole_videos

    @cached_property
    def _classes_by_id(self) -> dict[str, str]:
        rows = read_rows(self.folder / self.labels, ("index", "mid", "display_name"))
        return {row["mid"]: row["display_name"] for row in sorted(rows, key=lambda row: int(row["index"]))}

    def names(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their index."""
        return tuple(self._classes_by_id.values())

    @cached_property
    def _files(self) -> dict[str, str]:
        """The name of each sound file by its name without folder and ending."""
        return {PurePosixPath(name).stem: name for name in files_below(self.folder / self.clips) if is_sound(name)}

    def listed(self, split: str) -> ClipList | None:
        """Return the segments of a list that lie on the disk."""
        name = {TRAIN: self.train, VAL: self.val, TEST: self.test}[split]
        if name is None:
            return None
        path = self.folder / name
        found = ClipList(self.folder / self.clips, str(path), [])
        for segment in read_segments(path):
            file = next((self._files[stem] for stem in self._stems(segment) if stem in self._files), None)
            labels = [self._classes_by_id.get(label) for label in dict.fromkeys(segment.labels)]
            known = tuple(label for label in labels if label is not None)
            if file is None:
                found.left_out["its clip is not on the disk"].append(segment.video)
            elif not known:
                found.left_out[f"none of its labels is in {self.labels}"].append(segment.video)
            elif self.whole_videos:
                found.clips.append(Clip(file, known, segment.start, segment.end - segment.start))
            else:
                found.clips.append(Clip(file, known))
        return found

    def _stems(self, segment: Segment) -> list[str]:
        """Return how the file of a segment may be called."""
        video, start, end = segment.video, segment.start, segment.end
        if self.whole_videos:
            return [video, f"Y{video}"]
        times = [
            (f"{start:.0f}", f"{end:.0f}"),
            (f"{start * 1000:.0f}", f"{end * 1000:.0f}"),
            (f"{start:.3f}", f"{end:.3f}"),
        ]
        cut = [stem for first, last in times for stem in (f"{video}_{first}", f"{video}_{first}_{last}")]
        return [*cut, video, f"Y{video}"]
