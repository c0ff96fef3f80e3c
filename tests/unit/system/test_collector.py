"""``lab.system.collector``."""

from __future__ import annotations

import gc

from lab.system.collector import SELDOM, collect_as_usual, collect_seldom


def test_thresholds_come_back() -> None:
    before = gc.get_threshold()
    collect_as_usual()
    assert gc.get_threshold() == before
    for _ in range(2):  # the second time changes nothing
        collect_seldom()
        assert gc.get_threshold() == (SELDOM, *before[1:])
    collect_as_usual()
    assert gc.get_threshold() == before
