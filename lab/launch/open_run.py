"""Finds and locks the run of a config, tells whether it is finished, and records how the config has changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lab.config.aliases import renamed_config
from lab.config.flattening import flat
from lab.config.recorded import UnreadableConfig, read_recorded
from lab.config.words import word_key
from lab.errors import RunError
from lab.run_directory import RunDirectory
from lab.run_name import run_name
from lab.system.provenance import sources_fingerprint
from lab.system.signals import Interrupted
from lab.system.storage import explain


def open_run(
    config: dict[str, Any],
    user_dirs: list[str],
    overrides: list[str],
    command: str = "",
    any_sources: bool = False,
) -> tuple[RunDirectory, bool]:
    """Find and lock the run of this config; return whether it is finished, so that its result is only reported.

    Args:
        config: the resolved config.
        user_dirs: its config folders.
        overrides: its overrides.
        command: the command to record; empty for the command line of this process.
        any_sources: go on with a run that other sources have begun, and record the change.

    Raises:
        RunError: the run is in use, or lab's sources have changed since it was made.
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
        return run, _take(run, config, user_dirs, overrides, named, command, any_sources)
    except BaseException as error:
        give_back(run, error)
        if isinstance(error, OSError) and (found := explain(error, run.path)) is not None:
            raise found from error
        raise


def _take(
    run: RunDirectory,
    config: dict[str, Any],
    user_dirs: list[str],
    overrides: list[str],
    named: bool,
    command: str,
    any_sources: bool,
) -> bool:
    """Begin in a locked run directory, unless its run is finished; return whether it is finished."""
    if config["resume"] == "never" and not run.is_new:
        print(f"the earlier run is kept as {run.set_aside()}")
        run.lock()
    sources = sources_fingerprint(config["extensions"])
    known = run.record.get("sources", sources)  # a damaged record may have lost it
    if known != sources and not (named or any_sources):
        raise RunError(
            f"{run.path}: the sources of {' or '.join(['lab', *config['extensions']])} have changed since this run "
            f"({run.state}) was made; resume=never starts afresh, resume={run.path} continues it all the same"
        )
    before = _config_before(run) if named else None
    if run.state == "finished" and not (named and _goes_further(before, config, run.record)):
        if named and before is not None:
            _say_ignored(_changes(before, config, known, known), overrides)
        if run.damage:
            print(f"warning: {run.file} is {run.damage}", file=sys.stderr)
        return True
    changes = _changes(before, config, known, sources) if named else {}
    if any_sources and known != sources:
        changes["sources"] = [known[:12], sources[:12]]
    words = [word for word in overrides if word_key(word) not in ("resume", "check")]
    run.begin(
        config,
        words,
        sources,
        command,
        config_dirs=[str(Path(folder).resolve()) for folder in user_dirs],
        changes=[*run.record.get("changes", []), *([changes] if changes else [])],
    )
    return False


def _config_before(run: RunDirectory) -> dict[str, Any] | None:
    """Return the config of an earlier run; None, with a warning, if it cannot be read."""
    file = run.path / "config.yaml"
    try:
        return renamed_config(read_recorded(file))
    except UnreadableConfig:
        pass
    print(f"warning: {file} is missing or damaged: it is written again; changes are not recorded", file=sys.stderr)
    return None


def _changes(before: dict[str, Any] | None, config: dict[str, Any], known: str, sources: str) -> dict[str, list[Any]]:
    """Return each key that differs, with its old and its new value."""
    if before is None:
        return {"config.yaml": ["unreadable", "written anew"]}
    keys = [key for key, _ in flat(config) if key != "resume"]
    changed = {key: [_at(before, key), _at(config, key)] for key in keys if _at(before, key) != _at(config, key)}
    if known != sources:
        changed["sources"] = [known[:12], sources[:12]]
    return changed


def _say_ignored(changes: dict[str, list[Any]], overrides: list[str]) -> None:
    """Say which words a finished run does not follow."""
    asked = tuple(word_key(word) for word in overrides)
    ignored = [
        f"{key}={now} (was {then})"
        for key, (then, now) in changes.items()
        if any(key == word or key.startswith(f"{word}.") for word in asked)
    ]
    if ignored:
        more = f" and {len(ignored) - 3} more" if len(ignored) > 3 else ""
        print(f"warning: not applied to a finished run: {', '.join(ignored[:3])}{more}", file=sys.stderr)


def _goes_further(before: dict[str, Any] | None, config: dict[str, Any], record: dict[str, Any]) -> bool:
    """Whether a config trains longer than the one before; True if the earlier config is not known (None)."""
    if before is None:
        return True
    if record.get("stopped_early"):
        then, now = (_at(each, "callbacks.early_stopping") or {} for each in (before, config))
        if not now or now.get("patience", 0) > then.get("patience", 0):
            return True
        if any(now.get(key) != then.get(key) for key in ("min_delta", "start")):
            return True
    lengths = {key: (_at(before, f"trainer.{key}"), config["trainer"][key]) for key in ("max_steps", "max_epochs")}
    return any((now or 0) > (then if isinstance(then, int) else 0) for then, now in lengths.values())


def _at(node: Any, key: str) -> Any:
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def give_back(run: RunDirectory, error: BaseException) -> None:
    """Release a run directory in which a job could not begin, with its state interrupted or unchanged."""
    try:
        if isinstance(error, Interrupted) and run.file.exists():
            run.settle(error.exit_code)
        else:
            run.discard_unused()
    except OSError:  # the disk is full or read-only; the error that is being raised says so
        pass
    finally:
        run.release()
