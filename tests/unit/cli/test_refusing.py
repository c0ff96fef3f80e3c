"""A script refuses in one line, and keeps its name and its other errors."""

from __future__ import annotations

import pytest

from lab.cli.refusing import refusing
from lab.errors import ConfigError


@refusing
def script(what: str) -> int:
    """Fails as it is told."""
    if what == "refuse":
        raise ConfigError("seed=x: not a number")
    if what == "break":
        raise ValueError("broken")
    return 7


def test_a_refusal_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert script("refuse") == 2
    assert capsys.readouterr().err == "error: seed=x: not a number\n"


def test_all_else_passes() -> None:
    assert script("go") == 7
    assert script.__doc__ == "Fails as it is told."
    with pytest.raises(ValueError, match="broken"):
        script("break")
