"""Interactions of users with items, the last ones left out: the last is the test, the one before it validates.

The protocol of SASRec (Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, section IV): what is
tested reads all but the last event of a user, the validation item included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np

from lab.errors import ConfigError, DataError
from lab.ranges import Count, Draws, Ge, Positive, Probability, Seed, Word
from lab.structures import Table
from lab.tasks.recommendation.data.events import Columns, Events, read_events, with_support, without_repeats
from lab.tasks.recommendation.data.module import (
    Batching,
    RecommendationDataModule,
    Splits,
    Windows,
    add_step,
    number_items,
)
from lab.tasks.recommendation.data.sequences import Sequences


class InteractionsDataModule(RecommendationDataModule):
    r"""``data=interactions``: a file with columns for user, item and time.

    Items that no user has in training stay: the network cannot know them, and misses them.

    Args:
        root: the dataset's folder.
        file: relative to ``root``; several names separated by ``|``: the first that is there.
        user_column: name of the column of user ids.
        item_column: name of the column of item ids.
        time_column: name of the column of times; None where lines stand in order of time.
        separator: between columns, taken as it is written; ``\s+`` is any run of blanks.
        column_names: the columns' names where the file has no header.
        time_format: ``"seconds"`` (or milli-, micro-, nanoseconds), ``"iso"`` or a pattern of ``strptime``.
        drop_duplicates: leave out rows that repeat another in user, item and time.
        min_length: fewest events of a user.
        min_support: fewest events of an item.
        fixpoint: filter until nothing changes.
        drop_repeats: drop an event that repeats the item before it.
        min_evaluated: fewest events of a user who is asked about; others are only trained on (3 in SASRec's own code).
        batch_size: see ``RecommendationDataModule``, as all that follow.
        num_workers: loader processes of each rank.
        seed: of the order and the negatives.
        batching: ``"sequences"`` or ``"lanes"``.
        max_length: the most events that are read.
        num_negatives: items that did not follow.
        negative_alpha: exponent of their support.
        windows: ``"last"`` or ``"all"``.
        encoding: of the text, as Python names it; None: UTF-8, or what a byte order mark says.
        quotes: whether ``"`` puts a value into quotes.
    """

    def __init__(
        self,
        root: Word,
        file: Word,
        user_column: Word = "user",
        item_column: Word = "item",
        time_column: Word | None = "time",
        separator: str = ",",
        column_names: Sequence[str] | None = None,
        time_format: str = "seconds",
        drop_duplicates: bool = False,
        min_length: Positive = 1,
        min_support: Count = 1,
        fixpoint: bool = True,
        drop_repeats: bool = False,
        min_evaluated: Annotated[int, Ge(3)] = 3,
        batch_size: Positive = 128,
        num_workers: Count = 0,
        seed: Seed = 0,
        batching: Batching = "sequences",
        max_length: Positive | None = 50,
        num_negatives: Draws = 0,
        negative_alpha: Probability = 0.0,
        windows: Windows = "last",
        encoding: str | None = None,
        quotes: bool = True,
    ) -> None:
        super().__init__(batch_size, num_workers, seed, batching, max_length, num_negatives, negative_alpha, windows)
        if min_evaluated < 3:
            raise ConfigError(f"data.min_evaluated={min_evaluated}: two events are held out, so at least 3 are needed")
        self.root, self.file = Path(root), file
        self.columns = Columns(
            user_column,
            item_column,
            time_column,
            separator,
            column_names,
            time_format,
            drop_duplicates=drop_duplicates,
            encoding=encoding,
            quotes=quotes,
        )
        self.min_length, self.min_support, self.fixpoint = min_length, min_support, fixpoint
        self.drop_repeats, self.min_evaluated = drop_repeats, min_evaluated

    def columns_of(self, path: Path) -> Columns:
        """Return how a file is written."""
        return self.columns

    def read_inputs(self, path: Path) -> Events:
        """Read a file of the same columns."""
        return read_events(path, self.columns_of(path))

    def path(self) -> Path:
        """Return the file that is there."""
        paths = [self.root / name for name in self.file.split("|")]
        return next((path for path in paths if path.is_file()), paths[0])

    def read(self) -> Splits:
        """Read, filter and number."""
        steps: Table = []
        events = self.read_file(self.path(), self.columns_of(self.path()), steps)
        if self.drop_repeats:
            before = len(events)
            events = without_repeats(events)
            add_step(steps, "without repeats", events, f"{before - len(events)} repeats dropped")
        if self.min_length > 1 or self.min_support > 1:
            events = with_support(events, self.min_length, self.min_support, self.fixpoint)
            how = "to a fixpoint" if self.fixpoint else "once"
            add_step(steps, "filtered", events, f"users >= {self.min_length}, items >= {self.min_support}, {how}")
            if not len(events):
                raise DataError(
                    f"data: no event is left of users of at least {self.min_length} events (data.min_length) and items "
                    f"of at least {self.min_support} (data.min_support)"
                )
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

    The columns follow from the file's name: ``.inter`` (RecBole's typed header), ``.data`` (tabs), ``.dat`` (``::``);
    of another file they are as configured.
    """

    def columns_of(self, path: Path) -> Columns:
        """Return how a file of this name is written."""
        if path.suffix == ".inter":
            named = replace(self.columns, session="user_id:token", item="item_id:token", time="timestamp:float")
            return replace(named, separator="\t", names=None, time_format="seconds")
        names = ("user", "item", "rating", "time")
        if path.suffix in (".data", ".dat"):
            separator = "\t" if path.suffix == ".data" else "::"
            named = replace(self.columns, session="user", item="item", time="time")
            return replace(named, separator=separator, names=names, time_format="seconds")
        return self.columns
