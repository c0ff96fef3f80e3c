"""When a signal acts: at once, after an import, after a destructor, at the next step, or at the interpreter's end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.system.signals import Interrupted, SignalWatch

ROOT = Path(__file__).resolve().parents[3]


def python(code: str, *arguments: str, folder: Path) -> tuple[int, str, str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_at_once(signum: int) -> None:
    def interrupted() -> None:
        with SignalWatch():
            os.kill(os.getpid(), signum)
            time.sleep(5)

    with pytest.raises(Interrupted) as caught:
        interrupted()
    assert caught.value.exit_code == 128 + signum


HIDES = """
import os, signal, time
os.kill(os.getpid(), signal.SIGINT)
try:
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass
except BaseException as error:
    raise ImportError("something else") from error
MARK = "whole"
"""


def test_after_an_import_that_would_hide_it(tmp_path: Path) -> None:
    (tmp_path / "hides.py").write_text(HIDES)
    (tmp_path / "outer.py").write_text("import hides\n")
    code = (
        "import time\nfrom lab.system.signals import run_watched\n"
        "def command():\n    import outer, sys\n    print(sys.modules['hides'].MARK, flush=True)\n    time.sleep(20)\n"
        "import sys; sys.exit(run_watched(command))"
    )
    assert python(code, folder=tmp_path) in ((130, "whole\n", ""), (130, "", ""))


def test_a_training_inside_an_import_can_be_interrupted(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import os, signal, time\nfrom lab.system.signals import SignalWatch, Interrupted\n"
        "try:\n    with SignalWatch():\n        os.kill(os.getpid(), signal.SIGINT)\n        time.sleep(20)\n"
        "except Interrupted:\n    print('interrupted')\n"
    )
    assert python("import script", folder=tmp_path) == (0, "interrupted\n", "")


def test_after_a_destructor(tmp_path: Path) -> None:
    code = """
import os, signal, sys, time
from lab.system.signals import run_watched
class Thing:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):
            pass
        print("destroyed", flush=True)
def command():
    Thing()
    time.sleep(20)
sys.exit(run_watched(command))
"""
    assert python(code, folder=tmp_path) == (143, "destroyed\n", "")


def test_silence_at_the_interpreter_s_end(tmp_path: Path) -> None:
    code = """
import atexit, os, signal, sys, time
from lab.system.signals import run_watched
def leave():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(20)
def command():
    atexit.register(leave)
    return 0
sys.exit(run_watched(command))
"""
    assert python(code, folder=tmp_path) == (130, "", "")


@pytest.mark.parametrize("deferred", [False, True])
def test_a_main_thread_that_never_sees_a_signal_ends_unless_it_trains(tmp_path: Path, deferred: bool) -> None:
    code = f"""
import ctypes, os, signal, sys, threading
from lab.system import signals
signals._STUCK = 0.3
def command():
    signals.end_when_stuck()
    signals._watches[-1].deferred = {deferred}
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # another thread gets it: the next call is not disturbed
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    ctypes.CDLL(None).sleep(2)
    return 7
sys.exit(signals.run_watched(command))
"""
    found, _, err = python(code, folder=tmp_path)
    assert "Traceback" not in err
    assert found == (7 if deferred else 143)


SCRATCH = """
import os, signal, sys, tempfile
from pathlib import Path
from lab.launch.scratch import use_own_folder
use_own_folder(); use_own_folder()
made = tempfile.mkdtemp(prefix="wandb-")
assert os.environ["TMPDIR"] == tempfile.gettempdir() == str(Path(made).parent), made
print(Path(made).parent.name, flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "waits":
    sys.stdin.read()
"""


def test_temporary_folders_of_the_killed_are_removed_and_of_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    names = [python(SCRATCH, "killed", folder=tmp_path)[1].strip() for _ in range(2)]
    foreign = ["lab-mine", "lab-tmp-mine", "lab-tmp-1-abcdefgh", "other"]
    for name in foreign:
        (tmp_path / name).mkdir()
    (tmp_path / "lab-mine" / "run.lock").touch()  # a run directory of the user's
    assert [(tmp_path / name).is_dir() for name in names] == [False, True]  # the second start removed the first's
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    living = subprocess.Popen(
        [sys.executable, "-c", SCRATCH, "waits"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert living.stdout is not None
    name = living.stdout.readline().strip()
    code, out, err = python(SCRATCH, "ends", folder=tmp_path)
    assert (code, err) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*foreign, name])
    living.communicate()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(foreign)
    assert out.strip() not in foreign


AT_EVERY_LINE = """
import os, signal, sys
from lab.system import signals

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in its background with it ignored

def interrupt_at(number):
    left = number
    def trace(frame, event, argument):
        nonlocal left
        watched = signal.getsignal(signal.SIGINT) != signal.default_int_handler
        if watched and frame.f_code.co_filename == signals.__file__:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGINT)
        return trace
    sys.settrace(trace)

for number in range(1, 200):
    pid = os.fork()
    if not pid:
        interrupt_at(number)
        code = signals.run_watched(lambda: 7)
        sys.settrace(None)
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(code)
    if code == 7:
        break
"""


def test_at_every_line_of_the_watch(tmp_path: Path) -> None:
    code, output, error = python(AT_EVERY_LINE, folder=tmp_path)
    assert (code, error) == (0, "")
    *interrupted, last = map(int, output.split())
    assert last == 7  # no line was left
    assert len(interrupted) > 30
    assert set(interrupted) == {130}
