"""Sets of images whose labels are numbers, with or without a name for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from lab.data.images.class_names import check_names
from lab.tasks.classification.data.arrays import ArraysModule


@dataclass(eq=False)
class NumberedModule(ArraysModule):
    """Base of the DataModules of sets whose labels are numbers: a subclass gives ``read``.

    Args:
        class_names: the name of each label; None: its number.
    """

    _: KW_ONLY
    class_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.class_names is not None:
            check_names(list(self.class_names))

    def names(self) -> tuple[str, ...]:
        """Return the names given, or the numbers up to the highest label to train on."""
        if self.class_names is not None:
            return tuple(self.class_names)
        return tuple(map(str, range(max(0, int(self.arrays("train").labels.max())) + 1)))
