"""The splits of solutions that come in files: one file to train on, and one to test on or a share of the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self, TypeVar

from lab.data.holdout import TEST, TRAIN, VAL, hold_out
from lab.errors import DataError


class Solutions(Protocol):
    """Samples of a file."""

    @property
    def source(self) -> str:
        """The file, for messages."""
        ...

    @property
    def num_samples(self) -> int:
        """The number of samples."""
        ...

    def take(self, rows: list[int]) -> Self:
        """Return some of them."""
        ...


SolutionsT = TypeVar("SolutionsT", bound=Solutions)


def split_solutions(
    read: Callable[[str, int | None, str], SolutionsT],
    train: str,
    test: str | None,
    resolutions: tuple[int | None, int | None],
    shares: tuple[float, float],
    seed: int,
) -> dict[str, SolutionsT]:
    """Return the samples of every split.

    Args:
        read: reads a file at a resolution; its third argument is the key that set the resolution.
        train: the file to train on.
        test: to test on; None: a share of ``train``.
        resolutions: points of training and validation, and of the test; None: all.
        shares: of ``train`` to validate on, and to test on where there is no file for it.
        seed: of the choice.

    Raises:
        DataError: there are too few samples.
    """
    whole = read(train, resolutions[0], "resolution")
    held = {VAL: shares[0], TEST: shares[1] if test is None else 0.0}
    parts_of = {TRAIN: 1.0 - sum(held.values()), **held}
    if whole.num_samples < 3:
        raise DataError(f"{whole.source}: {whole.num_samples} samples are too few to hold some out")
    chosen = hold_out([str(row) for row in range(whole.num_samples)], [()] * whole.num_samples, parts_of, seed)
    rows = {split: [row for row, part in enumerate(chosen) if part == split] for split in parts_of}
    found = {split: whole.take(rows[split]) for split in parts_of}
    if test is not None:
        found[TEST] = read(test, resolutions[1], "test_resolution")
    elif resolutions[1] is not None and resolutions[1] != resolutions[0]:
        found[TEST] = read(train, resolutions[1], "test_resolution").take(rows[TEST])
    return found
