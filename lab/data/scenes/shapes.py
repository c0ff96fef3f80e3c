"""Generated scenes: coloured shapes that overlap, on textured backgrounds. Each kind of problem makes its own samples.

The embedded benchmark: it needs no files, yet has the difficulties of real detection. Classes differ only by their
outline: colour, size and place have the same distribution for each. A sample has the same bytes on every platform (see
``lab.data.scenes.drawing``). ``tests/unit/data/scenes/test_shapes.py`` pins its statistics and some hashes: a change of
these is a change of the benchmark, and must raise ``VERSION``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lab.checking import check_choice, check_range
from lab.data.scenes.drawing import Stream, background, grain, mix, outline, paint
from lab.data.scenes.placing import Placed, place, require_room, sides_within
from lab.errors import ConfigError, DataError

VERSION = 1
CLASS_NAMES = ("ellipse", "rectangle", "triangle", "cross")
SPLITS = ("train", "val", "test")

T = TypeVar("T", bound=np.generic)

_SIZE_TRIES, _COLOUR_TRIES = 10, 16


@dataclass
class _Shape(Placed):
    """One shape of a scene: class, turn by quarters (triangles only), colour."""

    label: int = 0
    turn: int = 0
    colour: tuple[int, int, int] = (0, 0, 0)

    @property
    def outline(self) -> npt.NDArray[np.bool_]:
        turn = self.turn if CLASS_NAMES[self.label] == "triangle" else 0
        return outline(CLASS_NAMES[self.label], self.width, self.height, turn)

    def patch(self, image: npt.NDArray[T]) -> npt.NDArray[T]:
        """Return the view of the last two axes of ``image`` that the shape's box covers."""
        return image[..., self.y : self.y + self.height, self.x : self.x + self.width]


