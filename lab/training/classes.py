"""The base of tasks whose data has classes."""

from __future__ import annotations

from lab.structures import ClassSpec
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
