"""The commands of ``lab``: the first words that are no overrides, each with what runs it and its line in ``--help``."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Subcommand:
    """A first word of a command line that is no override.

    Attributes:
        target: ``module:function``; the function takes the words after the command's and returns the exit code.
        words: those that may follow, as the help shows them.
        help: what it does, in a line of 60 signs.
    """

    target: str
    words: str
    help: str

    def run(self, words: Sequence[str]) -> int:
        """Run it with the words after its own; the module is imported now."""
        module, _, name = self.target.partition(":")
        code: int = getattr(importlib.import_module(module), name)(words)
        return code


COMMANDS = {
    "sweep": Subcommand(
        "lab.sweeps.commands:run_command", "VERB [SWEEP]", "look at a sweep; pause it, resume it, retry or drop jobs"
    ),
    "report": Subcommand(
        "lab.cli.report:run_report", "RUN_OR_SWEEP", "one HTML page: curves, table, parameters, pictures"
    ),
    "runs": Subcommand("lab.cli.runs:run_runs", "[DIR] [WORD ...]", "a table of runs; filters, sorts, --json, --csv"),
    "diff": Subcommand(
        "lab.cli.diff:run_diff", "A B", "where two runs differ: config, versions, data, results, curves"
    ),
    "rerun": Subcommand(
        "lab.cli.rerun:run_rerun", "RUN [KEY=VALUE]", "train a run again, and say whether the result is the same"
    ),
    "clean": Subcommand(
        "lab.cli.clean:run_clean", "DIR", "list what could be deleted in a folder of runs; --yes deletes it"
    ),
    "new": Subcommand(
        "lab.cli.new:run_new", "KIND NAME", "a project, model, data or task to begin with; it passes its tests"
    ),
    "env": Subcommand("lab.cli.env:run_env", "", "versions, commit and machine, to paste into a report of a bug"),
}
"""By word, in the order of the help. ``lab WORD --help`` says more of each."""


def help_lines() -> list[str]:
    """Return a line for each command."""
    shown = {name: f"python run.py {name} {command.words}".rstrip() for name, command in COMMANDS.items()}
    return [f"  {shown[name]:<43}{command.help}" for name, command in COMMANDS.items()]
