"""Interactions of users with items, split by leave-one-out: a user's last event is the test, the one before validates.

The protocol of SASRec (Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, section IV): in the
test the model reads all events of a user but the last one, including the validation item.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np

from lab.errors import ConfigError, DataError
from lab.ranges import Ge, Positive, Word
from lab.structures import Table
from lab.tasks.recommendation.data.event_files import EventFilesModule
from lab.tasks.recommendation.data.events import Columns
from lab.tasks.recommendation.data.module import Splits, add_step, number_items
from lab.tasks.recommendation.data.sequences import Sequences


@dataclass(eq=False)
class InteractionsDataModule(EventFilesModule):
    """``data=interactions``: a file with columns for user, item and time.

    Items that do not occur in training are kept: the network cannot know them, and they count as misses.

    Args:
        file: relative to ``root``; of several names separated by ``|`` the first existing file is read.
        user_column: name of the column of user ids.
        min_evaluated: fewest events of a user in the evaluation; others are only trained on (3 in SASRec's own code).
    """

    file: Word
    _: KW_ONLY
    user_column: Word = "user"
    min_evaluated: Annotated[int, Ge(3)] = 3
    batch_size: Positive = 128
    max_length: Positive | None = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_evaluated < 3:
            raise ConfigError(
                f"data.min_evaluated={self.min_evaluated}: two events are held out, so at least 3 are needed"
            )
        self.columns = self.columns_for(self.user_column)

    def columns_of(self, path: Path) -> Columns:
        """Return the format of a file."""
        return self.columns

    def path(self) -> Path:
        """Return the existing file."""
        paths = [self.folder / name for name in self.file.split("|")]
        return next((path for path in paths if path.is_file()), paths[0])

    def read(self) -> Splits:
        """Read, filter, number and split the events."""
        steps: Table = []
        events = self.read_file(self.path(), self.columns_of(self.path()), steps)
        events = self.kept(events, steps, "users", filters=self.min_length > 1 or self.min_support > 1)
        names, numbers = number_items(events)
        sequences = Sequences.of_events(events, numbers)
        held_out = np.flatnonzero(sequences.lengths >= self.min_evaluated)
        if not len(held_out):
            raise DataError(f"data: no user has the {self.min_evaluated} events (data.min_evaluated) that a test takes")
        note = f"{len(sequences) - len(held_out)} users with fewer than {self.min_evaluated} events are only trained on"
        asked = events.keep(np.repeat(np.isin(np.arange(len(sequences)), held_out), sequences.lengths))
        only = "; ONE user: the numbers say little" if len(held_out) == 1 else ""
        part = f"{len(held_out) / len(events):.2%} of the events are the test, as many validate"
        add_step(steps, "asked about", asked, f"{note}; {part}{only}")
        return Splits(names, sequences, held_out=held_out, steps=steps)


class MovieLensDataModule(InteractionsDataModule):
    """``data=ml100k`` and ``data=ml1m``: GroupLens' own files, or RecBole's. Arguments as ``InteractionsDataModule``.

    The columns follow from the file's name: ``.inter`` (RecBole's typed header), ``.data`` (tabs), ``.dat`` (``::``).
    For other files they are as configured.
    """

    def columns_of(self, path: Path) -> Columns:
        """Return the format of a file, which follows from its name."""
        if path.suffix == ".inter":
            named = replace(self.columns, session="user_id:token", item="item_id:token", time="timestamp:float")
            return replace(named, separator="\t", names=None, time_format="seconds")
        names = ("user", "item", "rating", "time")
        if path.suffix in (".data", ".dat"):
            separator = "\t" if path.suffix == ".data" else "::"
            named = replace(self.columns, session="user", item="item", time="time")
            return replace(named, separator=separator, names=names, time_format="seconds")
        return self.columns
