"""``data=fsdd``: the Free Spoken Digit Dataset, files ``DIGIT_SPEAKER_TAKE.wav``.

Its own split: takes 0 to 4 are the test, the others are for training. ``held_out_speaker`` tests on all takes of one
speaker, of whom nothing is trained on.
"""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass

from lab.data.holdout import TEST, TRAIN, VAL
from lab.errors import ConfigError, closest
from lab.ranges import Word
from lab.tasks.audio.data.clips import Clip, ClipList
from lab.tasks.audio.data.files import SoundFilesModule
from lab.tasks.audio.data.folder import files_below

FIRST_TRAINING_TAKE = 5
_NAME = re.compile(r"(?:.*/)?(\d)_([^_/]+)_(\d+)\.wav", re.IGNORECASE)


@dataclass(eq=False)
class FSDDModule(SoundFilesModule):
    """``data=fsdd``: spoken digits.

    Args:
        held_out_speaker: the speaker to test on; None: the data's own split, takes 0 to 4 of all speakers.

    Raises:
        ConfigError: there is no such speaker.
    """

    _: KW_ONLY
    held_out_speaker: Word | None = None

    def listed(self, split: str) -> ClipList | None:
        """Return the recordings to train or to test on."""
        if split == VAL:
            return None
        folder = self.folder / "recordings"
        folder = folder if folder.is_dir() else self.folder
        found, speakers = ClipList(folder, str(folder), []), set()
        for name in files_below(folder):
            parts = _NAME.fullmatch(name)
            if parts is None:
                found.left_out["its name is not DIGIT_SPEAKER_TAKE.wav"].append(name)
                continue
            digit, speaker, take = parts.groups()
            speakers.add(speaker)
            if self._is_test(speaker, int(take)) == (split == TEST):
                found.clips.append(Clip(name, (digit,)))
        if self.held_out_speaker is not None and self.held_out_speaker not in speakers:
            raise ConfigError(
                f"data.held_out_speaker={self.held_out_speaker}: there is no such speaker"
                f"{closest(self.held_out_speaker, sorted(speakers)) or '; ' + ', '.join(sorted(speakers))}"
            )
        if split != TRAIN:
            found.left_out.clear()  # they are said of the training set
        return found

    def _is_test(self, speaker: str, take: int) -> bool:
        return take < FIRST_TRAINING_TAKE if self.held_out_speaker is None else speaker == self.held_out_speaker
