"""How often Python looks for reference cycles: seldom while it imports, as usual while it works. No torch.

The imports of a run leave some 500,000 objects, all of which stay. With its usual thresholds Python looks at them a
thousand times while it imports, a fifth of a start, and three times more before it ends, a second of the processor.
"""

from __future__ import annotations

import atexit
import gc
import sys

SELDOM = 1_000_000
"""So many objects more than at the last look, some 100 MB; a start makes fewer."""
_usual: list[tuple[int, int, int]] = []
"""The thresholds before ``collect_seldom``."""


def collect_seldom() -> None:
    """Look for cycles after ``SELDOM`` new objects, until ``collect_as_usual``; for a process that is lab's own."""
    if not _usual:
        _usual.append(gc.get_threshold())
        gc.set_threshold(SELDOM, *_usual[0][1:])


def set_aside() -> None:
    """Never look again at the objects that there are now, between ``collect_seldom`` and ``collect_as_usual``.

    They go as soon as nothing refers to them, like all others; only cycles of them stay to the end.
    """
    if _usual:
        gc.freeze()
        atexit.register(_take_back)


def _take_back() -> None:
    """Let the end of this process go through all objects where Triton is loaded: it complains of those that stay."""
    if "triton._C.libtriton" in sys.modules:
        gc.unfreeze()


def collect_as_usual() -> None:
    """Look for cycles as often as before ``collect_seldom``; does nothing without it."""
    if _usual:
        gc.set_threshold(*_usual.pop())
