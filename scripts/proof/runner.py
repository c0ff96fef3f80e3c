"""Runs the parts of a proof one after the other, each in its own process with a deadline.

The parent imports what the parts need, uses no device and forks a child for each part. So a part that fails, hangs, is
killed or makes the device unusable does not affect the others. A child sends each finding through a pipe. The parent
keeps the findings in one JSON file, which is replaced atomically. A child leads its own process group (with the loaders
and jobs that it has started), which is ended with it.
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
"""Seconds that a part has to end by itself after its deadline."""


@dataclass
class Proof:
    """The context of a part.

    Attributes:
        device: ``"cuda"`` or ``"cpu"``.
        folder: where the part may write.
        deadline: ``time.monotonic()`` at which the part should have ended.
        pipe: where findings are sent.
        tiny: test the proof itself, with the smallest sizes.
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
        """Call ``work`` with a dict and report what it puts there; an exception is reported, and the part continues.

        Args:
            name: the name of the finding.
            work: the work; a ``not_run`` in its dict says why it did nothing.
            needs: the least seconds that it takes; it is not started if less is left.
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
    """Run the parts in order and return the report, which is also written to ``folder/proof.json``.

    Args:
        parts: by name, the function to run and its share of the time. Unused time goes to the later parts.
        folder: for the report and ``log.txt``.
        seconds: the time for all parts.
        device: see ``Proof``.
        report: other entries of the JSON file, besides ``parts``.
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
    """Fork, collect findings until the child ends or its time is up, and record how it ended."""
    reading, writing = os.pipe()
    sys.stdout.flush(), sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        proof.pipe = writing
        _child(part, proof)
    os.setpgid(pid, pid)  # the child does this too, because either may run first
    os.close(writing)
    rest, status = b"", None
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while status is None and time.monotonic() < kill_at:
            ended, code = os.waitpid(pid, os.WNOHANG)
            status = os.waitstatus_to_exitcode(code) if ended else None
            # Do not wait for processes that the child has left behind.
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
    """End all remaining processes of the child's process group."""
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
