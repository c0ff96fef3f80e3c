"""Upload what runs have recorded offline for Weights & Biases, and go on where an earlier upload ended.

    python scripts/wandb_sync.py                      # all runs below runs/
    python scripts/wandb_sync.py runs/detr_tiny-*     # these runs
    python scripts/wandb_sync.py --dry-run            # only list what is not uploaded

Each process of a run leaves one folder of records. They are uploaded one after the other by `wandb sync`, in the order
of their starts, which leaves a mark (`*.wandb.synced`) in each; a folder with a mark is not uploaded again. A failure
does not stop the others and is tried again by the next call; later folders of the same W&B run wait until then, because
W&B takes steps in their order. A run that is still training is left for the next call. Exit code: 0 if all is uploaded,
1 if something is left, 2 if nothing can be uploaded. A key is needed: `wandb login`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab.cli.refusing import refusing
from lab.compat.wandb import known_settings
from lab.errors import ConfigError, RunError
from lab.loggers.offline_folders import OfflineFolder, offline_folders
from lab.loggers.wandb_offline import choose_mode
from lab.loggers.wandb_server import silence
from lab.report.tables import print_table
from lab.run_lock import is_locked
from lab.text import one_line

UPLOADED, EARLIER, FAILED, WAITS, RUNS = "uploaded", "uploaded earlier", "failed", "waits", "still running"


def find(words: Sequence[str]) -> list[tuple[Path, OfflineFolder]]:
    """Return the offline folders of runs and of folders with runs, in the order of their starts.

    Raises:
        RunError: a word is no folder.
    """
    runs: dict[Path, Path] = {}
    for word in words:
        path = Path(word)
        if not path.is_dir():
            raise RunError(f"{word}: no such folder; give a run's directory, or a folder with runs")
        found = (
            [path] if (path / "wandb").is_dir() else [below for below in path.iterdir() if (below / "wandb").is_dir()]
        )
        runs |= {run.resolve(): run for run in found}
    return sorted(((run, each) for run in runs.values() for each in offline_folders(run)), key=lambda item: item[1])


def upload(folder: OfflineFolder, command: Sequence[str], timeout: float) -> str:
    """Upload one folder; return an empty text, or in one line why it failed."""
    try:
        done = subprocess.run(
            [*command, str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no end after {timeout:.0f} s"
    # `wandb sync` ends with 0 after some failures too; its mark is what counts.
    if done.returncode == 0 and folder.is_uploaded:
        return ""
    said = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), "it said nothing")
    return f"exit code {done.returncode}: {one_line(said)}"


def upload_all(
    found: Sequence[tuple[Path, OfflineFolder]], command: Sequence[str], timeout: float
) -> Iterator[tuple[Path, str]]:
    """Upload the folders in turn and print what happens; yield each run with how it went."""
    failed: set[str] = set()
    total = sum(not folder.is_uploaded for _, folder in found)
    count = 0
    for run, folder in found:
        if folder.is_uploaded:
            yield run, EARLIER
            continue
        count += 1
        size = sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file()) / 1e6
        print(f"[{count}/{total}] {one_line(folder.path)} ({size:.1f} MB)", end=" ", flush=True)
        if is_locked(run):
            print("is left: its run is still training")
            yield run, RUNS
        elif folder.id in failed:
            print("waits: an earlier part of the same run has failed")
            yield run, WAITS
        else:
            begin = time.monotonic()
            problem = upload(folder, command, timeout)
            if problem:
                failed.add(folder.id)
            print(f"failed: {problem}" if problem else f"uploaded in {time.monotonic() - begin:.0f} s")
            yield run, FAILED if problem else UPLOADED


def wandb_command(options: argparse.Namespace) -> list[str]:
    """Return the command that uploads a folder.

    Raises:
        ConfigError: there is no key.
    """
    mode, reason = choose_mode("online", known_settings())
    if mode != "online":
        raise ConfigError(f"nothing can be uploaded, {reason.split(',')[0]}: run `wandb login`, or set WANDB_API_KEY")
    program = shutil.which("wandb")
    command = [program] if program else [sys.executable, "-m", "wandb"]
    command.append("sync")
    for name in ("project", "entity"):
        command += [f"--{name}", getattr(options, name)] if getattr(options, name) else []
    return command


@refusing
def main(arguments: Sequence[str] | None = None) -> int:
    """Upload, or list, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", default=["runs"], metavar="RUNS_DIR_OR_RUN", help="(default: runs)")
    parser.add_argument("--dry-run", action="store_true", help="list what is not uploaded, and upload nothing")
    parser.add_argument("--project", help="another W&B project than the runs have recorded")
    parser.add_argument("--entity", help="the user or team that gets the runs (default: yours)")
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds for one folder (default: 3600)")
    options = parser.parse_args(arguments)
    return run(options)


def run(options: argparse.Namespace) -> int:
    """Do what the options ask for.

    Raises:
        LabError: a folder or the key is missing.
    """
    found = find(options.words)
    left = [folder for _, folder in found if not folder.is_uploaded]
    if options.dry_run:
        for folder in left:
            print(one_line(folder.path))
    if options.dry_run or not left:
        print(f"{len(left)} of {len(found)} offline folders are not uploaded")
        return 0
    silence()  # the settings of W&B are read, and its own reports are none of this command's business
    ends: dict[Path, Counter[str]] = {}
    try:
        for path, end in upload_all(found, wandb_command(options), options.timeout):
            ends.setdefault(path, Counter())[end] += 1
    except KeyboardInterrupt:
        print("\ninterrupted; the next call goes on")
    words = (UPLOADED, EARLIER, FAILED, WAITS, RUNS)
    shown = [word for word in words if any(counts[word] for counts in ends.values())]
    print_table(
        [{"run": path.name, **{word: counts[word] for word in shown}} for path, counts in ends.items()], "uploads"
    )
    return 0 if all(folder.is_uploaded for folder in left) else 1


if __name__ == "__main__":
    sys.exit(main())
