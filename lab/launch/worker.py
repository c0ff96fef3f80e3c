"""One rank of a job: ``python -m lab.launch.worker``.

The parent starts it with torchrun's variables and writes the job to its standard input, which stays open. When the
input closes, the parent is gone, and the worker ends at once. SIGINT and SIGTERM are blocked until handlers are set.
"""

from __future__ import annotations

import os
import signal
import sys

from lab.system.signals import Interrupted, end_when_stuck, run_watched


def main() -> int:
    """Run this rank's part of the job; an error is written to ``LAB_ERROR_FILE`` for the parent to report."""
    end_when_stuck()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    import threading

    from lab.launch.jobs import Job, run_job
    from lab.launch.outcomes import exit_code
    from lab.system.collector import collect_seldom
    from lab.system.ranks import Place, external_place
    from lab.text import guard_streams

    guard_streams()
    collect_seldom()
    job = Job.from_json(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    place = external_place(os.environ) or Place()
    try:
        run_job(job, place)
    except Exception as error:
        _leave_word(error)
        return exit_code(error)
    except Interrupted as interrupted:
        _leave_word(interrupted)
        raise
    return 0


def _end_with_parent() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def _leave_word(error: BaseException) -> None:
    """Write what the parent needs to raise the error there: see ``lab.launch.workers``."""
    from pathlib import Path

    from lab.run_progress import word_of, write_word

    word, file = word_of(error), Path(os.environ["LAB_ERROR_FILE"])
    try:
        write_word(file.parent, word, file.name)
    except OSError:  # TMPDIR is full or gone: the parent shows this output instead
        print(f"error: {word.get('details', word['text'])}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_watched(main))
