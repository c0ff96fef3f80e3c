"""How often Python looks for reference cycles: seldom while it imports, as usual while it works. No torch.

The imports and the building of a run leave some 600,000 objects, all of which stay. With its usual thresholds Python
looks at them a thousand times: a fifth of a start.
"""

from __future__ import annotations

import gc

SELDOM = 1_000_000
"""So many objects more than at the last look, some 100 MB; a start makes fewer."""
_usual: list[tuple[int, int, int]] = []


def collect_seldom() -> None:
    """Look for cycles after ``SELDOM`` new objects, until ``collect_as_usual``; for a process that is lab's own."""
    if not _usual:
        _usual.append(gc.get_threshold())
        gc.set_threshold(SELDOM, *_usual[0][1:])


def collect_as_usual() -> None:
    """Look for cycles as often as before ``collect_seldom``; does nothing without it.

    The objects that there are now count as old: the next look is not at all of them.
    """
    if _usual:
        gc.freeze()
        gc.unfreeze()
        gc.set_threshold(*_usual.pop())
