"""``data=audiofolder``: a folder of sound files for each class, as in ``train/bark/a.wav``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from pathlib import Path, PurePosixPath

from lab.data.folders import is_hidden
from lab.data.holdout import TEST, TRAIN, VAL
from lab.errors import DataError
from lab.ranges import Word
from lab.tasks.audio.data.clips import Clip, ClipList
from lab.tasks.audio.data.decoding import SOUND_SUFFIXES
from lab.tasks.audio.data.files import SoundFilesModule


def files_below(folder: Path) -> Iterator[str]:
    """Yield the names of all files below a folder, relative to it, in order; hidden ones are left out.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    yield from (name for name in names if not any(map(is_hidden, name.split("/"))))


def is_sound(name: str) -> bool:
    """Return whether a file may be a sound by its ending."""
    return PurePosixPath(name).suffix.lower() in SOUND_SUFFIXES


@dataclass(eq=False)
class AudioFolderModule(SoundFilesModule):
    """``data=audiofolder``: a folder for each class, in a folder for each split.

    Args:
        train: the folder of classes to train on, relative to ``root``.
        val: the one to validate on; None: ``val_share`` of the training clips.
        test: the one to test on; None: the validation clips.
    """

    train: Word = "train"
    _: KW_ONLY
    val: Word | None = None
    test: Word | None = None

    def listed(self, split: str) -> ClipList | None:
        """Return the clips of a split's folder.

        Raises:
            DataError: there is no such folder.
        """
        name = {TRAIN: self.train, VAL: self.val, TEST: self.test}[split]
        if name is None:
            return None
        folder = self.folder / name
        found = ClipList(folder, str(folder), [])
        for file in files_below(folder):
            if "/" not in file:
                found.left_out["in no class's folder"].append(file)
            elif not is_sound(file):
                found.left_out["no sound by its ending"].append(file)
            else:
                found.clips.append(Clip(file, (file.split("/")[0],)))
        return found
