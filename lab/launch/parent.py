"""The command line: compose once, refuse what is wrong in one line, find the run, hand it to ``lab.experiment``."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.config.words import word_key, word_values
from lab.errors import ConfigError, LabError, RunError, closest
from lab.files import is_checkpoint
from lab.launch.jobs import Job, run_job
from lab.ranks import Place, external_place
from lab.run_directory import RunDirectory, run_name, sources_fingerprint
from lab.signals import Interrupted, SignalWatch
from lab.storage import explain
from lab.text import guard_streams, printable

_FLAGS = ("--multirun", "--config-dir", "--cfg", "--help")
_NOT_INHERITED = ("stage", "ckpt", "input", "check", "resume")
_ANEW = ("strategy", "optimizer", "scheduler")
"""Groups whose options have keys of their own: what was set for one is not inherited by another."""


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
        from lab.launch.usage import print_help

        print_help(options.config_dir)
        return 0
    for word in overrides:
        if word.startswith("-"):
            raise ConfigError(
                f"{word}: there is no such flag{closest(word, _FLAGS) or '; there are ' + ', '.join(_FLAGS)}"
            )
        if "=" not in word and not word.startswith("~"):
            raise ConfigError(f"{word}: not understood; write key=value, or see --help")
    place = external_place(os.environ)
    if place is not None and not options.cfg:
        from lab.launch.placed import run_placed

        return run_placed(overrides, options.config_dir, place, options.multirun)
    if options.multirun:
        from lab.launch.multirun import run_all

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


@dataclass
class Prepared:
    """A composed and checked job that has not begun.

    Attributes:
        words: its words, those of the run that it continues included.
        user_dirs: its config folders.
        config: its resolved config.
        path: the directory of its run.
    """

    words: list[str]
    user_dirs: list[str]
    config: dict[str, Any]
    path: Path

    def begin(self) -> tuple[Job, RunDirectory | None]:
        """Take the run directory, where the job has one of its own, and return what the ranks are told.

        Raises:
            RunError: the directory is in use, or lab's sources have changed since it was made.
        """
        if self.config["check"]:
            return Job("check", self.config), None
        if self.config["stage"] != "fit":
            return Job("evaluate", self.config, str(self.path)), None
        run, report = open_run(self.config, self.user_dirs, self.words)
        return Job("report" if report else "fit", self.config, str(run.path), run.is_new, run.before), run

    def run(self, here: bool = False, log: bool = False) -> int:
        """Run the job and return its exit code.

        Args:
            here: a job of one rank runs in this process, not in one of its own.
            log: write the output to ``output.log`` in the run's directory too.
        """
        job, run = self.begin()
        if here and job.world_size == 1:
            return carry_out(job, run, lambda: run_job(job, Place()))
        from lab.launch.workers import run_workers

        output = self.path / "output.log" if log and run is not None else None
        return carry_out(job, run, lambda: run_workers(job, output))


def carry_out(job: Job, run: RunDirectory | None, work: Callable[[], int]) -> int:
    """Do a job's work and return its exit code; its directory, if it has one, is settled and released in any case."""
    code = 1
    try:
        code = work()
        return code
    except LabError:
        code = 2
        raise
    except Interrupted as interrupted:
        code = interrupted.exit_code
        raise
    finally:
        if run is not None:
            _settle(job, run, code)


def _settle(job: Job, run: RunDirectory, code: int) -> None:
    """Record the end, remove the directory of a job that was refused before it began, give the lock back."""
    try:
        if job.kind == "fit":
            run.settle(code)
            if code == 2:
                run.discard_unused()
    except OSError as error:
        if code in (0, 2):  # else the line that is printed says what is wrong; "running" without a lock is interrupted
            print(f"warning: {run.path}: the end of the job could not be recorded ({error.strerror})", file=sys.stderr)
    finally:
        run.release()


