"""``lab rerun RUN``: trains a run again from its record, and says whether the result is the same."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lab.cli.arguments import Arguments
from lab.errors import ConfigError, RunError
from lab.text import printable

if TYPE_CHECKING:
    from lab.launch.rerun import Rerun

_USAGE = """lab rerun RUN [KEY=VALUE ...] [--check] [--anyway] [--into DIR] [--config-dir DIR]

Trains a run again from what its run.json records: its overrides, config folders and extensions. First it compares
config, sources, versions, data and hardware with what is here now. It goes on only if nothing differs that changes
numbers. At the end it compares the results. The original is only read.

  RUN               a run's directory, its name below runs/ or the beginning of it, or a checkpoint of it
  KEY=VALUE         further overrides, after the recorded ones
  --check           compare and train nothing; the exit code is 1 if something differs that changes numbers
  --anyway          train although something differs
  --into DIR        paths.runs_dir of the new run (default: the folder rerun beside the original)
  --config-dir DIR  a further config folder

The exit code is 0 if all results are the same to the last digit, 1 if not, 2 if the rerun is refused. An interrupted
rerun goes on with the same command; a finished one is kept as NAME~1 when the command is repeated."""


def run_rerun(words: Sequence[str]) -> int:
    """Carry out ``lab rerun ...`` and return its exit code.

    Args:
        words: what comes after ``rerun``.

    Raises:
        LabError: there is no such run, it cannot be composed, or something differs that changes numbers.
    """
    arguments = Arguments("rerun", _USAGE)
    arguments.flag("--check", action="store_true")
    arguments.flag("--anyway", action="store_true")
    arguments.flag("--into", type=Path)
    arguments.flag("--config-dir", action="append", default=[])
    read = arguments.read(words)
    if read is None:
        return 0
    options, rest = read
    if not rest:
        raise ConfigError("lab rerun needs a run (lab rerun --help)")
    from lab.launch.prepare import check_words
    from lab.launch.rerun import prepare_rerun
    from lab.report.records.finding import find_run
    from lab.system.signals import SignalWatch

    check_words(rest[1:])
    rerun = prepare_rerun(find_run(rest[0]), rest[1:], options.config_dir, options.into)
    _print_comparison(rerun)
    obstacles = rerun.obstacles
    if options.check:
        return int(bool(obstacles))
    if obstacles and not options.anyway:
        raise RunError(
            f"{rerun.original}: {len(obstacles)} of what differs here can change the result (table above): "
            "--anyway trains all the same"
        )
    sys.stdout.flush()
    with SignalWatch():
        path = rerun.run()
    return _print_result(rerun, path)


def _print_comparison(rerun: Rerun) -> None:
    from rich.console import Console

    from lab.report.records.pairs import print_facts

    console = Console(highlight=False)
    console.width = max(console.width, 100)
    print(f"original  {printable(rerun.original)}")
    print(f"new run   {printable(rerun.path)}")
    for problem in rerun.problems:
        print(f"note: {printable(problem)}, so not all of it is compared")
    print_facts(console, rerun.facts, ("was", "is"))
    if not rerun.facts:
        print("config, versions, sources, data and hardware are those of the original")
    elif not rerun.obstacles:
        print("nothing differs that changes numbers")


def _print_result(rerun: Rerun, path: Path) -> int:
    """Print both results, and return the exit code."""
    from rich.console import Console

    from lab.launch.rerun import compare_results
    from lab.report.records.pairs import print_results

    results = compare_results(rerun.original, path)
    known = [pair for pair in results.values() if pair[0] is not None]
    if not known:
        print(f"{printable(rerun.original)} has no result, so there is nothing to compare")
        return 0
    apart = [name for name, (was, found) in results.items() if was != found]
    print_results(Console(highlight=False), {name: results[name] for name in _shown(results, apart)}, ("was", "is"), {})
    count = len(results)
    if not apart:
        print(f"equal     all {count} metrics are those of {printable(rerun.original)}, to the digit")
        return 0
    print(f"differs   {len(apart)} of {count} metrics are not those of {printable(rerun.original)}")
    return 0 if rerun.overrides else 1


def _shown(results: dict[str, tuple[float | None, float | None]], apart: list[str]) -> list[str]:
    """Return the metrics to print: those that differ, and those defined of all classes."""
    return [
        name for name, pair in results.items() if name in apart or ("per_class" not in name and pair[0] is not None)
    ]
