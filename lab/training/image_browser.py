"""What the browsers of images share: their sizes, images of one colour, copies, files that cannot be decoded."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image
from torch import Tensor

from lab.report.canvas import as_picture
from lab.report.sanity import DAMAGED, OUTLIERS, SplitLook
from lab.training.browsing import Browser, DataIndex

LONGEST_ASPECT = 4.0
"""Of width / height or height / width: beyond it an image is an outlier."""
FLAT = 2
"""Of 255: an image whose channels span at most so many levels is of one colour."""
UNDECODED = "cannot be decoded"


class ImageBrowser(Browser):
    """Reads images one by one; a subclass says what stands in them."""

    unit = "image"

    @abstractmethod
    def count_sample(self, look: SplitLook, sample: Any, name: str) -> str:
        """Count what stands in an image, and return its annotation as a text: copies should have the same."""

    def watch(self, look: SplitLook) -> None:
        """Say what else is looked for."""

    @property
    def known_classes(self) -> list[str]:
        """The classes that can occur, whether they do or not."""
        return list(getattr(self.spec, "class_names", ()))

    def look(self, look: SplitLook, indices: Sequence[int], index: DataIndex) -> Iterator[None]:
        """Read images as they are stored."""
        dataset = self.stored(look.split)
        look.watch(OUTLIERS, "images of one colour", f"longer than {LONGEST_ASPECT:g} : 1")
        if hasattr(dataset, "bad_reads"):
            look.watch(DAMAGED, UNDECODED)
        else:
            look.skipped.setdefault(DAMAGED, "the images were generated, or decoded at once")
        self.watch(look)
        for check, problems in zip((DAMAGED, OUTLIERS), getattr(dataset, "problems", lambda: ())(), strict=False):
            for what, names in problems.items():
                look.watch(check, what)
                for name in names:
                    look.find(what, name)
        for number in indices:
            bad = len(getattr(dataset, "bad_reads", ()))
            sample, name = dataset[0, number], self.name(look.split, number)
            if len(getattr(dataset, "bad_reads", ())) > bad:
                look.find(UNDECODED, dataset.bad_reads[-1])
            else:
                self._count(look, number, sample, name, index)
            yield
        if look.classes is not None:
            look.classes = {**dict.fromkeys(self.known_classes, 0), **look.classes}

    def _count(self, look: SplitLook, number: int, sample: Any, name: str, index: DataIndex) -> None:
        image: Tensor = sample.image
        height, width = image.shape[-2:]
        look.pair("width x height", width, height)
        look.number("width", width)
        look.number("height", height)
        look.tally("width x height", f"{width}x{height}")
        if max(width / height, height / width) > LONGEST_ASPECT:
            look.find(f"longer than {LONGEST_ASPECT:g} : 1", f"{name} ({width}x{height})")
        spans = image.flatten(1).amax(1).int() - image.flatten(1).amin(1).int()
        if int(spans.max()) <= FLAT:
            look.find("images of one colour", name)
        label = self.count_sample(look, sample, name)
        content = f"{tuple(image.shape)}".encode() + image.contiguous().numpy().tobytes()
        index.add(look.split, number, content, label, as_picture(image))

    def name(self, split: str, index: int) -> str:
        """Return the name of an image's file; of generated images their number."""
        dataset = self.stored(split)
        named = getattr(dataset, "image_name", None)
        return f"{split} {index}" if named is None else f"{split}: {named(index)}"

    def stored(self, split: str) -> Any:
        """Return the images of a split as they are stored, always the same object."""
        if split not in self._stored:
            self._stored[split] = super().stored(split)
        return self._stored[split]

    @property
    def _stored(self) -> dict[str, Any]:
        found: dict[str, Any] = self.__dict__.setdefault("_stored_datasets", {})
        return found


def enlarged(image: Tensor | Image.Image, side: int) -> tuple[Image.Image, int]:
    """Return a picture enlarged by a whole factor towards a side, and the factor."""
    picture = as_picture(image)
    factor = max(1, side // max(picture.size))
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    return picture, factor
