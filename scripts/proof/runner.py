"""Runs the parts of a proof one after the other, each in a process of its own with a deadline.

The parent imports what the parts need, touches no device and forks a child for each part: a part that fails, hangs, is
killed or leaves the device unusable costs only itself. A child sends what it has found through a pipe, finding by
finding; the parent keeps them in one JSON file, which is replaced as a whole each time. A child leads a process group
of its own (with loaders and jobs that it has started), which is ended with it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.system.files import write_text

GRACE = 3.0
"""Seconds that a part is given to end by itself after its deadline."""


@dataclass
class Proof:
    """What a part is handed.

    Attributes:
        device: ``"cuda"`` or ``"cpu"``.
        folder: where it may write.
        deadline: ``time.monotonic()`` at which it should have ended.
        pipe: where findings go.
        tiny: try the proof itself, with the smallest sizes.
    """

    device: str
    folder: Path
    deadline: float
    pipe: int = -1
    tiny: bool = False
    findings: dict[str, Any] = field(default_factory=dict)

    def say(self, name: str, **values: Any) -> None:
        """Report a finding: numbers, strings, lists, dicts."""
        line = json.dumps({"name": name, "values": values}, default=str) + "\n"
        self.findings[name] = values
        if self.pipe >= 0:
            content = line.encode()
            while content:
                content = content[os.write(self.pipe, content) :]

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def item(self, name: str, work: Callable[[dict[str, Any]], None], needs: float = 0.0) -> None:
        """Report what ``work`` puts into the dict that it is handed; what it raises is a finding, and the part goes on.

        Args:
            name: of the finding.
            work: what to do; a ``not_run`` in its dict says why it did nothing.
            needs: seconds that it takes at least; with less left it is not begun.
        """
        found: dict[str, Any] = {}
        if self.left < needs:
            self.say(name, not_run=f"no time: {max(0.0, self.left):.0f} s were left, {needs:.0f} s are needed")
            return
        start = time.monotonic()
        try:
            work(found)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            said = (str(error).strip().splitlines() or [""])[0]
            found["error"] = f"{type(error).__name__}: {said} ({Path(last.filename).name}:{last.lineno})"
            traceback.print_exc()
        found["seconds"] = round(time.monotonic() - start, 2)
        self.say(name, **found)


Part = Callable[[Proof], None]


def run_parts(
    parts: Mapping[str, tuple[Part, float]],
    folder: Path,
    seconds: float,
    device: str,
    report: dict[str, Any],
    tiny: bool = False,
) -> dict[str, Any]:
    """Run the parts in order and return the report, which also stands in ``folder/proof.json``.

    Args:
        parts: by name: what to run, and its share of the time. What a part leaves, the later ones share.
        folder: for the report and ``log.txt``.
        seconds: for all.
        device: see ``Proof``.
        report: what the JSON file says besides ``parts``.
        tiny: see ``Proof``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    report = {**report, "parts": {}}
    shares = {name: share for name, (_, share) in parts.items()}
    for name, (part, share) in parts.items():
        left = end - time.monotonic()
        allowed = left * share / sum(list(shares.values())[list(shares).index(name) :])
        found: dict[str, Any] = {"state": "running", "findings": {}}
        report["parts"][name] = found
        _write(folder, report)
        print(f"{name}: at most {allowed:.0f} s", flush=True)
        start = time.monotonic()
        if left < 2 * GRACE:
            found.update(state="not run", why="no time was left")
        else:
            proof = Proof(device, folder, start + max(allowed - GRACE, 1.0), tiny=tiny)
            _run_one(part, proof, min(start + allowed, end), found, lambda: _write(folder, report))
        found["seconds"] = round(time.monotonic() - start, 1)
        _write(folder, report)
        print(f"{name}: {found['state']} in {found['seconds']} s", flush=True)
    return report


def _write(folder: Path, report: Mapping[str, Any]) -> None:
    write_text(folder / "proof.json", json.dumps(report, indent=2) + "\n")


def _run_one(part: Part, proof: Proof, kill_at: float, found: dict[str, Any], keep: Callable[[], None]) -> None:
    """Fork, collect findings until the child ends or its time is up, and say how it ended."""
    reading, writing = os.pipe()
    sys.stdout.flush(), sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        proof.pipe = writing
        _child(part, proof)
    os.setpgid(pid, pid)  # the child does so too: whoever comes first
    os.close(writing)
    rest, status = b"", None
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while status is None and time.monotonic() < kill_at:
            ended, code = os.waitpid(pid, os.WNOHANG)
            status = os.waitstatus_to_exitcode(code) if ended else None
            # What a process that it has left behind may still send is not waited for.
            while select.select([pipe], [], [], 0 if ended else 0.2)[0] and (content := pipe.read(1 << 16)):
                *lines, rest = (rest + content).split(b"\n")
                for line in lines:
                    said = json.loads(line)
                    found["findings"][said["name"]] = said["values"]
                keep()
            if not ended:
                time.sleep(0.05)
    _end_group(pid)
    if status is None:
        os.waitpid(pid, 0)
        found.update(state="out of time", why=f"ended at its deadline; {len(found['findings'])} findings were kept")
    elif status:
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
        found.update(state="failed", why=f"{how}; see log.txt")
    else:
        found["state"] = "done"


def _end_group(pid: int) -> None:
    """End whatever is left of the child's process group."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # all have ended


def _child(part: Part, proof: Proof) -> None:
    code = 1
    try:
        os.setpgid(0, 0)
        log = os.open(proof.folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)
        sys.stdout = sys.stderr = os.fdopen(log, "w", buffering=1, encoding="utf-8")
        part(proof)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
