"""Runs a call from Python: makes a job of its overrides, and restores the state of the process at the end. No torch."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from lab.config.frozen import FrozenConfig
from lab.config.words import word_key, words_of
from lab.errors import ConfigError
from lab.launch.prepare import Prepared, check_words, prepare_job
from lab.launch.untouched import untouched
from lab.system.ranks import external_place
from lab.system.signals import Interrupted, SignalWatch

Folders = str | Path | Iterable[str | Path]
"""One folder or several."""


class Config(FrozenConfig):
    """A composed config: read ``config.optimizer.lr`` or ``config["optimizer.lr"]``; prints as YAML; is never changed.

    ``lab.compose(config, "optimizer.lr=1e-4")`` returns a new one.
    """

    __slots__ = ("_job",)
    _job: Prepared

    @classmethod
    def of_job(cls, job: Prepared) -> Config:
        """Return the config of a composed job."""
        config = cls(job.config)
        object.__setattr__(config, "_job", job)
        return config

    @property
    def words(self) -> tuple[str, ...]:
        """The overrides that it was composed from, including those of the run that ``ckpt`` or ``resume`` names."""
        return tuple(self._job.words)

    @property
    def run_path(self) -> Path:
        """The run directory of a fit with this config."""
        return self._job.path


def is_plain(data: Any) -> bool:
    """Whether ``data`` is a dataset's name or a dict of keys, not a DataModule object."""
    return data is None or isinstance(data, str | Mapping)


def prepare_call(
    words: Sequence[str | Config],
    values: Mapping[str, Any],
    config_dir: Folders,
    data: Any = None,
    machine: bool = True,
) -> Prepared:
    """Compose and check a job; a config without further overrides is used as it was composed.

    Args:
        words: overrides and configs; if a key is given twice, the last one counts.
        values: overrides as keyword arguments.
        config_dir: further config folders.
        data: a DataModule object of the caller; a name or a dict of keys is in ``values`` instead.
        machine: check files and devices too.

    Raises:
        LabError: the first thing that is wrong.
    """
    own = None if is_plain(data) else data
    folders = [config_dir] if isinstance(config_dir, str | Path) else list(config_dir)
    if len(words) == 1 and isinstance(words[0], Config) and not values and not folders and own is None:
        job = deepcopy(words[0]._job)
        if machine:
            job.require_machine()
        return job
    given: list[str] = []
    dirs: list[str] = []
    for word in words:
        if isinstance(word, Config):
            given += word.words
            dirs += word._job.user_dirs
        elif isinstance(word, str):
            given.append(word)
        else:
            raise ConfigError(f"{word!r}: give overrides such as 'model=detr', or a config of lab.compose")
    given += words_of(values)
    check_words(given)
    last = {word_key(word): number for number, word in enumerate(given)}
    chosen = [word for number, word in enumerate(given) if last[word_key(word)] == number]
    dirs += [str(folder) for folder in folders if str(folder) not in dirs]
    return prepare_job(chosen, dirs, machine=machine, data=own)


def require_stage(job: Prepared, stage: str) -> None:
    """Refuse a config of another stage, because each stage has its own function."""
    if job.config["stage"] != stage:
        raise ConfigError(f"stage={job.config['stage']}: call lab.{job.config['stage']}")


def run_call(job: Prepared, name: str, words: Sequence[str | Config], values: Mapping[str, Any]) -> Path:
    """Run a job, in this process if it has one rank, and return its run directory.

    Args:
        job: the job.
        name: the name of the ``lab`` function that was called.
        words: the positional arguments of the call.
        values: the keyword arguments of the call.

    Raises:
        ConfigError: this process was started by a launcher.
        LabError: the job is refused; see ``Prepared.run`` for other errors.
    """
    place = external_place(os.environ)
    if place is not None:
        raise ConfigError(
            f"lab.{name} under {place.launcher}: each of its processes would run the whole job; use the command line "
            "there, or call lab without it: trainer.devices=N starts the ranks"
        )
    given = [word for item in words for word in (item.words if isinstance(item, Config) else (item,))]
    job.command = f"lab.{name}({', '.join(map(repr, [*given, *words_of(values)]))})"
    return Path(job.run(here=True).path)


@contextmanager
def called() -> Iterator[None]:
    """Within this context signals end a training at its next step; the state of the process is restored at the end."""
    ended: Interrupted | None = None
    with untouched():
        try:
            with SignalWatch():
                yield
        except Interrupted as interrupted:
            ended = interrupted
        except SystemExit as error:
            raise RuntimeError(f"something in the job called sys.exit: {error.code!r}") from error
    if ended is None:
        return
    if ended.signum == signal.SIGTERM and threading.current_thread() is threading.main_thread():
        signal.raise_signal(signal.SIGTERM)  # the caller's handler gets it, or it ends the process
    raise KeyboardInterrupt(f"{ended}; repeat the call to continue")
