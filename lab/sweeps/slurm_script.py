"""The batch script of one attempt under Slurm, as text that a person can read and submit by hand. No torch."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from lab.sweeps.placing import Assignment
from lab.sweeps.settings import SlurmLauncher

_SCRIPT = """\
#!/bin/bash
# Job {number}, attempt {attempt}, of the sweep {sweep}. Submit it again by hand with: sbatch THIS_FILE
{options}

# The exit code goes to a file, because a cluster may keep no accounts of jobs that have ended.
leave() {{ echo "$@" > {exit_file}.new && mv {exit_file}.new {exit_file}; exit "$1"; }}

# Slurm sends USR1 some seconds before the time limit. The job then writes a checkpoint and ends, and {requeues}
worker= noted= requeue= limit= early=
forward() {{ noted=1; [ -z "$worker" ] || kill "-$1" "$worker" 2> /dev/null; }}
trap 'requeue={requeue}; limit=1; early=1; forward TERM' USR1
trap 'requeue=; limit=; early=1; forward TERM' TERM
trap 'forward USR1' USR2  # the log file was renamed: open it again

cd {directory} || leave 1
export PYTHONPATH={path}
{setup}(trap '' USR1; exec {python} -P -m lab.sweeps.worker {file}) &
worker=$!
[ -z "$early" ] || kill -TERM "$worker"
while :; do
    noted=
    wait "$worker"
    code=$?
    [ -n "$noted" ] || break  # a signal has ended the wait, not the job
done
if [ -n "$requeue" ] && [ "$code" = 143 ] && scontrol requeue "$SLURM_JOB_ID"; then
    exit 0
fi
[ -z "$limit" ] || [ "$code" != 143 ] || leave 143 its time limit was near
leave "$code"
"""


def script_of(assignment: Assignment, settings: SlurmLauncher, file: Path, exit_file: Path) -> str:
    """Return the batch script of an attempt.

    Args:
        assignment: the attempt.
        settings: what it asks of Slurm.
        file: the attempt's file (``lab.sweeps.worker``).
        exit_file: where the script leaves the exit code.
    """
    # The nodes import the same lab as this process, installed or not.
    path = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]))
    requeues = "Slurm\n# puts it into its queue again: it continues as the same job of Slurm and the same attempt."
    return _SCRIPT.format(
        number=assignment.number,
        attempt=assignment.attempt,
        sweep=assignment.sweep,
        options="\n".join(f"#SBATCH {option}" for option in options_of(assignment, settings)),
        requeues=requeues if settings.requeue else "the\n# sweep starts another attempt.",
        requeue="1" if settings.requeue else "",
        directory=shlex.quote(str(Path.cwd())),
        path=shlex.quote(path),
        setup="".join(f"{line}\n" for line in settings.setup),
        python=shlex.quote(settings.python or sys.executable),
        file=shlex.quote(str(file)),
        exit_file=shlex.quote(str(exit_file)),
    )


def options_of(assignment: Assignment, settings: SlurmLauncher) -> list[str]:
    """Return the options of sbatch for an attempt, quoted as sbatch reads them in a script."""
    gpus = settings.gpus_of(assignment.prepared.config["trainer"])
    output = str(assignment.folder.resolve() / "output.log").replace("%", "%%")
    given: dict[str, object] = {
        "job-name": f"lab-{assignment.sweep.name}-{assignment.number}",
        "output": output,
        "open-mode": "append",
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": settings.threads_per_job,
        "gpus-per-node": gpus or None,
        "partition": settings.partition,
        "time": settings.time,
        "mem": settings.memory,
        "constraint": settings.constraint,
        "account": settings.account,
        "qos": settings.qos,
        "signal": f"B:USR1@{settings.signal_before}",
    }
    options = [_quoted(f"--{key}={value}") for key, value in given.items() if value is not None]
    return [*options, "--requeue" if settings.requeue else "--no-requeue", *map(_quoted, settings.sbatch)]


def _quoted(option: str) -> str:
    """Return an option as a script's ``#SBATCH`` line has it: sbatch knows double quotes and backslashes."""
    if not any(sign.isspace() or sign in "\"'\\#" for sign in option):
        return option
    start = option.find("=") + 1
    escaped = option[start:].replace("\\", "\\\\").replace('"', '\\"')
    return f'{option[:start]}"{escaped}"'
