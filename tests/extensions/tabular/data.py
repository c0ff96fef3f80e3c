"""The data: rows of a CSV file. A random share of the rows, chosen by a seed, is held out for validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lab.data.datamodule import DataModule
from lab.errors import DataError, closest
from lab.ranges import Positive, Seed, Share
from tabular.structures import TabularBatch, TabularSpec, TabularTargets


class Rows:
    """Some rows of a table, scaled.

    Args:
        features: (N, F).
        target: (N,).
        numbers: (N,) the index of each row in its file.
    """

    aspect_ratios = None

    def __init__(self, features: np.ndarray, target: np.ndarray, numbers: np.ndarray) -> None:
        self.features, self.target = (torch.tensor(values, dtype=torch.float32) for values in (features, target))
        self.numbers = numbers

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.numbers)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Return the row for ``(epoch, index)``. Rows are not augmented, so the epoch makes no difference."""
        _, index = key
        return self.features[index], self.target[index], int(self.numbers[index])

    def fingerprint(self) -> str:
        """Return a hash of the content."""
        parts = (self.features.numpy(), self.target.numpy(), self.numbers)
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


class CSVDataModule(DataModule):
    """Data from a CSV file with a header, in which every value is a number.

    Args:
        file: path of the CSV file.
        target: the column to predict; all other columns are features.
        batch_size: the global batch size.
        num_workers: loader processes per rank.
        seed: decides the order of the rows and which rows are held out.
        val_share: share of the rows held out for validation.
        test_share: share of the rows held out for the test.
        scaled: standardise the features (mean 0, deviation 1), with statistics of the training rows.

    Raises:
        DataError: the file or a column is missing, or a value is not a finite number.
    """

    task = "tabular"
    sample_name = "row"

    def __init__(
        self,
        file: str,
        target: str,
        batch_size: Positive = 32,
        num_workers: int = 0,
        seed: Seed = 0,
        val_share: Share = 0.2,
        test_share: Share = 0.2,
        scaled: bool = True,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        self.file, self.target, self.scaled = Path(file), target, scaled
        self.val_share, self.test_share = val_share, test_share

    @cached_property
    def table(self) -> Any:
        """The whole file as a table."""
        table = read_csv(self.file)
        if self.target not in table:
            raise DataError(f"{self.file}: there is no column {self.target!r}{closest(self.target, list(table))}")
        return table

    @cached_property
    def parts(self) -> dict[str, np.ndarray]:
        """The row indices of each split, in ascending order."""
        order = np.random.default_rng(self.seed).permutation(len(self.table))
        held = [round(len(order) * share) for share in (self.val_share, self.test_share)]
        val, test, train = np.split(order, np.cumsum(held))
        parts = {"train": np.sort(train), "val": np.sort(val), "test": np.sort(test)}
        if not all(map(len, parts.values())):
            raise DataError(f"{self.file}: its {len(order)} rows are too few to hold some out")
        return parts

    @cached_property
    def spec(self) -> TabularSpec:
        """The names of the columns, and their means and deviations over the training rows."""
        columns = [name for name in self.table if name != self.target]
        values = self.table[[*columns, self.target]].to_numpy(np.float64)[self.parts["train"]]
        means, deviations = values.mean(0), values.std(0)
        deviations[deviations <= 1e-12 * np.abs(values).max(0)] = 1.0  # a constant column, but for rounding
        if not self.scaled:
            means[:-1], deviations[:-1] = 0.0, 1.0
        return TabularSpec(
            input_shape=(len(columns),),
            columns=tuple(columns),
            target=self.target,
            means=tuple(means.tolist()),
            deviations=tuple(deviations.tolist()),
        )

    def build(self, split: str) -> Rows:
        """Return the rows of a split."""
        chosen = self.parts[split]
        target = self.table[self.target].to_numpy(np.float64)[chosen]
        means, deviations = self.spec.means[-1], self.spec.deviations[-1]
        return Rows(scaled_features(self.table, self.spec)[chosen], (target - means) / deviations, chosen)

    def build_inputs(self, paths: list[Path]) -> Rows:
        """Return the rows of a file to predict from. The file needs the feature columns, but no target column."""
        table = read_csv(paths[0])
        missing = [name for name in self.spec.columns if name not in table]
        if missing:
            raise DataError(f"{paths[0]}: there is no column {missing[0]!r}{closest(missing[0], list(table))}")
        return Rows(scaled_features(table, self.spec), np.zeros(len(table)), np.arange(len(table)))

    def collate(self, samples: Sequence[Any]) -> TabularBatch:
        """Put rows together into a batch."""
        features, targets, numbers = zip(*samples, strict=True)
        return TabularBatch(
            features=torch.stack(features),
            targets=TabularTargets(torch.stack(targets)),
            row_ids=torch.tensor(numbers, dtype=torch.int64),
            valid=torch.ones(len(samples), dtype=torch.bool),
        )


def scaled_features(table: Any, spec: TabularSpec) -> np.ndarray:
    """Return the features (N, F) of a table, scaled as the spec says."""
    values = table[list(spec.columns)].to_numpy(np.float64)
    return (values - np.array(spec.means[:-1])) / np.array(spec.deviations[:-1])


def read_csv(path: Path) -> Any:
    """Read a CSV file in which every value must be a finite number.

    Raises:
        DataError: the file is missing, or a value is not a finite number.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    for name in table:
        values = pd.to_numeric(table[name], errors="coerce")
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            row, value = bad[0], table[name].iloc[bad[0]]
            raise DataError(f"{path}, row {row + 1}: {name}={value} is not a finite number ({len(bad)} such rows)")
        table[name] = values
    return table
