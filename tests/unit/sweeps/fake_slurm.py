"""Slurm's programs as scripts of the shell, which keep the queue in files that a test changes."""

from __future__ import annotations

from pathlib import Path

_PROGRAMS = {
    "sbatch": """
case "$*" in *--test-only*) test=1 ;; esac
for script; do :; done
if grep -q -- '--partition=nix' "$script"; then
    echo 'sbatch: error: invalid partition specified: nix' >&2; exit 1
fi
[ -z "$test" ] || exit 0
[ ! -e "$Q/down" ] || { echo 'sbatch: error: Batch job submission failed: Socket timed out' >&2; exit 1; }
number=$(( $(cat "$Q/last" 2> /dev/null || echo 100) + 1 ))
echo $number > "$Q/last"
echo "PENDING|Priority|" > "$Q/job-$number"
cp "$script" "$Q/script-$number"
echo "$number;cluster"
""",
    "squeue": """
echo "$*" >> "$Q/squeue"
[ ! -e "$Q/down" ] || { echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1; }
for word; do case "$word" in --jobs=*) jobs="${word#--jobs=}" ;; esac; done
for job in ${jobs//,/ }; do
    [ ! -e "$Q/job-$job" ] || echo "$job|$(cat "$Q/job-$job")"
done
[[ "$jobs" == *,* || -e "$Q/job-$jobs" ]] || { echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1; }
""",
    "scancel": """
echo "scancel $*" >> "$Q/calls"
""",
    "scontrol": """
echo "scontrol $*" >> "$Q/calls"
[ ! -e "$Q/norequeue" ] || exit 1
""",
}


class FakeSlurm:
    """The programs in ``folder/bin``, their queue in ``folder/queue``."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.queue = folder / "bin", folder / "queue"
        self.bin.mkdir()
        self.queue.mkdir()
        for name, body in _PROGRAMS.items():
            script = self.bin / name
            script.write_text(f"#!/bin/bash\nQ='{self.queue}'\n{body}")
            script.chmod(0o755)

    def set(self, job: int, state: str, reason: str = "None", nodes: str = "") -> None:
        """Change the state of a job."""
        (self.queue / f"job-{job}").write_text(f"{state}|{reason}|{nodes}\n")

    def forget(self, job: int) -> None:
        """Let squeue no longer know a job."""
        (self.queue / f"job-{job}").unlink()

    def calls(self) -> list[str]:
        """Return the calls of scancel and scontrol."""
        file = self.queue / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def asked(self) -> list[str]:
        """Return the arguments of each call of squeue."""
        file = self.queue / "squeue"
        return file.read_text().splitlines() if file.exists() else []

    def down(self, is_down: bool) -> None:
        """Let the controller not answer."""
        file = self.queue / "down"
        file.touch() if is_down else file.unlink()
