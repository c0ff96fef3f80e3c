"""What all kinds of problem share: the description of a dataset, batches of images, datasets read by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, cast

import torch
from torch import Tensor

OutputsT = TypeVar("OutputsT")
TargetsT = TypeVar("TargetsT", bound="Rows")
TruthT = TypeVar("TruthT", bound="Rows")
Table = list[dict[str, Any]]
"""Rows of a table; each row is a mapping from column to value."""


def split_packed(counts: Sequence[int], rows: slice) -> slice:
    """Return the slice of a packed sequence that holds the items of some images.

    Args:
        counts: the number of items of each image; the items are packed one image after the other.
        rows: the images, consecutive.
    """
    first, last, _ = rows.indices(len(counts))
    return slice(sum(counts[:first]), sum(counts[:last]))


class Rows(Protocol):
    """The protocol of things that can be cut into consecutive samples."""

    def rows(self, chosen: slice) -> Any:
        """Return consecutive samples."""
        ...


class Movable:
    """A dataclass of tensors (and nested Movables) that moves to a device as a whole."""

    def _map(self, apply: Callable[[Tensor], Tensor]) -> Self:
        changes: dict[str, Any] = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changes[field.name] = apply(value)
            elif isinstance(value, Movable):
                changes[field.name] = value._map(apply)
        return replace(self, **changes)  # type: ignore[type-var]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Return a copy whose tensors live on ``device``."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Return a copy in page-locked host memory, as DataLoader's ``pin_memory`` asks for."""
        return self._map(lambda tensor: tensor.pin_memory())


@dataclass(frozen=True)
class DataSpec:
    """What a DataModule tells a task after ``setup``; the network is sized from it.

    Each kind of problem has a subclass in its own file, with further fields. Fields are strings, numbers and tuples of
    these, because checkpoints store them.

    Attributes:
        task: the kind of problem, equal to the ``task`` of the model's YAML.
        input_shape: the shape of a sample, ``(3, H, W)`` for images; 0 for a size that varies from sample to sample.
    """

    task: str
    input_shape: tuple[int, ...] = ()

    def net_arguments(self) -> dict[str, Any]:
        """Return the network's arguments that the data decides; a config may not set them."""
        return {}

    def describe(self) -> str:
        """Return a few words on what the data holds."""
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.net_arguments().items())

    def to_plain(self) -> dict[str, Any]:
        """Return the fields as plain values, for a checkpoint."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Rebuild a description from the fields that ``to_plain`` returned."""
        values: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in plain.items()}
        return cls(**values)


@dataclass(frozen=True)
class ClassSpec(DataSpec):
    """Data in which each sample, or each part of a sample, belongs to one of K classes.

    Attributes:
        class_names: the name of each label, in label order (K names).
    """

    class_names: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """K, the number of labels, without a label for "none of them"."""
        return len(self.class_names)

    def net_arguments(self) -> dict[str, Any]:
        """Return the number of classes."""
        return {"num_classes": self.num_classes}

    def describe(self) -> str:
        """Return the names of the classes."""
        return str(list(self.class_names))


RankedT = TypeVar("RankedT", bound="RankedBoxes")


