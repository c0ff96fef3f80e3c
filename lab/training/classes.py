"""The base of tasks whose data has classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from lab.structures import ClassSpec, Table
from lab.training.task import MEASURED, Task


class ClassTask(Task):
    """A task whose data has classes (``ClassSpec``). It says over how many classes each mean metric was taken."""

    spec: ClassSpec

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each label."""
        return self.spec.class_names

    def describe_evaluation(self) -> str:
        """Return for each mean metric over how many of the classes it was taken."""
        classes = sum(name != "N/A" for name in self.class_names)
        counts = {key: value for key, value in self.results.items() if key.endswith(MEASURED)}
        means = [(key.partition("/")[2].removesuffix(MEASURED), int(value)) for key, value in counts.items()]
        return "; ".join(f"{name} is the mean over {number} of {classes} classes" for name, number in means)


def class_table(values: Mapping[str, Tensor], names: Sequence[str]) -> Table:
    """Return a row for each class; a metric that nothing defines is None, not NaN.

    Args:
        values: columns (K,) by name.
        names: of the K classes.
    """
    columns = {key: column.tolist() for key, column in values.items()}
    return [
        {"class": name, **{key: None if column[row] != column[row] else column[row] for key, column in columns.items()}}
        for row, name in enumerate(names)
    ]
