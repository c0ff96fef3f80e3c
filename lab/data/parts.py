"""Parts of one annotated set: the training part, and the shares that are held out of it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab.data.holdout import TEST, TRAIN, VAL, check_shares, hold_out
from lab.errors import ConfigError, DataError

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A part of a set of annotated images.

    Attributes:
        name: ``"train"``, ``"val"`` or ``"test"``.
        val_share: share of the images that is held out for validation.
        test_share: the same for the test; with 0 the test uses the validation set.
        seed: decides between images with the same classes.
        test_is_apart: the test has images of its own, of another set.
    """

    name: str
    val_share: float
    test_share: float
    seed: int
    test_is_apart: bool = False

    def of(self, table: Dataset, fingerprint: str, source: str) -> tuple[Dataset, str]:
        """Return the rows of this part, and a fingerprint of the set and the part.

        Args:
            table: rows with ``image_id``, ``file_name`` and ``labels``.
            fingerprint: the fingerprint of the whole set.
            source: the annotation file, for messages.

        Raises:
            DataError: there are too few images.
        """
        columns = table.select_columns(["image_id", "file_name", "labels"])[:]
        names = [f"{number}:{name}" for number, name in zip(columns["image_id"], columns["file_name"], strict=True)]
        shares = {TRAIN: 1 - self.val_share - self.test_share, VAL: self.val_share}
        shares |= {TEST: self.test_share} if self.test_share else {}
        if len(names) < len(shares):
            raise DataError(f"{source}: {len(names)} images are too few to hold a share of them out")
        parts = hold_out(names, columns["labels"], shares, self.seed)
        wanted = self.name if self.name in shares else VAL
        if self.name == TRAIN:
            counts = ", ".join(f"{parts.count(part)} {part}" for part in shares)
            also = "" if self.test_share or self.test_is_apart else "; the test is on the validation set"
            log.warning(
                "%s: data.val_share=%g held out by data.seed=%d, balanced by class: %s%s",
                source,
                self.val_share,
                self.seed,
                counts,
                also,
            )
        key = f"{fingerprint}\0{wanted}\0{sorted(shares.items())}\0{self.seed}"
        rows = [row for row, part in enumerate(parts) if part == wanted]
        return table.select(rows), hashlib.sha256(key.encode()).hexdigest()


def split_of_one(
    files: dict[str, Mapping[str, Any]], val_share: float | None, test_share: float | None, seed: int
) -> tuple[dict[str, Mapping[str, Any]], dict[str, Part]]:
    """Return the files of each split, and the part of them if a share of the training set is held out.

    With ``val_share`` the validation set is a part of the training set's files, and so is the test set, unless it has
    its own files.

    Raises:
        ConfigError: the shares are out of range, or leave nothing to train on.
    """
    check_shares(val_share, test_share)
    if val_share is None:
        if test_share is not None:
            raise ConfigError(f"data.test_share={test_share}: give data.val_share too, what to hold out for validation")
        return files, {}
    own_test = files[TEST] != files[VAL]
    parts = {
        name: Part(name, val_share, 0.0 if own_test else test_share or 0.0, seed, own_test)
        for name in ((TRAIN, VAL) if own_test else (TRAIN, VAL, TEST))
    }
    return {split: files[TRAIN] if split in parts else files[split] for split in files}, parts
