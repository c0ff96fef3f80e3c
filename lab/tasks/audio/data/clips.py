"""Lists of labelled sounds, and which of them can be used.

Each file is looked at before the training, whole or at its header alone. What cannot be used is left out, what is odd
is taken as it is; both are counted by name.
"""

from __future__ import annotations

import copy
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lab.tasks.audio.data.decoding import SoundFileError, look, read_sound
from lab.text import printable

log = logging.getLogger(__name__)
MAX_NAMES = 5


@dataclass(frozen=True)
class Clip:
    """A labelled sound.

    Attributes:
        name: of its file, relative to the folder of the data.
        labels: the names of its classes.
        start: where it begins in the file, in seconds.
        seconds: how long it is; None: to the end of the file.
    """

    name: str
    labels: tuple[str, ...]
    start: float = 0.0
    seconds: float | None = None


@dataclass
class ClipList:
    """The clips of a source, before they are looked at.

    Attributes:
        folder: where the files are.
        source: what names them, for messages.
        clips: the clips.
        left_out: names of what the source has and is not taken, by reason.
        odd: names of what is taken, and is not as it should be, by reason.
    """

    folder: Path
    source: str
    clips: list[Clip]
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    odd: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def take(self, clips: Sequence[Clip]) -> ClipList:
        """Return some of the clips, without what was said of the others."""
        return ClipList(self.folder, self.source, list(clips))

    def looked_at(self, whole: bool, cut: bool) -> ClipList:
        """Return the clips whose files can be used, with what is wrong with the others.

        Args:
            whole: decode every file, instead of its header alone.
            cut: whether clips are parts of their files.
        """
        found = replace(self, clips=[], left_out=copy.deepcopy(self.left_out), odd=copy.deepcopy(self.odd))
        for clip in self.clips:
            try:
                odd = _look(self.folder / clip.name, clip, whole, cut)
            except SoundFileError as error:
                found.left_out[str(error)].append(clip.name)
                continue
            found.clips.append(clip)
            for what in odd:
                found.odd[what].append(clip.name)
        return found

    def report(self) -> dict[str, Any]:
        """Return the numbers of clips read, used and left out, by reason, and of odd ones."""
        left_out = {why: len(names) for why, names in self.left_out.items()}
        odd = {why: len(names) for why, names in self.odd.items()}
        return {
            "rows": len(self.clips) + sum(left_out.values()),
            "used": len(self.clips),
            "left_out": left_out,
            "odd": odd,
        }

    def say(self) -> None:
        """Log what is left out, and what is odd, with a few names."""
        for found, fate in ((self.left_out, "left out"), (self.odd, "taken as they are")):
            for why, names in found.items():
                more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
                shown = ", ".join(map(printable, names[:MAX_NAMES]))
                log.warning(
                    "%s: %d sound files %s: %s (%s%s)", self.source, len(names), fate, printable(why), shown, more
                )


def _look(path: Path, clip: Clip, whole: bool, cut: bool) -> list[str]:
    """Return what is odd about a file.

    Raises:
        SoundFileError: it cannot be used.
    """
    info = look(path)
    if cut and clip.start >= info.frames / info.sample_rate:
        raise SoundFileError("it ends before its clip begins")
    odd = ["shorter than its header says"] if info.cut_short else []
    if whole:
        mono = read_sound(path, info.sample_rate)
        if not len(mono):
            raise SoundFileError("it has no samples")
        if len(mono) < info.frames and not odd:
            odd.append("shorter than its header says")
        if not np.any(mono):
            odd.append("silent from start to end")
    return odd