@dataclass
class ShapesScene:
    """An image and the shapes in it.

    Attributes:
        image: (3, h, w) uint8 RGB.
        boxes: (n, 4) float32 xyxy pixels.
        labels: (n,) int64 in 0..K-1.
        index: of the scene in its split.
        masks: (n, h, w) bool, the visible pixels of each shape; None where nobody asks for them.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    index: int
    masks: Tensor | None

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        return self.image.shape[-2], self.image.shape[-1]


class ShapesDataset(torch.utils.data.Dataset[ShapesScene]):
    """Scenes of 1 to ``max_shapes`` shapes, each a pure function of (seed, split, epoch, index).

    Training samples differ from epoch to epoch, so that the data never end; ``val`` and ``test`` ignore the epoch.
    Within one seed the streams of the three splits start in disjoint ranges (``sample_seed``): no test image can occur
    in training.

    A box is the tight bounds of all pixels of a shape's outline, whether or not another shape hides some of them;
    shapes lie inside the image, so nothing is clipped. Shapes are painted one over the other in their order. At least
    half of every box is left uncovered. ``masks`` hold visible pixels only.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        num_samples: samples in an epoch; by default 512 for val and test.
        image_size: height and width in pixels.
        min_shapes: fewest shapes in an image; the number is drawn uniformly.
        max_shapes: most shapes in an image.
        min_side: shortest side of a box in pixels. Pairs (width, height) are drawn uniformly from all those
            within the range whose longer side is at most 1.5 times the shorter.
        max_side: longest side of a box in pixels.
        max_overlap: largest IoU between two boxes of an image.
        seed: chooses another set of scenes, in every split.
        masks: whether training scenes carry masks; those of an evaluation do in any case.

    Raises:
        ConfigError: for a split, range or size that cannot be generated, or shapes that do not fit into the image.
    """

    class_names = CLASS_NAMES

    def __init__(
        self,
        split: str,
        num_samples: int = 512,
        image_size: int = 64,
        min_shapes: int = 1,
        max_shapes: int = 3,
        min_side: int = 10,
        max_side: int = 32,
        max_overlap: float = 0.5,
        seed: int = 0,
        masks: bool = False,
    ) -> None:
        """Check the options and list the pairs of sides."""
        check_choice("shapes: split", split, SPLITS)
        check_range("shapes: num_samples", num_samples, least=1, most=(1 << 32) - 1)
        if not 0 <= min_shapes <= max_shapes <= 254:
            raise ConfigError(
                f"shapes: 0 <= min_shapes ({min_shapes}) <= max_shapes ({max_shapes}) <= 254 does not hold"
            )
        if not 3 <= min_side <= max_side <= image_size <= 1024:
            raise ConfigError(
                f"shapes: 3 <= min_side ({min_side}) <= max_side ({max_side}) <= image_size ({image_size}) <= 1024 "
                "does not hold"
            )
        check_range("shapes: max_overlap", max_overlap, least=0, most=1)
        check_range("shapes: seed", seed, least=0, most=(1 << 64) - 2)
        self.split, self.num_samples, self.image_size = split, num_samples, image_size
        self.min_shapes, self.max_shapes, self.max_overlap = min_shapes, max_shapes, max_overlap
        self.min_side, self.max_side = min_side, max_side
        self.seed, self.masks = seed, masks
        self._sides = sides_within(min_side, max_side)
        require_room(image_size, max_shapes, min_side, max_side, max_overlap)

    def __len__(self) -> int:
        """Return the number of samples of an epoch."""
        return self.num_samples

    @property
    def evaluated(self) -> bool:
        """Whether the scenes are for an evaluation: those of ``val`` and ``test``."""
        return self.split != "train"

    @property
    def aspect_ratios(self) -> None:
        """None: all images are square."""
        return None

    def fingerprint(self) -> str:
        """Return everything that the samples depend on, in one line."""
        return (
            f"shapes-v{VERSION}:split={self.split},num_samples={self.num_samples},image_size={self.image_size},"
            f"shapes={self.min_shapes}..{self.max_shapes},sides={self.min_side}..{self.max_side},"
            f"max_overlap={self.max_overlap!r},seed={self.seed},masks={self.masks}"
        )

    def sample_seed(self, epoch: int, index: int) -> int:
        """Return the sample's number in 0..2**64-1, different for each (split, epoch, index): bits 2 + 30 + 32."""
        if not 0 <= index < self.num_samples:
            raise IndexError(f"shapes: index {index} is outside of 0..{self.num_samples - 1}")
        if not 0 <= epoch < 1 << 30:
            raise IndexError(f"shapes: epoch {epoch} is outside of 0..{(1 << 30) - 1}")
        return SPLITS.index(self.split) << 62 | (epoch if self.split == "train" else 0) << 32 | index

    def __getitem__(self, key: tuple[int, int]) -> ShapesScene:
        """Return the scene for ``(epoch, index)``."""
        stream, count = self._begin(key)
        shapes = [self._draw_shape(stream) for _ in range(count)]
        self._place(shapes, stream)
        base = stream.triple(64, 128)
        _colour(shapes, base, stream)
        image = background(self.image_size, base, stream)
        for shape in shapes:
            paint(shape.patch(image), shape.outline, shape.colour, stream)
        return self._scene(grain(image, stream), shapes, key[1])

    def first_label(self, key: tuple[int, int]) -> int:
        """Return the label of the first shape for ``(epoch, index)``, without drawing the scene.

        Raises:
            ConfigError: a scene may have no shape.
        """
        if not self.min_shapes:
            raise ConfigError(f"shapes: scenes of {self.min_shapes} to {self.max_shapes} shapes may have no first one")
        return self._begin(key)[0].below(len(CLASS_NAMES))

    def counts(self) -> list[int]:
        """Return the number of shapes of each of the first 10,000 scenes, without drawing them."""
        return [self._begin((0, index))[1] for index in range(min(len(self), 10_000))]

    def _begin(self, key: tuple[int, int]) -> tuple[Stream, int]:
        """Return the random numbers of a scene, and how many shapes it has."""
        # For a fixed seed this is a bijection of the sample's number, so no two samples start with the same state.
        stream = Stream(mix(mix(self.sample_seed(*key)) ^ mix(self.seed + 1)))
        return stream, self.min_shapes + stream.below(self.max_shapes - self.min_shapes + 1)

    def _draw_shape(self, stream: Stream) -> _Shape:
        label, turn = stream.below(len(CLASS_NAMES)), stream.below(4)
        return _Shape(*self._draw_sides(stream), label=label, turn=turn)

    def _draw_sides(self, stream: Stream) -> tuple[int, int]:
        return self._sides[stream.below(len(self._sides))]

    def _place(self, shapes: list[_Shape], stream: Stream) -> None:
        """Draw corners for the shapes.

        Outlines do not depend on what fits, and sizes hardly: they are drawn again only where they cannot be placed,
        which ``require_room`` keeps below one scene in some thousands.
        """
        for _ in range(_SIZE_TRIES):
            if place(shapes, self.image_size, self.max_overlap, stream):
                return
            for shape in shapes:
                shape.width, shape.height = self._draw_sides(stream)
        raise DataError(
            f"shapes: cannot place {len(shapes)} shapes of up to {self.max_side} px in {self.image_size} px: "
            "lower max_shapes or max_side, or raise image_size or max_overlap"
        )

    def _scene(self, image: npt.NDArray[np.uint8], shapes: list[_Shape], index: int) -> ShapesScene:
        # Via numpy: torch.tensor takes ten times as long for a short list.
        corners = np.array([(s.x, s.y, s.x + s.width, s.y + s.height) for s in shapes], dtype=np.float32)
        labels = np.array([shape.label for shape in shapes], dtype=np.int64)
        return ShapesScene(
            image=torch.from_numpy(image),
            boxes=torch.from_numpy(corners.reshape(-1, 4)),
            labels=torch.from_numpy(labels),
            index=index,
            masks=_visible(shapes, self.image_size) if self.evaluated or self.masks else None,
        )


def semantic_mask(masks: Tensor, labels: Tensor) -> Tensor:
    """Return the class of each pixel from visible instance masks.

    Args:
        masks: (n, h, w) bool, no pixel in two of them.
        labels: (n,) int64 in 0..K-1.

    Returns:
        (h, w) int64: 0 for the background, label + 1 elsewhere.
    """
    return (masks.to(torch.int64) * (labels + 1)[:, None, None]).sum(dim=0)


def _colour(shapes: list[_Shape], base: tuple[int, int, int], stream: Stream) -> None:
    """Give each shape a random colour that stands out from the background and from the other shapes."""
    for number, shape in enumerate(shapes):
        for _ in range(_COLOUR_TRIES):
            red, green, blue = shape.colour = stream.triple(28, 200)
            others = ((base, 140), *((other.colour, 100) for other in shapes[:number]))
            if all(abs(red - r) + abs(green - g) + abs(blue - b) >= least for (r, g, b), least in others):
                break


def _visible(shapes: list[_Shape], size: int) -> Tensor:
    """Return (n, size, size) bool: each shape without the pixels that later shapes hide."""
    order = np.full((size, size), 255, dtype=np.uint8)
    for number, shape in enumerate(shapes):
        shape.patch(order)[shape.outline] = number
    return torch.from_numpy(order == np.arange(len(shapes), dtype=np.uint8)[:, None, None])
