"""The command line: it does what ``lab.api`` does, adds flags, prints errors in one line and returns an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches

from lab.cli.commands import COMMANDS
from lab.errors import ConfigError, closest
from lab.launch.outcomes import exit_code, say
from lab.system.collector import collect_as_usual, collect_seldom
from lab.system.ranks import external_place
from lab.system.signals import SignalWatch
from lab.text import guard_streams

FLAGS = ("--multirun", "--config-dir", "--cfg", "--help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 done, 1 failed, 2 refused, 130 and 143 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    guard_streams()
    try:
        return _main(words)
    except SystemExit:
        raise
    except BaseException as error:
        say(error)
        return exit_code(error)
    finally:
        collect_as_usual()


def _main(words: list[str]) -> int:
    if words and words[0] in COMMANDS:
        return COMMANDS[words[0]].run(words[1:])
    from lab.launch.prepare import check_words, prepare_job  # with Hydra, which commands do not need

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
        if word.isalpha() and (near := get_close_matches(word, COMMANDS, 1, cutoff=0.75)):  # "seed" is no "sweep"
            raise ConfigError(f"{word}: neither key=value nor a command; did you mean {near[0]!r}?")
        if word.startswith("-"):
            raise ConfigError(
                f"{word}: there is no such flag{closest(word, FLAGS) or '; there are ' + ', '.join(FLAGS)}"
            )
    check_words(overrides)
    if not options.multirun:  # a sweep's master lives long, and imports little
        collect_seldom()
    place = external_place(os.environ)
    if place is not None and not options.cfg:
        from lab.launch.placed import run_placed

        return run_placed(overrides, options.config_dir, place, options.multirun)
    if options.multirun:
        from lab.sweeps.run import run_sweep

        return run_sweep(overrides, options.config_dir)
    from lab.sweeps.setup import refuse_sweep_words

    refuse_sweep_words(overrides)
    if options.cfg:
        from lab.report.tables import print_config

        print_config(prepare_job(overrides, options.config_dir, machine=False).config)
        return 0
    prepared = prepare_job(overrides, options.config_dir)
    with SignalWatch():
        prepared.run(here=True)
    return 0
