"""How a job fails: the exit code of an error, and the lines that the command line prints for it. No torch."""

from __future__ import annotations

import sys
import traceback

from lab.errors import Diverged, LabError, Pruned
from lab.system.signals import Interrupted
from lab.system.storage import explain
from lab.text import printable


class RanksFailed(RuntimeError):
    """A process of a job has failed with an unexpected error, or was killed.

    Attributes:
        details: the traceback of the rank; empty if the message is enough.
        exit_code: the exit code of the rank.
    """

    def __init__(self, message: str, details: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.details, self.exit_code = details, exit_code


def exit_code(error: BaseException) -> int:
    """Return the exit code for an error: 0 pruned, 1 failed, 2 refused, 130 and 143 interrupted."""
    if isinstance(error, Interrupted | RanksFailed):
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, Pruned):
        return 0
    return 2 if isinstance(error, LabError) else 1


def say(error: BaseException) -> None:
    """Print on stderr what has ended a command: one line, or a traceback if the error was unexpected."""
    if isinstance(error, Interrupted):
        print(f"{error}; repeat the command to continue", file=sys.stderr)
        return
    if isinstance(error, Pruned):
        print(f"{error}; repeat the command to train on", file=sys.stderr)
        return
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return
    found = error if isinstance(error, LabError | Diverged | RanksFailed) else explain(error)
    details = "".join(traceback.format_exception(error)) if found is None else getattr(found, "details", "")
    if details:
        print(printable(details, keep_lines=True), end="", file=sys.stderr)
    if found is not None:
        print(f"error: {found}", file=sys.stderr)
