"""A call of ``lab`` from Python: its words and values become a job, its end leaves the process as it was. No torch."""

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
    """A composed config: read as ``config.optimizer.lr`` or ``config["optimizer.lr"]``, printed as YAML, never changed.

    ``lab.compose(config, "optimizer.lr=1e-4")`` makes another one of it.
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
        """The words that it was composed of, those of the run that ``ckpt`` or ``resume`` names included."""
        return tuple(self._job.words)

    @property
    def run_path(self) -> Path:
        """The directory that a fit of it works in."""
        return self._job.path


def is_plain(data: Any) -> bool:
    """Whether ``data`` is words: a dataset's name or keys, no object."""
    return data is None or isinstance(data, str | Mapping)


def prepare_call(
    words: Sequence[str | Config],
    values: Mapping[str, Any],
    config_dir: Folders,
    data: Any = None,
    machine: bool = True,
) -> Prepared:
    """Compose and check a job; a config alone is taken as it was composed.

    Args:
        words: words and configs; of words with one key the last counts.
        values: keywords, which are words too.
        config_dir: further config folders.
        data: a DataModule of the caller's own; what is words is left to ``values``.
        machine: look at files and devices too.

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
            raise ConfigError(f"{word!r}: give words such as 'model=detr', or a config of lab.compose")
    given += words_of(values)
    check_words(given)
    last = {word_key(word): number for number, word in enumerate(given)}
    chosen = [word for number, word in enumerate(given) if last[word_key(word)] == number]
    dirs += [str(folder) for folder in folders if str(folder) not in dirs]
    return prepare_job(chosen, dirs, machine=machine, data=own)


def require_stage(job: Prepared, stage: str) -> None:
    """Refuse a config of another stage, which has a function of its own."""
    if job.config["stage"] != stage:
        raise ConfigError(f"stage={job.config['stage']}: call lab.{job.config['stage']}")


def run_call(job: Prepared, name: str, words: Sequence[str | Config], values: Mapping[str, Any]) -> Path:
    """Run a job, in this process where it is of one rank, and return the directory of its run.

    Args:
        job: what is to run.
        name: of the function of ``lab`` that was called.
        words: as it was called.
        values: likewise.

    Raises:
        ConfigError: this process is one of a launcher's.
        LabError: the job is refused; ``Prepared.run`` says what else ends it.
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
    """Within this context signals end a training at its next step; at its end the process is as it was before."""
    ended: Interrupted | None = None
    with untouched():
        try:
            with SignalWatch():
                yield
        except Interrupted as interrupted:
            ended = interrupted
        except SystemExit as error:
            raise RuntimeError(f"something in the job has asked for the end of the process: {error.code!r}") from error
    if ended is None:
        return
    if ended.signum == signal.SIGTERM and threading.current_thread() is threading.main_thread():
        signal.raise_signal(signal.SIGTERM)  # to whoever handles it, or to the end of the process
    raise KeyboardInterrupt(f"{ended}; repeat the call to continue")
