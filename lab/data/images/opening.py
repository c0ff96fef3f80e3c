"""Opens image files and converts them to RGB; no other module opens image files.

- Only ``FORMATS`` are opened, whatever the file's name: some of Pillow's other readers start programs.
- At most ``MAX_PIXELS`` are decoded; the header says how many an image has.
- An image is turned upright as its EXIF orientation says, in training, evaluation and prediction. But if its annotation
  states the size before turning, its boxes are in those pixels, and the image is not turned.
- 16-bit grey is divided by 257, so that 0 is black and 65535 white. Alpha is dropped, without blending. CMYK, YCbCr,
  HSV and palettes are converted without their colour profiles. 32-bit and float pixels, which have no defined white,
  and LAB are refused by name.
- From a file with several pictures the first is read.
"""

from __future__ import annotations

import functools
import io
import re
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image
    from torch import Tensor

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
MAX_PIXELS = 178_956_970  # Pillow's own limit: 537 MB as RGB
UPRIGHT = 1
INVERSE = {6: 8, 8: 6}  # the other orientations undo themselves
REFUSED_MODES = {
    "I": "32-bit whole numbers",
    "F": "floating-point numbers",
    "LAB": "the colours of LAB",
}
"""Modes without a unique conversion to RGB, and a name for their pixels."""

_ORIENTATION = 0x0112
_WIDTH, _HEIGHT, _BITS, PHOTOMETRIC = 256, 257, 258, 262  # tags of TIFF
_TOO_MANY = "{:,} pixels, more than the {:,} that are read; make it smaller or cut it into tiles"
_STARTS = (
    (b"%!PS", "PostScript, which is a program: it is not opened"),
    (b"\xc5\xd0\xd3\xc6", "PostScript, which is a program: it is not opened"),
    (b"version https://git-lfs", "a pointer of Git LFS in place of the image: run git lfs pull"),
)


ImageSource = Path | bytes
"""An image file, or the content of one that lies in an archive or a table."""


class ImageFileError(OSError):
    """An image file cannot be read. The message says why in a few words, without the file's name."""


class ImageHeader(NamedTuple):
    """The header of an image file, read without decoding the pixels.

    Attributes:
        size: (height, width) after the EXIF orientation is applied.
        stored: (height, width) before it is applied.
        mode: Pillow's name of the pixel format.
        format: Pillow's name of the format.
        problem: why the file cannot be read as an image, or ``""``.
    """

    size: tuple[int, int]
    stored: tuple[int, int]
    mode: str
    format: str
    problem: str


def read_image_header(source: ImageSource) -> ImageHeader:
    """Return the header of an image file. A bad file raises nothing; ``problem`` says what is wrong."""
    try:
        with open_image(source) as image:
            stored, turn = stored_size(image), orientation(image)
            size = (stored[1], stored[0]) if turn >= 5 else stored
            return ImageHeader(size, stored, image.mode, image.format or "", mode_problem(image))
    except ImageFileError as error:
        return ImageHeader((0, 0), (0, 0), "", "", str(error))


def read_image(
    source: ImageSource, size: tuple[int, int] | None = None, at_least: tuple[int, int] | None = None
) -> Image:
    """Return the pixels of an image file in RGB, upright.

    Args:
        source: the file, or its content.
        size: (height, width) that its annotation states; None for that of the upright image.
        at_least: (height, width) that suffices: a JPEG may then be decoded at a half, a quarter or an eighth of its
            size (rounded up), which is faster; None for all pixels.

    Raises:
        ImageFileError: the file cannot be read.
    """
    with open_image(source) as image:
        return decoded(image, size, at_least)


def decoded(image: Image, size: tuple[int, int] | None = None, at_least: tuple[int, int] | None = None) -> Image:
    """Return the pixels of an image that ``open_image`` has opened, within its context; see ``read_image``."""
    turn, stored = orientation(image), stored_size(image)
    if at_least is not None and turn < 5:
        image.draft("RGB", (at_least[1], at_least[0]))  # does nothing to other formats
    as_stored = size == stored and turn >= 5 and stored[0] != stored[1]
    pixels = to_rgb(image)  # this decodes, and turns a TIFF
    if image.format == "TIFF":
        pixels = upright(pixels, INVERSE.get(turn, turn)) if as_stored else pixels
    elif not as_stored:
        pixels = upright(pixels, turn)
    pixels.info = {}  # otherwise a transparent colour would be saved with pictures drawn on it
    return pixels


def jpeg_pixels(image: Image) -> Tensor | None:
    """Return the pixels of an opened JPEG, decoded by torchvision: the same as Pillow's, in two thirds of the time.

    Args:
        image: as ``open_image`` gives it.

    Returns:
        (3, h, w) uint8, channels last in memory. None for what Pillow has to read: another format, four inks, a picture
        that is to be turned, a file that torchvision does not decode (Pillow says what is wrong, or reads more of it),
        and where torchvision was built without a decoder.
    """
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    if image.format != "JPEG" or image.mode not in ("RGB", "L") or orientation(image) != UPRIGHT:
        return None
    file: Any = image.fp  # type: ignore[attr-defined]
    file.seek(0)
    try:
        pixels: Tensor = decode_jpeg(torch.frombuffer(bytearray(file.read()), dtype=torch.uint8), ImageReadMode.RGB)
    except (RuntimeError, AttributeError):
        return None
    return pixels if pixels.shape[1:] == (image.height, image.width) else None


