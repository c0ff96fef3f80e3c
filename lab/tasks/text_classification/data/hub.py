"""``data=texts_hub``: labelled texts of a dataset of the Hugging Face Hub by name, or of such a dataset in a folder."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

from lab.data.hub import load_splits
from lab.errors import DataError, closest
from lab.ranges import Word
from lab.tasks.text_classification.data.files import TextFormat, TextRows, usable
from lab.tasks.text_classification.data.module import TextClassificationModule

TEXT_NAMES = ("text", "sentence", "content", "review", "document")
LABEL_NAMES = ("label", "labels", "class", "target")


@dataclass(eq=False)
class TextsHubModule(TextClassificationModule):
    """A dataset by its name at the Hugging Face Hub, or in a folder that ``datasets`` reads.

    Args:
        path: its name (``OWNER/NAME``), or a folder.
        subset: the configuration of it; None: its only one.
        train: the split to train on.
        val: the split that validates; None: ``val_share`` of the training split.
        test: the split to test on; None: the validation texts.
        text_column: the column of texts; None: one with a usual name.
        second_column: the column of the second text of each pair; None: there are no pairs.
        label_column: the column of labels; None: the only one of classes, or one with a usual name.
    """

    path: Word
    _: KW_ONLY
    subset: Word | None = None
    train: Word = "train"
    val: Word | None = None
    test: Word | None = "test"
    text_column: Word | None = None
    second_column: Word | None = None
    label_column: Word | None = None

    def input_format(self) -> TextFormat:
        """Return the columns' names; without them those of files are the usual ones."""
        return TextFormat(self.text_column or "text", self.second_column)

    def rows(self, split: str) -> TextRows | None:
        """Read a split; a column of classes gives their names.

        Raises:
            DataError: there is no such split or column, or one is of another type.
        """
        name = {"train": self.train, "val": self.val, "test": self.test}[split]
        if name is None:
            return None
        splits = load_splits(self.path, self.subset)
        if name not in splits:
            raise DataError(
                f"data.path={self.path}: it has no split {name!r}, only {', '.join(splits)}{closest(name, splits)}; "
                "data.train, data.val and data.test name the splits"
            )
        table = splits[name]
        wanted = self._columns(table)
        cells = {role: table[column][:] for role, column in wanted.items()}
        names = getattr(table.features[wanted["label"]], "names", None)
        if names:  # -1 stands for no label, as in the test sets of GLUE
            known = [value is not None and 0 <= value < len(names) for value in cells["label"]]
            pairs = zip(cells["label"], known, strict=True)
            cells["label"] = [str(names[value]) if is_known else None for value, is_known in pairs]
        return replace(usable(f"{self.path}/{name}", cells, len(table), {}), classes=tuple(names or ()))

    def _columns(self, table: Any) -> dict[str, str]:
        """Return the columns by their role."""
        import datasets

        found = {}
        classes = [name for name, kind in table.features.items() if isinstance(kind, datasets.ClassLabel)]
        usual = {"text": TEXT_NAMES, "second": (), "label": tuple(classes) if len(classes) == 1 else LABEL_NAMES}
        given = {"text": self.text_column, "second": self.second_column, "label": self.label_column}
        listed = ", ".join(f"{name} ({_kind(kind)})" for name, kind in table.features.items())
        for role, name in given.items():
            if name is None and role == "second":
                continue
            chosen = name or next((known for known in usual[role] if known in table.column_names), None)
            if chosen is None or chosen not in table.column_names:
                key, what = f"data.{role}_column", f"no column {name!r}" if name else f"no usual column of {role}s"
                raise DataError(f"data.path={self.path}: it has {what}; name one by {key}: {listed}")
            if role != "label" and _kind(table.features[chosen]) not in ("string", "large_string"):
                raise DataError(
                    f"data.path={self.path}: its column {chosen!r} holds {_kind(table.features[chosen])}, no texts; "
                    f"name another by data.{role}_column: {listed}"
                )
            found[role] = chosen
        return found


def _kind(feature: Any) -> str:
    """Return the type of a column in a word."""
    name = type(feature).__name__
    return str(feature.dtype) if name == "Value" else name
