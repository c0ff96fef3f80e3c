"""Says at the end of a session how many of the commands in README and docs were tested, and how."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.documents import all_commands


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    found = all_commands()
    counts = Counter(shown.how for shown in found)
    told = ", ".join(
        f"{counts[how]} {word}" for how, word in (("run", "run"), ("composed", "composed"), ("left", "left"))
    )
    terminalreporter.write_line(f"README and docs: {len(found)} lines with commands: {told}")
