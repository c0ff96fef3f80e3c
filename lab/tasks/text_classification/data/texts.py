"""``data=texts``: labelled texts in files, or generated sentences that praise or blame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from lab.data.holdout import TRAIN
from lab.data.text.generated import labelled
from lab.errors import ConfigError
from lab.ranges import Positive, Word
from lab.tasks.text_classification.data.files import TextFormat, TextRows, read_rows
from lab.tasks.text_classification.data.module import TextClassificationModule

SEEDS = {"train": 0, "val": 1, "test": 2}
"""Of generated texts, added to three times ``data.seed``."""


@dataclass(eq=False)
class TextsModule(TextClassificationModule):
    r"""Texts with labels in TSV, CSV, JSON Lines or Parquet files; without files generated ones.

    Args:
        root: the folder that files are relative to.
        files: a file of training texts, or several; None: texts are generated.
        val_files: of validation texts; None: ``val_share`` of the training texts.
        test_files: of test texts; None: the validation texts.
        text_column: see ``TextFormat``, as the next six.
        second_column: see there.
        label_column: see there.
        separator: see there.
        column_names: see there.
        quotes: see there.
        encoding: see there.
        num_classes: of generated texts: 2 for praise and blame, 3 to 5 for topics.
        num_train: generated texts to train on.
        num_val: to validate on.
        num_test: to test on.

    Raises:
        ConfigError: there are files to validate or test on, but none to train on.
    """

    _: KW_ONLY
    root: Word = "."
    files: Sequence[str] | str | None = None
    val_files: Sequence[str] | str | None = None
    test_files: Sequence[str] | str | None = None
    text_column: Word = "text"
    second_column: Word | None = None
    label_column: Word = "label"
    separator: str | None = None
    column_names: Sequence[str] | None = None
    quotes: bool | None = None
    encoding: str | None = None
    num_classes: Positive = 2
    num_train: Positive = 2000
    num_val: Positive = 200
    num_test: Positive = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.files is None and (self.val_files is not None or self.test_files is not None):
            raise ConfigError("data.val_files, data.test_files: name the texts to train on too, by data.files")

    def input_format(self) -> TextFormat:
        """Return the columns' names and how they are written."""
        return TextFormat(
            self.text_column,
            self.second_column,
            self.label_column,
            self.separator,
            self.column_names,
            self.quotes,
            self.encoding,
        )

    def rows(self, split: str) -> TextRows | None:
        """Read or generate the texts of a split."""
        if self.files is None:
            return self._generated(split)
        given = {TRAIN: self.files, "val": self.val_files, "test": self.test_files}[split]
        if given is None:
            return None
        names = [given] if isinstance(given, str) else list(given)
        return joined([read_rows(Path(self.root, name), self.input_format()) for name in names])

    def _generated(self, split: str) -> TextRows:
        count = {TRAIN: self.num_train, "val": self.num_val, "test": self.num_test}[split]
        found = list(labelled(3 * self.seed + SEEDS[split], count, self.num_classes))
        words = ("negative", "positive")
        labels = [words[item.label] if self.num_classes == 2 else str(item.label) for item in found]
        return TextRows(f"generated texts ({split})", [item.text for item in found], None, labels, count)


def joined(parts: Sequence[TextRows]) -> TextRows:
    """Return the texts of several files as those of one."""
    first, *others = parts
    if not others:
        return first
    left_out: dict[str, int] = {}
    for part in parts:
        for what, count in part.left_out.items():
            left_out[what] = left_out.get(what, 0) + count
    return TextRows(
        f"{first.source} and {len(others)} more",
        [text for part in parts for text in part.texts],
        None if first.seconds is None else [text for part in parts for text in part.seconds or ()],
        [label for part in parts for label in part.labels],
        sum(part.rows for part in parts),
        left_out,
    )
