"""Installs an sdist or a wheel into an empty environment and uses it as a stranger would, far from the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Sequence
from pathlib import Path

from lab.errors import RunError

TINY = (
    "trainer=cpu",
    "logger=csv",
    "trainer.max_steps=2",
    "data.num_train=16",
    "data.num_val=8",
    "data.num_test=8",
    "data.batch_size=8",
    "data.image_size=32",
    "data.max_side=20",
    "callbacks.progress=false",
)
"""The default job in seconds."""
HIDDEN = ("PYTHONPATH", "VIRTUAL_ENV", "LAB_DATA_DIR")
"""Variables that would lead back to the checkout or its environment."""
LIMIT = 3600.0
"""Seconds for one command: an installation over a slow network takes long."""


def try_file(file: Path, folder: Path, version: str, fast: bool) -> str:
    """Install a file, train the default job with it, test its checkpoint, make its report and list its recipes.

    Args:
        file: the sdist or wheel.
        folder: an empty place for the environment and the runs; about 6 GB unless ``fast``.
        version: the version that must be installed afterwards.
        fast: take the packages of the running environment, and install nothing but the file.

    Returns:
        What was done, in words.

    Raises:
        RunError: a command failed or left something else than it should.
    """
    env, work = folder / "env", folder / "work"
    work.mkdir(parents=True)
    venv.create(env, with_pip=True)
    begun = time.monotonic()
    if fast:
        borrowed = Path(sysconfig.get_paths(vars={"base": str(env), "platbase": str(env)})["purelib"]) / "borrowed.pth"
        borrowed.write_text("\n".join(path for path in sys.path if path.endswith("-packages")) + "\n", encoding="utf-8")
    how = ["--no-deps", "--no-build-isolation"] if fast else []
    _run([env / "bin" / "python", "-m", "pip", "install", "-q", "--ignore-installed", *how, file], work)
    installed = time.monotonic()
    lab = env / "bin" / "lab"
    found = json.loads(_run([lab, "env", "--json"], work))
    if found["lab"] != version or found["commit"] is not None:
        raise RunError(f"{file.name}: after the installation lab is {found['lab']} of commit {found['commit']}")
    _run([lab, *TINY], work)
    runs = [path for path in (work / "runs").iterdir() if (path / "run.json").is_file()]
    states = [json.loads((path / "run.json").read_text(encoding="utf-8"))["state"] for path in runs]
    if states != ["finished"]:
        raise RunError(f"{file.name}: the default job left runs in the states {states}, not one that has finished")
    _run([lab, "stage=test", f"ckpt={runs[0] / 'checkpoints' / 'best.ckpt'}"], work)
    _run([lab, "report", runs[0]], work)
    _run([lab, "experiments=shapes", "--cfg"], work)
    means = "packages of this environment" if fast else f"installed in {installed - begun:.0f} s"
    shutil.rmtree(folder)  # gigabytes
    return f"{means}; default job, test, report and a recipe in {time.monotonic() - installed:.0f} s"


def _run(command: Sequence[object], folder: Path) -> str:
    """Run a command without this process's paths for Python, and return its output.

    Raises:
        RunError: it failed; its last line.
    """
    clean = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "LAB_DATA_DIR")
    }
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, cwd=folder, env=clean, capture_output=True, text=True, check=False, timeout=LIMIT)
    except subprocess.TimeoutExpired as error:
        raise RunError(f"{' '.join(words)}: no end after {LIMIT:.0f} s") from error
    if done.returncode:
        last = ([*done.stdout.splitlines(), *done.stderr.splitlines()] or ["no output"])[-1]
        raise RunError(f"{' '.join(words)}: exit code {done.returncode}, {last}")
    return done.stdout