def _give_back(run: RunDirectory) -> None:
    """Leave a run directory in which a job could not begin."""
    try:
        run.discard_unused()
    except OSError:  # of a disk that is full or read-only, which the error on its way says
        pass
    finally:
        run.release()


def prepare_job(
    overrides: list[str], user_dirs: list[str], machine: bool = True, place: Place | None = None
) -> Prepared:
    """Compose and check a job.

    Args:
        overrides: the words of the command line.
        user_dirs: further config folders.
        machine: check files and devices too.
        place: of this process, where an external launcher has started it.

    Raises:
        LabError: the first thing that is wrong.
    """
    from lab.config.compose import compose_config
    from lab.launch.targets import check_all

    words, folders, home = inherit(overrides, user_dirs)
    composed = compose_config(words, folders)
    check_all(composed, machine=machine)
    config = composed.config
    nodes = config["trainer"]["num_nodes"]
    if nodes > 1 and place is None:
        raise ConfigError(
            f"trainer.num_nodes={nodes} ({composed.origin('trainer.num_nodes')}): several machines are started from "
            f"outside: torchrun --nnodes={nodes} --nproc_per_node={config['trainer']['devices']} ... run.py on each"
        )
    if machine and config["stage"] != "fit" and not config["check"]:
        home = home or _home_of(config)
    return Prepared(words, folders, config, home or Path(config["paths"]["runs_dir"]) / run_name(config))


def inherit(overrides: list[str], user_dirs: list[str]) -> tuple[list[str], list[str], Path | None]:
    """Put the recorded words of an earlier run before the new ones, where ``ckpt`` or ``resume`` names such a run.

    Returns:
        The words to compose, the config folders, and the run's directory (None where there is none).
    """
    home = _home_named(overrides, user_dirs)
    if home is None:
        return overrides, user_dirs, None
    run = RunDirectory(home)
    record = run.record
    if "overrides" not in record:
        raise RunError(
            f"{run.file} is {run.damage or 'missing'}: the words that this run was made with are not known; repeat its "
            "own command, which mends it, or copy the checkpoint elsewhere and give model=, data= and the rest"
        )
    given = {word_key(word) for word in overrides}
    inherited = [
        word
        for word in record.get("overrides", [])
        if (key := word_key(word)) not in given
        and key not in _NOT_INHERITED
        and not (key.partition(".")[0] in _ANEW and key.partition(".")[0] in given)
    ]
    return [*inherited, *overrides], [*record.get("config_dirs", []), *user_dirs], home


def _home_named(overrides: list[str], user_dirs: list[str]) -> Path | None:
    """Return the directory of the run that ``ckpt``, in a stage that trains nothing, or ``resume`` names."""
    values = word_values(overrides, ("stage", "ckpt", "resume"))
    if any("${" in value for value in values.values()):  # these depend on the config
        from lab.config.compose import compose_config

        own = [word for word in overrides if word_key(word).partition(".")[0] in (*_NOT_INHERITED, "paths")]
        config = compose_config(own, user_dirs).config
        values = {key: str(config[key]) for key in values if config[key] is not None}
    if values.get("stage", "fit") != "fit":
        if not values.get("ckpt"):
            return None
        folder = Path(values["ckpt"]).resolve().parent
        home = folder.parent
        of_run = folder.name == "checkpoints" and (home / "config.yaml").exists()
        return home if of_run or os.path.lexists(home / "run.json") else None
    if values.get("resume", "auto") in ("auto", "never", ""):
        return None
    home = Path(values["resume"])
    return home if os.path.lexists(home / "run.json") else None


def _home_of(config: dict[str, Any]) -> Path:
    """Return the run directory of this config for a stage without a checkpoint of a run."""
    path = Path(config["paths"]["runs_dir"]) / run_name(config)
    best = path / "checkpoints" / "best.ckpt"
    if config["ckpt"] is None and config["model"]["pretrained"] is None:
        if not is_checkpoint(best):
            raise ConfigError(
                f"stage={config['stage']} needs ckpt=FILE (or model.pretrained=TAG): this command has not been fitted, "
                f"{best} does not exist"
            )
        config["ckpt"] = str(best)
    return path


