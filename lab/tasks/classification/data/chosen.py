"""Which of a training set's images are trained on: a long tail of classes, a few labels of each; and how often."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
import numpy.typing as npt

from lab.data.holdout import hold_out
from lab.data.images.annotations import tell_once
from lab.errors import DataError
from lab.ranges import Imbalance, Positive, Seed

_MAX_NAMES = 12


@dataclass(eq=False, init=False)  # a base that only adds fields
class Chosen:
    """Arguments that DataModules of labelled images share: which of them are trained on, and how often.

    Args:
        imbalance: train on a long tail: so many times more images of the first class than of the last; None: on all.
        num_labels: train on the labels of so many images only, of each class its share, one at least; None: on all.
        label_seed: of that choice.
        class_balanced: draw each class equally often, with replacement, instead of each image once in an epoch.
    """

    _: KW_ONLY
    imbalance: Imbalance | None = None
    num_labels: Positive | None = None
    label_seed: Seed = 0
    class_balanced: bool = False


def one_class(counts: Sequence[int], names: Sequence[str]) -> str:
    """Return what is wrong if fewer than two classes have images to train on; ``""`` if nothing is."""
    present = [repr(name) for name, count in zip(names, counts, strict=True) if count]
    return (
        "" if len(present) > 1 else f"all images are of one class, {''.join(present)}: there is nothing to tell apart"
    )


def check_classes_present(counts: Sequence[int], names: Sequence[str], source: str) -> None:
    """Say which classes have no image to train on.

    Args:
        counts: the usable images of each class.
        names: of the classes.
        source: for messages.

    Raises:
        DataError: only one class has images.
    """
    if problem := one_class(counts, names):
        raise DataError(f"{source}: {problem}")
    if empty := [name for name, count in zip(names, counts, strict=True) if not count]:
        more = f" and {len(empty) - _MAX_NAMES} more" if len(empty) > _MAX_NAMES else ""
        listed = ", ".join(empty[:_MAX_NAMES])
        tell_once(f"{source}: no image to train on of {len(empty)} of {len(names)} classes: {listed}{more}")


def balanced_weights(labels: npt.NDArray[np.int64]) -> list[float]:
    """Return the chance of each image under which all classes are equally frequent."""
    counts = np.bincount(labels)
    weights: list[float] = (1.0 / counts[labels]).tolist()
    return weights


def tail_counts(most: int, num_classes: int, ratio: float) -> list[int]:
    """Return the images of each class of a long tail: n_i = n * ratio^(-i / (K - 1)), rounded down, one at least.

    Cui, Jia, Lin, Song, Belongie, "Class-Balanced Loss Based on Effective Number of Samples" (CVPR 2019), section 5.1.

    Args:
        most: n, the images of the first class.
        num_classes: K.
        ratio: of the first class to the last one.
    """
    steps = max(1, num_classes - 1)
    return [max(1, int(most * ratio ** (-label / steps) + 1e-9)) for label in range(num_classes)]


def long_tail(
    labels: npt.NDArray[np.int64], names: Sequence[str], keys: Sequence[str], ratio: float, seed: int, source: str
) -> npt.NDArray[np.int64]:
    """Return the places of the images that make a long tail, and report how many of each class are left.

    Args:
        labels: (N,) of the images, in 0..K-1.
        names: of the K classes, the first of which keeps most images.
        keys: the name of each image, from which with the seed the choice follows.
        ratio: of the first class to the last one.
        seed: of the choice.
        source: for messages.
    """
    present = np.bincount(labels, minlength=len(names))
    wanted = tail_counts(int(present.max()), len(names), ratio)
    chosen = []
    for label in range(len(names)):
        places = np.flatnonzero(labels == label).tolist()
        places.sort(key=lambda place: hashlib.sha256(f"tail:{seed}:{keys[place]}".encode(*_ANY)).digest())
        chosen += places[: wanted[label]]
    rows = np.array(sorted(chosen), dtype=np.int64)
    left = np.bincount(labels[rows], minlength=len(names)).tolist()
    listed = ", ".join(f"{name} {count}" for name, count in list(zip(names, left, strict=True))[:_MAX_NAMES])
    more = f" and {len(names) - _MAX_NAMES} classes more" if len(names) > _MAX_NAMES else ""
    tell_once(f"{source}: data.imbalance={ratio:g} leaves {len(rows)} of {len(labels)} images: {listed}{more}")
    return rows


def few_labels(
    labels: npt.NDArray[np.int64], names: Sequence[str], keys: Sequence[str], count: int, seed: int, source: str
) -> npt.NDArray[np.int64]:
    """Return the places of ``count`` images: each class has its share of them, and one at least.

    See ``long_tail`` for the arguments.

    Raises:
        DataError: they are fewer than the classes, or more than the images.
    """
    if not len(names) <= count <= len(labels):
        raise DataError(
            f"{source}: data.num_labels={count}: give one for each of the {len(names)} classes at least, and no more "
            f"than the {len(labels)} images to train on"
        )
    if count == len(labels):
        return np.arange(len(labels))
    share = count / len(labels)
    parts = hold_out(keys, [(label,) for label in labels.tolist()], {"taken": share, "rest": 1 - share}, seed)
    taken = np.array(parts) == "taken"
    for label in np.setdiff1d(labels, labels[taken]):  # too rare for a share: a frequent class gives one up
        rich = np.bincount(labels[taken]).argmax()
        given, got = np.flatnonzero(taken & (labels == rich)), np.flatnonzero(labels == label)
        taken[_first(given, keys, seed)] = False
        taken[_first(got, keys, seed)] = True
    return np.flatnonzero(taken)


def _first(places: npt.NDArray[np.int64], keys: Sequence[str], seed: int) -> int:
    """Return one of some places, which follows from the seed and the images' names."""
    return int(min(places.tolist(), key=lambda place: hashlib.sha256(f"{seed}:{keys[place]}".encode(*_ANY)).digest()))


_ANY = ("utf-8", "surrogateescape")
