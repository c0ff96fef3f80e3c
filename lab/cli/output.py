"""Output to a reader that may leave before its end: ``lab runs | head``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unless_reader_left() -> Iterator[None]:
    """Write all output of the context; if its reader has left, the rest of it goes nowhere, without an error."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
