"""Who holds a sweep: its master, as the lock of the sweep's directory and the ledger name it. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from lab.run_lock import is_locked
from lab.sweeps.ledger import Ledger
from lab.text import printable


@dataclass(frozen=True)
class Holder:
    """Who holds a sweep.

    Attributes:
        lives: whether some process holds the sweep's directory.
        words: the process that holds it, or held it last, in words; empty if nobody ever did.
    """

    lives: bool
    words: str


def find_holder(ledger: Ledger) -> Holder:
    """Return who holds the sweep of a ledger, or held it last."""
    folder = ledger.file.parent
    lives = is_locked(folder)
    holder = ledger.get("holder") or {}
    words = f"pid {holder.get('pid')} on {holder.get('host')}" if holder else ""
    if lives:  # the lock file is more exact: it names the holder of this moment
        words = (folder / "run.lock").read_text(encoding="utf-8", errors="replace").strip() or words
    return Holder(lives, printable(words))


def command_of(ledger: Ledger) -> str:
    """Return the command that goes on with the sweep; empty if the ledger has none."""
    command = ledger.get("command", "")
    return printable(command if isinstance(command, str) else " ".join(map(str, command)))
