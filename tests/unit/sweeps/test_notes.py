"""Signals of a master are noted in their order; those that are not its own are left alone."""

from __future__ import annotations

import os
import signal

from lab.sweeps.notes import SignalNotes


def test_signals_come_in_their_order() -> None:
    with SignalNotes() as notes:
        for signum in (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTIN):
            os.kill(os.getpid(), signum)
        assert notes.wait(1.0) == [signal.SIGHUP, signal.SIGTTIN, signal.SIGTTIN]
        assert notes.wait(0.0) == []


def test_a_signal_of_a_package_is_not_the_masters() -> None:
    """A real-time signal has no name in ``signal.Signals``; Python writes it into the pipe all the same."""
    came = []
    with SignalNotes() as notes:
        before = signal.signal(signal.SIGRTMIN + 5, lambda *_: came.append("theirs"))
        os.kill(os.getpid(), signal.SIGRTMIN + 5)
        os.kill(os.getpid(), signal.SIGHUP)
        assert notes.wait(1.0) == [signal.SIGHUP]
        signal.signal(signal.SIGRTMIN + 5, before)
    assert came == ["theirs"]
