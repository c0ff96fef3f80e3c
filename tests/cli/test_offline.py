"""A run that nobody has put online speaks to nobody: no name is resolved, no connection leaves the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.runs import ROOT, SMALL, Runs

# Python runs a module of this name at its start, in every process that inherits PYTHONPATH.
WATCHED = """
import json, os, socket, subprocess

def tell(what, value):
    with open(os.environ["WATCHED"], "a") as file:
        file.write(json.dumps([what, str(value)]) + "\\n")

def watch(owner, name, what):
    original = getattr(owner, name)
    def watched(*arguments, **keywords):
        tell(what, arguments)
        return original(*arguments, **keywords)
    setattr(owner, name, watched)

for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo"):
    watch(socket, name, "resolve")

class Socket(socket.socket):
    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            tell("connect", address)
        return super().connect(address)

    def connect_ex(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            tell("connect", address)
        return super().connect_ex(address)

    def sendto(self, *arguments):
        tell("send", arguments)
        return super().sendto(*arguments)

socket.socket = Socket
start = subprocess.Popen.__init__
def popen(self, command, *arguments, **keywords):
    tell("process", command)
    start(self, command, *arguments, **keywords)
subprocess.Popen.__init__ = popen
"""


def test_an_offline_run_resolves_no_name_and_connects_to_nobody(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCHED)
    # MLflow is as silent under pytest or in a CI as its makers want, so it must not know of them.
    known = ("WANDB_", "MLFLOW_", "PYTEST_", "CI", "GITHUB_", "BUILD")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(known)}
    environment |= {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "WATCHED": str(tmp_path / "watched.txt"),
        "NETRC": str(tmp_path / "netrc"),
        "WANDB_CONFIG_DIR": str(tmp_path / "settings"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(ROOT / "run.py"), *SMALL, "trainer.max_steps=2", "logger=[wandb,tensorboard,mlflow]"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "recorded offline" in done.stderr
    told = [json.loads(line) for line in (tmp_path / "watched.txt").read_text().splitlines()]
    assert [item for item in told if item[0] != "process"] == []
    # W&B's service is no Python: it is told on its command line to report nothing.
    (service,) = [text for what, text in told if what == "process" and "wandb-core" in text]
    assert "--no-observability" in service


def test_slurm_on_the_machine_is_no_news(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "srun").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "srun").chmod(0o755)
    command = runs.run(
        *SMALL, "trainer.max_steps=1", folder=tmp_path, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    )
    assert command.code == 0, command.err
    assert "srun" not in command.out + command.err