@dataclass
class RankedBoxes(Movable):
    """The detections of one picture or frame, highest score first, not thresholded.

    Attributes:
        boxes: (n, D) float32; what the numbers are says the subclass.
        scores: (n,) float32 in 0..1.
        labels: (n,) int64 in 0..K-1.
        names: the class name of each detection.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def above(self, score: float) -> Self:
        """Return the detections with a score above ``score``."""
        count = int((self.scores > score).sum())
        return type(self)(self.boxes[:count], self.scores[:count], self.labels[:count], self.names[:count])


@dataclass
class BoxPredictions(Movable, Generic[RankedT]):
    """What a detector found in a batch: Q candidates for each sample, unordered, not thresholded.

    A detector that finds a number of its own in each sample fills up the shorter rows with boxes of score 0, which are
    not shown or written.

    Attributes:
        boxes: (B, Q, D) float32; what the numbers are says the subclass.
        scores: (B, Q) float32 in 0..1.
        labels: (B, Q) int64 in 0..K-1.
    """

    ranked: ClassVar[type[RankedBoxes]]

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def rows(self, chosen: Tensor | slice) -> Self:
        """Return the predictions of some of the samples."""
        return type(self)(self.boxes[chosen], self.scores[chosen], self.labels[chosen])

    def named(self, class_names: Sequence[str]) -> list[RankedT]:
        """Return the detections of each sample, highest score first, with the names of their classes."""
        found = []
        for boxes, scores, labels in zip(self.boxes, self.scores, self.labels, strict=True):
            order = scores.argsort(descending=True, stable=True)[: int((scores > 0).sum())]
            names = tuple(class_names[label] for label in labels[order].tolist())
            found.append(cast(RankedT, self.ranked(boxes[order], scores[order], labels[order], names)))
        return found


@dataclass
class RankedLabels(Movable):
    """What a sample was taken for, best first.

    Attributes:
        labels: (k,) int64 in 0..K-1.
        scores: (k,) float32 probabilities.
        names: the name of each label.
    """

    labels: Tensor
    scores: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


@dataclass
class ImageBatch(Movable, Generic[TargetsT, TruthT]):
    """A batch of images.

    Attributes:
        images: (B, 3, H, W) uint8 RGB, padded with zeros at the right and bottom. The task normalises on the device.
        padding_mask: (B, H, W) bool, True where padded; None when nothing is padded.
        targets: what the loss compares the outputs with.
        image_ids: (B,) int64.
        original_sizes: (B, 2) int64 (height, width) of the stored images.
        valid: (B,) bool, False for a sample that only pads the batch; metrics must not count it.
        truth: the annotations as stored, for evaluation; None in training.
        totals: the normalisers of the whole optimizer step (all ranks and accumulated micro-batches), as the
            architecture's ``totals`` names them; None outside of training, where the batch is not part of a step.
    """

    exact: ClassVar[bool] = True  # the images are integers: what is a float here is for losses and metrics

    images: Tensor
    padding_mask: Tensor | None
    targets: TargetsT
    image_ids: Tensor
    original_sizes: Tensor
    valid: Tensor
    truth: TruthT | None = None
    totals: Mapping[str, float] | None = None

    @property
    def num_samples(self) -> int:
        """B."""
        return len(self.images)

    def rows(self, chosen: slice) -> Self:
        """Return the part of the batch with some consecutive images. ``totals`` stay those of the whole step."""
        return replace(
            self,
            images=self.images[chosen],
            padding_mask=None if self.padding_mask is None else self.padding_mask[chosen],
            targets=self.targets.rows(chosen),
            image_ids=self.image_ids[chosen],
            original_sizes=self.original_sizes[chosen],
            valid=self.valid[chosen],
            truth=None if self.truth is None else self.truth.rows(chosen),
        )


@dataclass(frozen=True)
class Term:
    """A term of a loss as a sum over a batch, not divided yet, so that micro-batches and ranks can be added up.

    Attributes:
        sum: () a weighted sum; float32 or float64.
        normalizer: the name of the number to divide by, one of the keys of the architecture's ``totals``.
    """

    sum: Tensor
    normalizer: str


class KeyedDataset(Protocol):
    """A map-style dataset whose samples are a function of (seed, epoch, index), never of worker or rank."""

    def __len__(self) -> int:
        """Return the number of samples of an epoch."""
        ...

    def __getitem__(self, key: tuple[int, int]) -> Any:
        """Return the sample for ``(epoch, index)``."""
        ...

    @property
    def aspect_ratios(self) -> Sequence[float] | None:
        """Width / height of each image, to group images of similar shape into batches; None if all are equal."""
        ...
