"""One rank of a job: ``python -m lab.launch.worker``.

Its parent started it with torchrun's variables and writes the job to its standard input, which stays open: when it
closes, the parent is gone and the worker ends at once. SIGINT and SIGTERM are blocked until they are watched.
"""

from __future__ import annotations

import os
import signal
import sys

from lab.system.signals import Interrupted, end_when_stuck, run_watched


def main() -> int:
    """Run this rank's part of the job; what goes wrong is left in ``LAB_ERROR_FILE`` for the parent to say."""
    end_when_stuck()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    import threading
    import traceback

    from lab.errors import LabError
    from lab.launch.jobs import Job, run_job
    from lab.system.ranks import Place, external_place
    from lab.system.storage import StorageError
    from lab.text import guard_streams

    guard_streams()
    job = Job.from_json(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    place = external_place(os.environ) or Place()
    try:
        return run_job(job, place)
    except LabError as error:
        _leave_word("refused", str(error))
        return 2
    except StorageError as error:
        _leave_word("refused", str(error))  # in one line
        return 1
    except (Interrupted, KeyboardInterrupt):
        raise
    except BaseException:
        _leave_word("failed", traceback.format_exc())
        return 1


def _end_with_parent() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def _leave_word(kind: str, text: str) -> None:
    import json
    import time
    from pathlib import Path

    try:
        Path(os.environ["LAB_ERROR_FILE"]).write_text(
            json.dumps({"kind": kind, "text": text, "time": time.time()}), encoding="utf-8"
        )
    except OSError:  # a full or removed TMPDIR: the parent shows what is said here
        print(f"error: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_watched(main))
