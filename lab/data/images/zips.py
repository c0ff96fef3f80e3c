"""Images in a zip, read in place: nothing is unpacked to disk, and no name in it is used as a path.

Members are read whole and their checksum is compared. What cannot be read (encrypted, too large, a link, a damaged
one) is a problem of that image alone. Each process opens the file for itself.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from lab.data.caches import contents
from lab.data.folders import IMAGE_SUFFIXES, is_hidden, name_problem
from lab.data.images.annotations import tell_once
from lab.data.images.opening import ImageFileError
from lab.data.images.store import ImageStore
from lab.errors import DataError, closest

MOST_BYTES = 1 << 29
"""512 MiB: an image file that is larger is not read from an archive."""
ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz"})
_ENCRYPTED = 1
_MAX_NAMES = 5


class ZipStore(ImageStore):
    """The images of a zip, or of a folder in it. Folders that hold everything else alone are passed over.

    Args:
        archive: the file.
        inside: the folder in it; ``""`` for all.

    Raises:
        DataError: it is no zip, is cut, has no such folder, or no image.
    """

    def __init__(self, archive: Path, inside: str = "") -> None:
        self.archive, self.place = archive, archive / inside
        self._handle: tuple[int, zipfile.ZipFile] | None = None
        members = self._members()
        top = _top(members, inside, archive)
        found = {name.removeprefix(top): info for name, info in members.items() if name.startswith(top)}
        self._images = {name: info for name, info in sorted(found.items()) if is_image(name)}
        self._folders = sorted({name.split("/", 1)[0] for name in found if "/" in name})
        if not self._images:
            inner = [name for name in found if PurePosixPath(name).suffix.lower() in ARCHIVES]
            more = f"; archives in it are not opened ({_some(inner)}): unpack them" if inner else ""
            raise DataError(f"{self.place}: there is no image in it{more}")

    def names(self) -> list[str]:
        """Return the names of all images, sorted; hidden ones are left out."""
        return list(self._images)

    def folders(self) -> list[str]:
        """Return the names of the folders at the top, sorted, those without an image as well."""
        return self._folders

    def add_to(self, digest: hashlib._Hash) -> None:
        """Add the archive's content, and the names of its images, their sizes and checksums to a hash."""
        size = self.archive.stat().st_size
        digest.update(contents(self.archive.parent, [(self.archive.name, size)])[0].encode())
        for name, info in self._images.items():
            digest.update(f"{name}\0{info.file_size}\0{info.CRC}\n".encode("utf-8", "surrogateescape"))

    def source(self, name: str) -> bytes:
        """Return the content of an image.

        Raises:
            ImageFileError: it cannot be read.
        """
        info = self._images[name]
        if info.flag_bits & _ENCRYPTED:
            raise ImageFileError("encrypted: pack it without a password")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ImageFileError("a link, which is not followed in an archive")
        if info.file_size > MOST_BYTES:
            raise ImageFileError(f"{info.file_size:,} bytes when unpacked, more than the {MOST_BYTES:,} that are read")
        try:
            return self._zip().read(info)
        except NotImplementedError:
            raise ImageFileError("packed by a method that is not read: pack it by deflate, or store it") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
            words = " ".join(str(error).split())[:120]
            raise ImageFileError(f"damaged in the archive: {words or type(error).__name__}") from error

    def _zip(self) -> zipfile.ZipFile:
        """Return this process's own handle: a forked one would share its position with that of the parent."""
        if self._handle is None or self._handle[0] != os.getpid():
            try:
                self._handle = os.getpid(), zipfile.ZipFile(self.archive)
            except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
                why = getattr(error, "strerror", None) or error
                raise DataError(f"{self.archive}: it cannot be read as a zip, or it is cut: {why}") from error
        return self._handle[1]

    def _members(self) -> dict[str, zipfile.ZipInfo]:
        """Return the members that have a usable name, each once; what is left out is said once."""
        members = [info for info in self._zip().infolist() if not _hidden(info.filename)]
        bad = [info.filename for info in members if name_problem(info.filename.rstrip("/"))]
        counts = Counter(info.filename for info in members if not info.is_dir())
        twice = [name for name, count in counts.items() if count > 1]
        if bad:
            tell_once(f"{self.archive}: names that lead out of it or are none, left out: {len(bad)} ({_some(bad)})")
        if twice:
            tell_once(f"{self.archive}: names that it holds several times, the last taken: {_some(twice)}")
        return {info.filename: info for info in members if not name_problem(info.filename.rstrip("/"))}

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_handle": None}


def is_image(name: str) -> bool:
    """Return whether a member is called like an image."""
    return not name.endswith("/") and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _hidden(name: str) -> bool:
    return any(is_hidden(part) for part in name.split("/") if part not in ("..", "."))


def _top(names: Iterable[str], inside: str, archive: Path) -> str:
    """Return the folder that is read, with a slash, or ``""``.

    Raises:
        DataError: the archive has no such folder.
    """
    everything = [PurePosixPath(name).parts[:-1] for name in names if is_image(name)]
    alone: tuple[str, ...] = ()
    while any(len(parts) > len(alone) + 1 for parts in everything):
        if len(parts := {parts[: len(alone) + 1] for parts in everything}) > 1:
            break
        alone = parts.pop()
    wanted = PurePosixPath(inside).parts
    if not wanted:
        return "".join(f"{part}/" for part in alone)
    for above in range(len(alone) + 1):
        whole = (*alone[:above], *wanted)
        if any(parts[: len(whole)] == whole for parts in everything):
            return "".join(f"{part}/" for part in whole)
    tops = sorted({parts[len(alone)] for parts in everything if len(parts) > len(alone)})
    raise DataError(
        f"{archive}: there is no folder {inside!r} in it, it has {_some(tops) or 'none'}{closest(inside, tops)}"
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more
