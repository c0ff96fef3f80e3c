"""Opens the data of a config as a training does, to draw the batches that it would see and to count what it holds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lab.data.datamodule import DataModule
from lab.errors import ConfigError, DataError
from lab.experiment.assembly import build_data, build_task, give_plan, make_plan, prepare
from lab.report.duplicates import ContentIndex, NearIndex
from lab.report.sanity import SanityReport, SplitLook
from lab.system.ranks import Place
from lab.training.browsing import BrowseCard, Browser, DataIndex, count_rows_left_out, spread_over
from lab.training.spec import task_spec

SPLITS = ("train", "val", "test")
BrowseProgress = Callable[[str, int, int], None]
"""Is told a split, how many of its samples were read, and how many there are to read."""


def open_browser(config: dict[str, Any]) -> Browser:
    """Return the browser of a config's data, which has the plan of a training on one rank.

    Raises:
        LabError: the data cannot be opened, is for another kind of problem, or its kind has no browser.
    """
    prepare(config)
    data = build_data(config)
    data.num_workers = 0  # samples are the same with any number
    kind = task_spec(config["model"]["task"])
    made: type[Browser] = kind.load_browser()
    if data.spec.task != kind.name:
        raise ConfigError(f"model={config['model']['name']} is for {kind.name}, the data is for {data.spec.task}")
    plan = make_plan(config, data, Place())
    give_plan(data, plan.load)
    return made(data, lambda: build_task(config, data, plan.schedule_steps))


def batches(data: DataModule, split: str, augmented: bool = True) -> Iterator[Any]:
    """Yield the batches of a split in the order in which a training reads them.

    Args:
        data: with its plan.
        split: ``train``, ``val`` or ``test``.
        augmented: False: training samples are those of the same keys, prepared as in evaluation.
    """
    if split == "train" and not augmented:
        plain = data.unaugmented(split, prepared=True)
        for keys in data.train_keys():
            yield data.collate([plain[key] for key in keys])
        return
    if split == "train":
        yield from data.train_dataloader()
    else:
        yield from data.val_dataloader() if split == "val" else data.test_dataloader()


def draw_cards(browser: Browser, split: str, count: int, augmented: bool = True) -> list[BrowseCard]:
    """Return cards of the first samples of a split, in the order in which a training reads them.

    Raises:
        DataError: the split has none.
    """
    drawn = (card for batch in batches(browser.data, split, augmented) for card in browser.cards(batch, augmented))
    cards = list(itertools.islice(drawn, count))
    if not cards:
        raise DataError(f"the data has nothing to draw in its {split} set")
    return cards


def look_at(
    browser: Browser, name: str, limit: int | None = None, progress: BrowseProgress = lambda *_: None
) -> SanityReport:
    """Read the samples of all splits without augmentation, and count what they hold and what looks wrong.

    Args:
        browser: of the data.
        name: of the data.
        limit: the most samples of each split, spread over it; None: all.
        progress: is told how far it is.
    """
    data = browser.data
    splits, notes = different_splits(data)
    report = SanityReport(name, browser.spec.task, [], notes=notes)
    index = DataIndex(ContentIndex(SPLITS), NearIndex(SPLITS))
    for split in splits:
        count = browser.count(split)
        chosen = spread_over(count, limit)
        look = SplitLook(split, browser.unit, count, skipped=dict(browser.skipped))
        report.looks.append(look)
        progress(split, 0, len(chosen))
        for _ in browser.look(look, chosen, index):
            look.read += 1
            progress(split, look.read, len(chosen))
        if not look.is_whole:
            notes.append(
                f"{split}: {look.read:,} of {count:,} {browser.unit}s were read, spread over all of them (--limit): "
                "there may be more of what was found, and copies among those that were not read"
            )
    index.contents.report(report, browser.name, index.labelled)
    index.near.report(report, browser.name)
    report.rows, report.tables = data.rows_read(), data.tables()
    count_rows_left_out(report.looks, report.rows)
    return report


def different_splits(data: DataModule) -> tuple[Sequence[str], list[str]]:
    """Return the splits that hold different samples, and lines on those that are another one's."""
    prints: dict[str, str] = {}
    notes = []
    for split in SPLITS:
        mark = getattr(data.dataset(split), "fingerprint", lambda: "")()
        same = next((other for other, known in prints.items() if known == mark and mark), None)
        if same is None:
            prints[split] = mark
        else:
            notes.append(f"{split}: the same samples as {same}, which are counted there")
    return list(prints), notes


def plain_report(report: SanityReport, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report as plain values for JSON, with what it is about before it."""
    return {**about, **report.to_plain()}
