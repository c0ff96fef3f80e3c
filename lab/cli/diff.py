"""``lab diff A B``: where two runs differ, in what they were made of and in what came out."""

from __future__ import annotations

from collections.abc import Sequence

from lab.cli.arguments import Arguments
from lab.cli.output import unless_reader_left
from lab.errors import ConfigError

_USAGE = """lab diff A B [--json] [--exit-code]

Where two runs differ: keys of the config, versions, sources, data, hardware, results, and the step at which their
curves part. Only differences are shown.

  A, B         a run's directory, its name below runs/ or the beginning of it, or a file of it such as a checkpoint
  --json       for programs
  --exit-code  exit with 1 if the configs differ, as git diff does; otherwise the exit code is 0, or 2 if refused"""


def run_diff(words: Sequence[str]) -> int:
    """Carry out ``lab diff ...`` and return its exit code.

    Args:
        words: what comes after ``diff``.

    Raises:
        LabError: one of them is no run, or there are not two.
    """
    arguments = Arguments("diff", _USAGE)
    arguments.flag("--json", action="store_true")
    arguments.flag("--exit-code", action="store_true")
    read = arguments.read(words)
    if read is None:
        return 0
    options, rest = read
    if len(rest) != 2:
        raise ConfigError(f"lab diff compares two runs, here are {len(rest)} (lab diff --help)")
    from lab.report.records.finding import find_run
    from lab.report.records.listing import write_out
    from lab.report.records.pairs import pair_as_json, print_pair, read_pair

    one, other = map(find_run, rest)
    pair = read_pair(one, other)
    with unless_reader_left():
        if options.json:
            write_out(pair_as_json(pair))
        else:
            print_pair(pair)
    return int(options.exit_code and not pair.same_config)
