"""Ends a script with one line and exit code 2 where what it was given cannot be used."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from lab.errors import LabError

Given = ParamSpec("Given")


def refusing(main: Callable[Given, int]) -> Callable[Given, int]:
    """Return a script's ``main`` that prints a ``LabError`` as ``error: ...`` and returns 2; other errors pass."""

    @wraps(main)
    def answered(*args: Given.args, **kwargs: Given.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except LabError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2

    return answered
