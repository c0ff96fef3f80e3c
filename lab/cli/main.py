"""The command line: compose once, refuse what is wrong in one line, find the run, hand it to ``lab.experiment.fit``."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

from lab.errors import ConfigError, LabError, closest
from lab.launch.prepare import prepare_job
from lab.system.ranks import external_place
from lab.system.signals import Interrupted, SignalWatch
from lab.system.storage import explain
from lab.text import guard_streams, printable

FLAGS = ("--multirun", "--config-dir", "--cfg", "--help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 done, 1 failed, 2 refused, 130 and 143 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    guard_streams()
    # OpenMP's threads spin while they wait, which on a machine with other work costs more than the step itself.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return _main(words)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        return interrupted.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        found = explain(error)
        if found is None:
            print(printable(traceback.format_exc(), keep_lines=True), end="", file=sys.stderr)
        else:
            print(f"error: {found}", file=sys.stderr)
        return 1


def _main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("--config-dir", action="append", default=[])
    parser.add_argument("--cfg", action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    try:
        options, overrides = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise ConfigError(str(error)) from None
    if options.help:
        from lab.cli.usage import print_help

        print_help(options.config_dir)
        return 0
    for word in overrides:
        if word.startswith("-"):
            raise ConfigError(
                f"{word}: there is no such flag{closest(word, FLAGS) or '; there are ' + ', '.join(FLAGS)}"
            )
        if "=" not in word and not word.startswith("~"):
            raise ConfigError(f"{word}: not understood; write key=value, or see --help")
    place = external_place(os.environ)
    if place is not None and not options.cfg:
        from lab.launch.placed import run_placed

        return run_placed(overrides, options.config_dir, place, options.multirun)
    if options.multirun:
        from lab.sweeps.grid import run_all

        return run_all(overrides, options.config_dir)
    return run_one(overrides, options.config_dir, only_print=options.cfg)


def run_one(overrides: list[str], user_dirs: list[str], only_print: bool = False) -> int:
    """Compose, check and run a single job."""
    if only_print:
        from lab.report.tables import print_config

        print_config(prepare_job(overrides, user_dirs, machine=False).config)
        return 0
    prepared = prepare_job(overrides, user_dirs)
    with SignalWatch():
        return prepared.run(here=True)
