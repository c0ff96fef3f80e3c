"""``sweeper=grid``: one job for each combination of the values that the command gives."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.errors import ConfigError
from lab.sweeps.ledger import JobRow, Ledger
from lab.sweeps.proposing import Proposal


class GridProposer:
    """All combinations, proposed at once.

    Args:
        combinations: the overrides of each job.
    """

    prunes = False

    def __init__(self, combinations: Sequence[list[str]]) -> None:
        self.combinations = list(combinations)
        self._new: list[list[str]] = self.combinations

    @property
    def total(self) -> int | None:
        """The number of jobs."""
        return len(self.combinations)

    def begin(self, ledger: Ledger) -> None:
        """Find the combinations that the ledger has already; more may be asked for, but none less.

        Raises:
            ConfigError: the ledger has jobs that the command does not ask for.
        """
        asked = [tuple(words) for words in self.combinations]
        known = [tuple(row.words) for row in ledger.jobs() if row.number not in ledger.get("added", [])]
        lost = next((words for words in known if words not in asked), None)
        if lost is not None:
            raise ConfigError(
                f"{ledger.file.parent} was begun with other values: it has the job {' '.join(lost)}; repeat its own "
                "command, with further values if you like, or give the sweep another name: sweep=NAME"
            )
        self._new = [list(words) for words in asked if words not in known]

    def propose(self, ledger: Ledger, room: int) -> list[Proposal]:
        """Return all combinations that the ledger does not have."""
        new, self._new = self._new, []
        return [Proposal(words) for words in new]

    def judge(self, job: JobRow, step: int, values: Mapping[str, float | None]) -> bool:
        """Nothing is pruned."""
        return False

    def learn(self, job: JobRow) -> None:
        """Nothing follows from a job."""

    def summary(self, ledger: Ledger) -> list[str]:
        """The table says it all."""
        return []


def expand(overrides: list[str], user_dirs: Sequence[str] = ()) -> list[list[str]]:
    """Return the override lists of all jobs of a sweep.

    Args:
        overrides: their values may be ``a,b``, ``choice(a,b)``, ``range(0,4)`` or, for a group, ``glob(detr*)``.
        user_dirs: further folders with groups.

    Raises:
        ConfigError: an override cannot be parsed, or has no list of values.
    """
    from hydra.errors import HydraException, OverrideParseException

    from lab.compat.hydra import is_glob, parse_overrides
    from lab.config.compose import config_dir, options
    from lab.config.refusals import unreadable
    from lab.config.spelling import spelled

    choices: list[list[str]] = []
    try:
        for override in parse_overrides(spelled(overrides)):
            key, value = override.get_key_element(), override.value()
            values: list[str] | None = None
            if is_glob(value):
                values = value.filter(options(key, [config_dir(), *map(Path, user_dirs)]))
            elif override.is_discrete_sweep():
                values = list(override.sweep_string_iterator())
            elif override.is_sweep_override():
                raise ConfigError(
                    f"{override.input_line}: an interval has no list of values; give one: a,b,c; or search it: "
                    "sweeper=random or sweeper=optuna"
                )
            if values == []:
                raise ConfigError(f"{override.input_line}: no value at all")
            choices.append([override.input_line or ""] if values is None else [f"{key}={value}" for value in values])
    except OverrideParseException as error:
        raise ConfigError(unreadable(error)) from None
    except HydraException as error:
        raise ConfigError(" ".join(str(error).split())) from None
    return [list(words) for words in itertools.product(*choices)]
