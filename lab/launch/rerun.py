"""``lab rerun``: trains a run again from its record, after comparing what it was made of with what is here now.

The original is only read. No torch at module level.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab.compat.imports import put_off_imports
from lab.config.compose import compose_config
from lab.config.words import word_key, words_of
from lab.errors import ConfigError, RunError
from lab.launch.inherited import recorded_words, refuse_foreign_packages
from lab.launch.jobs import processes
from lab.launch.prepare import Prepared, prepare_job
from lab.report.records.facts import ABSENT, FactDifference, Facts, differences, read_facts
from lab.run_directory import RunDirectory
from lab.run_record import read_record
from lab.system.provenance import describe_machine, describe_versions, git_output, sources_fingerprint
from lab.system.ranks import external_place

FOLDER = "rerun"
"""The folder beside the original in which its repetition stands, by default."""
_OWN = {
    "stage": "lab rerun trains; use stage=... ckpt=... without it",
    "check": "lab rerun --check compares without training",
    "resume": "a rerun never continues the original",
    "input": "lab rerun trains; use stage=predict without it",
    "paths.runs_dir": "--into says where the new run goes",
}


@dataclass
class Rerun:
    """A run that is about to be trained again.

    Attributes:
        original: its directory.
        job: the new training, prepared and checked.
        facts: in what the original and this place differ; ``one`` is the original's, ``other`` is here.
        overrides: those given now.
        problems: what of the original cannot be read, so that it is not compared.
    """

    original: Path
    job: Prepared
    facts: list[FactDifference]
    overrides: list[str]
    problems: tuple[str, ...] = ()

    @property
    def obstacles(self) -> list[FactDifference]:
        """The differences because of which another result is to be expected."""
        return [fact for fact in self.facts if fact.changes_numbers]

    @property
    def path(self) -> Path:
        """The directory of the new run."""
        return self.job.path

    def run(self) -> Path:
        """Train, and return the directory of the new run.

        An earlier rerun at that place is kept as ``NAME~1``; one that was interrupted is continued.

        Raises:
            LabError: the job is refused; see ``Prepared.run`` for other errors.
        """
        earlier = RunDirectory(self.path)
        source = str(self.original.resolve())
        goes_on = earlier.record.get("rerun_of") == source and earlier.state in ("interrupted", "failed")
        self.job.config["resume"] = "auto" if goes_on else "never"
        self.job.threads = RunDirectory(self.original).threads

        def begun(run: RunDirectory | None) -> None:
            if run is not None:
                run.update(rerun_of=source)

        return Path(self.job.run(here=True, begun=begun).path)


def prepare_rerun(
    original: Path, overrides: Sequence[str] = (), user_dirs: Sequence[str] = (), into: Path | None = None
) -> Rerun:
    """Compose the training of a run again, check it, and compare what it depends on.

    Args:
        original: the run's directory.
        overrides: further overrides; they are no differences.
        user_dirs: further config folders.
        into: ``paths.runs_dir`` of the new run; None for the folder ``rerun`` beside the original.

    Raises:
        LabError: the record has lost the overrides, asks for packages that the user has not named, or does not fit.
    """
    if (place := external_place(os.environ)) is not None:
        raise ConfigError(f"lab rerun under {place.launcher}: it starts the ranks itself; call it without a launcher")
    for word in overrides:
        if (key := word_key(word)) in _OWN:
            raise ConfigError(f"{word}: {_OWN[key]}")
    run = RunDirectory(original)
    if "overrides" not in run.record:
        raise RunError(f"{run.file} is {run.damage or 'missing'}: the overrides of this run are not known")
    if run.record.get("own_data"):
        raise RunError(
            f"{original} was made from Python with a DataModule of the caller's own, {run.record['own_data']}: call "
            "lab.fit with it again"
        )
    given = list(overrides)
    folders = [*run.record.get("config_dirs", []), *user_dirs]
    own = words_of({"paths.runs_dir": str(into or original.parent / FOLDER), "resume": "never"})
    job = _prepare(run, given, own, folders, list(user_dirs))
    if job.path.resolve() == original.resolve():
        raise RunError(f"--into {into}: there the new run would replace {original}; name another folder")
    plain = _prepare(run, [], own, folders, list(user_dirs)) if given else job
    was = read_facts(original)
    facts = differences(_comparable(was), _here(plain, was))
    if changes := was.record.get("changes"):
        facts.append(FactDifference("config", "changed while it was continued", f"{len(changes)} times", ABSENT))
    return Rerun(original, job, facts, given, was.problems)


def _prepare(run: RunDirectory, given: list[str], own: list[str], folders: list[str], trusted: list[str]) -> Prepared:
    recorded = recorded_words(run.record["overrides"], [*given, *own], without=tuple(_OWN))
    words = [*recorded, *own, *given]
    refuse_foreign_packages(compose_config(words, folders).config["extensions"], run.path, words, given, trusted)
    return prepare_job(words, folders)


def _comparable(facts: Facts) -> Facts:
    """Return an original's facts without those that are only known after a training (the strategy that was chosen)."""
    return replace(facts, record={key: value for key, value in facts.record.items() if key != "strategy"})


def _here(job: Prepared, was: Facts) -> Facts:
    """Return the facts of this place, with the fingerprint of the data, for which the data is opened."""
    put_off_imports()
    from lab.experiment.assembly import build_data, on_gpu, prepare

    config = job.config
    prepare(config)
    commit = git_output("rev-parse", "HEAD")
    record: dict[str, Any] = {
        "sources": sources_fingerprint(config["extensions"]),
        "commit": commit.strip() if commit else None,
        "versions": describe_versions(),
        "machine": describe_machine(),
        "dataset": build_data(config).fingerprint(),
        "hardware": _device() if on_gpu(config) else "cpu",
        "world_size": processes(config) * int(config["trainer"]["num_nodes"]),
    }
    for key in ("dataset", "hardware", "world_size"):
        if key not in was.record:  # an original that never came so far
            del record[key]
    return Facts(config, record, git_output("diff", "HEAD") or "")


def _device() -> str:
    import torch

    return str(torch.cuda.get_device_name(0))


def compare_results(original: Path, repeated: Path) -> dict[str, tuple[float | None, float | None]]:
    """Return all metrics of a run and of its repetition, those of single classes too."""
    first, second = (read_record(path / "run.json")[0].get("result", {}) for path in (original, repeated))
    return {name: (first.get(name), second.get(name)) for name in dict.fromkeys([*first, *second])}
