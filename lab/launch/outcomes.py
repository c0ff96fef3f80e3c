"""How a job ends otherwise than well: the exit code of an error, and what a command line says of it. No torch."""

from __future__ import annotations

import sys
import traceback

from lab.errors import Diverged, LabError
from lab.system.signals import Interrupted
from lab.system.storage import explain
from lab.text import printable


class RanksFailed(RuntimeError):
    """A process of a job has failed: an error in it that nobody foresaw, or its death.

    Attributes:
        details: the traceback of the rank; empty where one line says all.
        exit_code: of the rank.
    """

    def __init__(self, message: str, details: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.details, self.exit_code = details, exit_code


def exit_code(error: BaseException) -> int:
    """Return what a command that ends by this error returns: 1 failed, 2 refused, 130 and 143 interrupted."""
    if isinstance(error, Interrupted | RanksFailed):
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 2 if isinstance(error, LabError) else 1


def say(error: BaseException) -> None:
    """Say on stderr what has ended a command: in one line, or where nobody foresaw it with its traceback."""
    if isinstance(error, Interrupted):
        print(f"{error}; repeat the command to continue", file=sys.stderr)
        return
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return
    found = error if isinstance(error, LabError | Diverged | RanksFailed) else explain(error)
    details = "".join(traceback.format_exception(error)) if found is None else getattr(found, "details", "")
    if details:
        print(printable(details, keep_lines=True), end="", file=sys.stderr)
    if found is not None:
        print(f"error: {found}", file=sys.stderr)
