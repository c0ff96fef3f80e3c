"""One line an event, safe for a terminal, in the same words everywhere."""

from __future__ import annotations

import pytest

from lab.sweeps import lines
from lab.sweeps.lines import Label

THIRD = Label(3, 24, "optimizer.lr=1e-3")
FIFTH = Label(5, 24, "seed=1")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (lines.started(THIRD, 0, 1), "[3/24] started optimizer.lr=1e-3 (slot 0, attempt 1)"),
        (
            lines.finished(THIRD, "val/map_50", 0.31, 12.2),
            "[3/24] finished optimizer.lr=1e-3: val/map_50 0.31, 12 s",
        ),
        (lines.finished(Label(3), "", None, 7.0), "[3] finished: 7.0 s"),
        (
            lines.pruned(THIRD, 40, "val/map", 0.12345, 65),
            "[3/24] pruned optimizer.lr=1e-3: after step 40, val/map 0.1235, 1:05",
        ),
        (
            lines.crashed(FIFTH, "killed by SIGKILL", 12, 2.0, 2, 3),
            "[5/24] crashed (killed by SIGKILL) after step 12; tried again in 2 s (attempt 2 of 3)",
        ),
        (
            lines.crashed(FIFTH, "", None, 0.5, 2, 3),
            "[5/24] crashed (for no known reason) before a first step; tried again in 0.5 s (attempt 2 of 3)",
        ),
        (
            lines.failed(FIFTH, "failed", "no memory", 3, 7),
            "[5/24] failed seed=1 after step 7 (3 attempts): no memory",
        ),
        (lines.failed(FIFTH, "refused", "bad", 1), "[5/24] refused seed=1 (1 attempt): bad"),
        (
            lines.failed(FIFTH, "poison", "killed by SIGSEGV", 2),
            "[5/24] set aside as poison seed=1 (2 attempts): killed by SIGSEGV",
        ),
        (
            lines.interrupted(FIFTH, 4, "its node was lost"),
            "[5/24] interrupted seed=1: after step 4, its node was lost",
        ),
        (lines.withdrawn(FIFTH), "[5/24] withdrawn seed=1"),
        (
            lines.opened("s", {"waiting": 3, "finished": 2}, 5, 2, "2 cores"),
            "sweep s: 5 jobs, 2 of them done before, 2 at a time (2 cores)",
        ),
        (lines.opened("s", {"waiting": 3}, None, 1), "sweep s: 3 jobs so far, 1 at a time"),
        (lines.counted({"failed": 1, "finished": 12, "running": 2}, 20), "12 finished, 2 running, 5 waiting, 1 failed"),
        (lines.counted({}), "no job yet"),
    ],
)
def test_words(line: str, expected: str) -> None:
    assert line == expected


def test_hostile_words_stay_one_safe_line() -> None:
    label = Label(1, 2, "data.root=\x1b[2J\nx [red]")
    for line in (
        lines.started(label, 0, 1),
        lines.failed(label, "failed", "boom\n\x1b]0;title\x07" + "x" * 10_000, 1),
        lines.crashed(label, "\u202eevil\r\n", 1, 1, 2, 3),
    ):
        assert "\n" not in line
        assert "\x1b" not in line
        assert "\u202e" not in line
        assert len(line) < 1000
    assert "[red]" in lines.started(label, 0, 1)
