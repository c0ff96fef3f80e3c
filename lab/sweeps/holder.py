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
        since: the time (seconds since the epoch) at which it began; None after its end.
    """

    lives: bool
    words: str
    since: float | None


def find_holder(ledger: Ledger) -> Holder:
    """Return who holds the sweep of a ledger, or held it last."""
    folder = ledger.file.parent
    lives = is_locked(folder)
    lock = folder / "run.lock"  # it keeps the name of its last holder
    words = lock.read_text(encoding="utf-8", errors="replace").strip() if lock.is_file() else ""
    return Holder(lives, printable(words), (ledger.get("holder") or {}).get("since"))


def command_of(ledger: Ledger) -> str:
    """Return the command that goes on with the sweep; empty if the ledger has none."""
    command = ledger.get("command", "")
    return printable(command if isinstance(command, str) else " ".join(map(str, command)))