def open_run(config: dict[str, Any], user_dirs: list[str], overrides: list[str]) -> tuple[RunDirectory, bool]:
    """Find and lock the run of this config; say whether it is finished and only to be reported.

    Raises:
        RunError: it is in use, or lab's sources have changed since it was made.
    """
    resume = config["resume"]
    named = resume not in ("auto", "never")
    run = RunDirectory(Path(resume) if named else Path(config["paths"]["runs_dir"]) / run_name(config))
    try:
        run.lock()
    except OSError as error:
        if (found := explain(error, run.path)) is not None:
            raise found from error
        raise RunError(f"{run.path} cannot be written: {error.strerror}; paths.runs_dir says where runs go") from error
    try:
        return run, _take(run, config, user_dirs, overrides, named)
    except BaseException as error:
        _give_back(run)
        if isinstance(error, OSError) and (found := explain(error, run.path)) is not None:
            raise found from error
        raise


def _take(run: RunDirectory, config: dict[str, Any], user_dirs: list[str], overrides: list[str], named: bool) -> bool:
    """Begin in a locked run directory, unless its run is finished and only to be reported; say whether it is."""
    if config["resume"] == "never" and not run.is_new:
        print(f"the earlier run is kept as {run.set_aside()}")
        run.lock()
    sources = sources_fingerprint(config["extensions"])
    known = run.record.get("sources", sources)  # a damaged record may have lost it
    if known != sources and not named:
        raise RunError(
            f"{run.path}: the sources of {' or '.join(['lab', *config['extensions']])} have changed since this run "
            f"({run.state}) was made; resume=never starts afresh, resume={run.path} goes on all the same"
        )
    before = _config_before(run) if named else None
    if run.state == "finished" and not (named and _goes_further(before, config)):
        if run.damage:
            print(f"warning: {run.file} is {run.damage}", file=sys.stderr)
        return True
    changes = _changes(before, config, known, sources) if named else {}
    words = [word for word in overrides if word_key(word) not in ("resume", "check")]
    run.begin(config, words, sources)
    run.update(
        config_dirs=[str(Path(folder).resolve()) for folder in user_dirs],
        changes=[*run.record["changes"], *([changes] if changes else [])],
    )
    return False


def _config_before(run: RunDirectory) -> dict[str, Any] | None:
    """Return the config that a run was made with; None, with a warning, where it cannot be read."""
    import yaml

    file = run.path / "config.yaml"
    try:
        before = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        before = None
    if isinstance(before, dict):
        return before
    print(f"warning: {file} is missing or damaged: it is written anew, what changes is not known", file=sys.stderr)
    return None


def _changes(before: dict[str, Any] | None, config: dict[str, Any], known: str, sources: str) -> dict[str, list[Any]]:
    """Return each key that differs, with what it was and what it is."""
    if before is None:
        return {"config.yaml": ["unreadable", "written anew"]}
    keys = [key for key in _leaves(config) if key != "resume"]
    changed = {key: [_at(before, key), _at(config, key)] for key in keys if _at(before, key) != _at(config, key)}
    if known != sources:
        changed["sources"] = [known[:12], sources[:12]]
    return changed


def _goes_further(before: dict[str, Any] | None, config: dict[str, Any]) -> bool:
    """Whether a config asks for more steps than the one before did; None may have asked for any number."""
    if before is None:
        return True
    lengths = {key: (_at(before, f"trainer.{key}"), config["trainer"][key]) for key in ("max_steps", "max_epochs")}
    return any((now or 0) > (then if isinstance(then, int) else 0) for then, now in lengths.values())


def _leaves(node: dict[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for key, value in node.items():
        keys += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return keys


def _at(node: Any, key: str) -> Any:
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node
