"""The errors that a user can correct: what is wrong, where it was set, what would be right.

The command line prints such an error as one line and exits with code 2; from Python they are ValueErrors.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from lab.text import one_line


class LabError(ValueError):
    """A mistake that the message explains completely, without a traceback.

    The message is one line. Control characters in it, for instance from names in a dataset, are escaped.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


class ConfigError(LabError):
    """A key, a value or a combination in the configuration is wrong."""


class DataError(LabError):
    """A dataset is missing, or something in it cannot be used."""


class GeometryError(LabError):
    """A mesh or an operation of a script cannot be: which one, which parameter, what would be right.

    Args:
        reason: what is wrong, and what would be right.
        path: what it is about: the name of a parameter, and indices into its value; a script puts the step before it.

    Attributes:
        reason: see there.
        path: see there.
    """

    def __init__(self, reason: str, *path: str | int) -> None:
        super().__init__(reason, *path)
        self.reason, self.path = reason, path

    def __str__(self) -> str:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path).lstrip(".")
        return one_line(f"{place}: {self.reason}" if place else self.reason)

    def within(self, *outer: str | int) -> GeometryError:
        """Return the same error with ``outer`` before its path."""
        return GeometryError(self.reason, *outer, *self.path)


class CheckpointError(LabError):
    """A checkpoint or a file of weights is missing, damaged or of the wrong shape."""


class ExportError(LabError):
    """A network cannot be written for another engine, or the file computes something else than the network."""


class RunError(LabError):
    """A run directory cannot be used as asked: it is in use, or lab's sources or the data have changed."""


class RegistryError(LabError, KeyError):
    """A model name or tag is unknown, or registered twice."""

    def __str__(self) -> str:
        return one_line(Exception.__str__(self))  # KeyError would quote the message


class Diverged(ArithmeticError):
    """The loss, a gradient or a tensor is no longer finite. No override is wrong, so the exit code is 1; also one line.

    Attributes:
        step: the optimizer step.
        term: the first non-finite one: a term of the loss, the gradient norm, a tensor, the outputs of an evaluation.
    """

    def __init__(self, message: str, step: int, term: str) -> None:
        super().__init__(message)
        self.step, self.term = step, term


class Pruned(Exception):
    """The search of a sweep has ended a training after a validation: other trials are better. Exit code 0; one line.

    Attributes:
        step: the optimizer step of the validation, and of the checkpoint from which the run can continue.
    """

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


def closest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return ``"; did you mean 'a' or 'b'?"`` for the names in ``known`` nearest to ``name``, or ``""``."""
    matches = difflib.get_close_matches(name, list(known), n=count, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