@contextmanager
def open_image(source: ImageSource) -> Iterator[Image]:
    """Open an image file without decoding it. This is the only place in ``lab`` that opens image files.

    Args:
        source: the file, or its content.

    Raises:
        ImageFileError: the file cannot be opened, or cannot be decoded inside of the ``with`` block.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's: what matters is raised or reported here
            if isinstance(source, Path):
                check_file(source)
            with Image.open(_file(source), formats=_known_formats()) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ImageFileError(_TOO_MANY.format(image.width * image.height, MAX_PIXELS))
                if image.format == "TIFF":
                    image.filename = ""  # else Pillow 13 memory-maps grey images and reads wrong rows of turned ones
                yield image
    except ImageFileError:
        raise
    except Image.DecompressionBombError as error:
        found = re.search(r"\d+", str(error))
        raise ImageFileError(_TOO_MANY.format(int(found[0]) if found else 0, MAX_PIXELS)) from error
    except UnidentifiedImageError as error:
        raise ImageFileError(_what_it_is(source)) from error
    except _raised_by_pillow() as error:
        words = " ".join(str(error).split())[:120]
        raise ImageFileError(f"damaged: {words or type(error).__name__}") from error


def check_file(path: Path) -> None:
    """Refuse a path that is not a regular file: missing, a folder, a pipe, a broken or circular link.

    Raises:
        ImageFileError: it is not a regular file.
    """
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        raise ImageFileError("a link to a file that is missing" if path.is_symlink() else "missing") from None
    except (OSError, ValueError) as error:  # a loop of links, no permission; a zero byte in the name
        raise ImageFileError(f"cannot be opened: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(kind):
        raise ImageFileError("a folder" if stat.S_ISDIR(kind) else "no regular file")


def stored_size(image: Any) -> tuple[int, int]:
    """Return (height, width) of an opened image before its orientation is applied."""
    if image.format != "TIFF":
        return image.height, image.width
    tags = image.tag_v2
    return int(tags[_HEIGHT]), int(tags[_WIDTH])  # Pillow's own size is turned already, in newer versions


def orientation(image: Image) -> int:
    """Return the EXIF orientation of an opened image, 1 to 8; 1 if it is invalid or cannot be read.

    Pillow decodes a whole PNG to find EXIF data after its pixels; that is avoided if nothing follows the pixels.
    """
    from PIL.Image import Image as Base

    try:
        whole = image.format != "PNG" or "exif" in image.info or _text_after_pixels(image)
        value = (image.getexif() if whole else Base.getexif(image)).get(_ORIENTATION, UPRIGHT)
    except _raised_by_pillow():
        return UPRIGHT
    return value if isinstance(value, int) and 2 <= value <= 8 else UPRIGHT


def upright(image: Image, turn: int) -> Image:
    """Return an image turned as an EXIF orientation from 1 to 8 asks."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[turn]) if turn in turns else image


def mode_problem(image: Image) -> str:
    """Return why pixels of this mode are not read, or ``""``."""
    if image.mode == "I" and image.format in ("PNG", "PPM"):  # 16 bits, which older Pillows hold in 32
        return ""
    what = REFUSED_MODES.get(image.mode)
    return f"of mode {image.mode}, {what}: save it with 8 or 16 bits a channel, grey or RGB" if what else ""


def to_rgb(image: Image) -> Image:
    """Return an image in RGB, with its own memory.

    Raises:
        ImageFileError: its mode has no unique conversion to RGB.
    """
    from PIL import Image as pil

    if problem := mode_problem(image):
        raise ImageFileError(problem)
    if image.mode.startswith("I"):
        return pil.fromarray(_grey_bytes(image)).convert("RGB")
    premultiplied = {"RGBa": "RGBA", "La": "LA"}.get(image.mode)
    return (image if premultiplied is None else image.convert(premultiplied)).convert("RGB")


def _grey_bytes(image: Image) -> npt.NDArray[np.uint8]:
    """Return 16-bit grey as 8 bits, (h, w): rounded to the nearest of 256 levels between black and white."""
    import numpy as np

    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    white = 4095 if tuple(tags.get(_BITS, ())) == (12,) else 65535
    levels = ((np.arange(65536).clip(max=white) * 255 + white // 2) // white).astype(np.uint8)
    if tags.get(PHOTOMETRIC) == 0:  # "white is zero", which Pillow leaves as it is
        levels = 255 - levels
    pixels = np.asarray(image)
    return levels[pixels if pixels.dtype.itemsize == 2 else pixels.clip(0, 65535)]


@functools.cache
def _known_formats() -> tuple[str, ...]:
    """Return ``FORMATS`` without those that this build of Pillow lacks."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _raised_by_pillow() -> tuple[type[Exception], ...]:
    """Return the exceptions that Pillow's readers raise for damaged files, found with mutated files (tests/hostile)."""
    found = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, TypeError, LookupError)
    return (*found, AttributeError, ArithmeticError, MemoryError, RuntimeError, AssertionError)


def _text_after_pixels(image: Any) -> bool:
    """Return whether a PNG has EXIF or text after its first pixels, by reading the headers of its chunks."""
    with Path(image.filename).open("rb") if image.filename else io.BytesIO(image.fp.getvalue()) as file:
        file.seek(8)
        pixels = False
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if pixels and kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
                return True
            pixels = pixels or kind == b"IDAT"
            file.seek(length + 4, 1)
    return False


def _file(source: ImageSource) -> Path | io.BytesIO:
    return source if isinstance(source, Path) else io.BytesIO(source)


def _what_it_is(source: ImageSource) -> str:
    """Return in words what a file is that no reader can open."""
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
        start = file.read(32)
    if not start:
        return "empty"
    for beginning, what in _STARTS:
        if start.startswith(beginning):
            return what
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        return "HEIC, which is not read: save it as JPEG"
    return f"not an image of a format that is read ({', '.join(FORMATS)})"
