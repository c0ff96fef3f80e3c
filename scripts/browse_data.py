"""Draw what a network is fed, and say what the data holds: classes, sizes, copies, outliers, damaged files.

    python scripts/browse_data.py                                  # the default: generated shapes, with boxes
    python scripts/browse_data.py data=coco data.root=DIR split=val --num 36 --limit 5000
    python scripts/browse_data.py data=imagefolder data.root=DIR model=resnet50 data.augmentation.policy=rand_augment
    python scripts/browse_data.py data=sessions_synthetic model=gru4rec --html

WORDS are those of run.py, and two of its own: ``split=train|val|test``, and ``augmented=false``, which draws the same
training samples prepared as in evaluation. The samples are those that a training with these words reads, in its order:
the same batches, augmented by the same (seed, epoch, index). Without ``model=`` the smallest model that fits the data
is taken, since a model asks for the form of its batches.

Beside the pictures (``SPLIT-00.png`` and so on) and the page (``SPLIT.html``, which needs no network) it writes the
report as ``SPLIT.json`` and prints it. What was not looked at for a kind of data is said so. See docs/browse-data.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.cli.refusing import refusing
from lab.errors import ConfigError, LabError, closest
from lab.text import printable

if TYPE_CHECKING:
    from lab.experiment.browsing import BrowseProgress
    from lab.report.sanity import SanityReport
    from lab.training.browsing import BrowseCard, Browser

OWN = {"split": ("train", "val", "test"), "augmented": ("true", "false")}
"""The words that are not run.py's, and their values."""
CARDS = 25
"""On a sheet."""


def own_words(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the words of run.py, and the others by name.

    Raises:
        ConfigError: one of the others has another value.
    """
    given = {"split": "train", "augmented": "true"}
    rest = []
    for word in words:
        key, _, value = word.partition("=")
        if key not in OWN:
            rest.append(word)
        elif value in OWN[key]:
            given[key] = value
        else:
            raise ConfigError(f"{word}: {key} is {' or '.join(OWN[key])}{closest(value, OWN[key])}")
    return rest, given


def composed(words: Sequence[str], folders: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Return the config of words, and a line on the model if it was chosen for the data.

    Raises:
        LabError: the words are wrong, or no model fits the data.
    """
    from lab.config.words import word_key
    from lab.experiment.models_of_data import fitting_models
    from lab.launch.calls import prepare_call

    given = {word_key(word) for word in words}
    free = "data" in given and not {"model", "experiments", "ckpt"} & given
    models = fitting_models(words, folders) if free else []
    first: LabError | None = None
    for name in models:
        try:
            found = prepare_call([f"model={name}", *words], {}, folders).config
        except ConfigError as error:  # of another objective, or it asks for something that the data has not
            first = first or error
            continue
        return found, f"model={name} was taken, since none was named: it says in which form batches are read"
    if first is not None:
        raise first
    return prepare_call(words, {}, folders).config, ""


@contextmanager
def progress_bar() -> Iterator[BrowseProgress]:
    """Within this context a bar shows how far the reading is; nothing where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("reading {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        known: dict[str, Any] = {}

        def told(split: str, done: int, total: int) -> None:
            if split not in known:
                known[split] = bars.add_task(split, total=total)
            bars.update(known[split], completed=done)

        yield told


def print_report(report: SanityReport) -> None:
    """Print a report as tables."""
    from lab.report.sanity_tables import class_rows, example_rows, finding_rows, number_rows
    from lab.report.tables import print_notes, print_table, print_tables

    print_table(finding_rows(report), f"{report.name} ({report.kind.replace('_', ' ')})")
    for title, rows in {
        "found": example_rows(report),
        "classes": class_rows(report),
        "sizes": number_rows(report),
    }.items():
        if rows:
            print_table(rows, title)
    print_tables(report.tables)
    print_notes(report.notes)


def write_sheets(cards: Sequence[BrowseCard], folder: Path, split: str, columns: int | None) -> list[Path]:
    """Write the pictures of cards on sheets, and return their files; sheets of an earlier call are removed."""
    from lab.report.canvas import contact_sheet, stacked
    from lab.system.files import replacing

    for old in folder.glob(f"{split}-[0-9][0-9].png"):
        old.unlink()
    paths = []
    for number, first in enumerate(range(0, len(cards), CARDS)):
        path = folder / f"{split}-{number:02d}.png"
        pictures = [card.picture for card in cards[first : first + CARDS]]
        sheet = stacked(pictures) if columns == 1 else contact_sheet(pictures, columns)
        with replacing(path, binary=True) as file:
            sheet.save(file, "PNG")
        paths.append(path)
    return paths


def page_of(cards: Sequence[BrowseCard], browser: Browser, report: SanityReport | None, about: dict[str, str]) -> str:
    """Return the page as HTML."""
    from lab.report.html.browsing import BrowsePage, card_of, render_browse

    page = BrowsePage(
        title=f"{about['data']}: {about['split']}",
        command=about["command"],
        made=time.strftime("%Y-%m-%d %H:%M:%S"),
        facts=[(name, about[name]) for name in ("data", "model", "split", "seed", "batch") if about.get(name)],
        cards=[card_of(card.picture, card.caption, card.pieces, card.wave) for card in cards],
        shown=about["shown"],
        legend=browser.legend if any(card.pieces for card in cards) else {},
        report=report,
    )
    if report is not None:
        page.facts += [(f"{look.split} {look.unit}s", f"{look.samples:,}") for look in report.looks]
    return render_browse(page)


def browse(given: argparse.Namespace, command: str) -> None:
    """Do what the parsed arguments say.

    Raises:
        LabError: something is wrong with the words or the data.
    """
    words, own = own_words(given.words)
    if given.seed is not None:
        words.append(f"seed={given.seed}")
    config, line = composed(words, given.config_dir)
    split, augmented = own["split"], own["augmented"] == "true"
    folder = given.out or Path(f"browse-{config['data']['name']}")
    check_folder(folder)
    from lab.experiment.browsing import draw_cards, look_at, open_browser, plain_report
    from lab.report.tables import print_notes
    from lab.system.files import write_text

    print_notes([line] if line else [])
    browser = open_browser(config)
    cards = draw_cards(browser, split, given.num, augmented)
    report = None
    if not given.no_report:
        with progress_bar() as told:
            report = look_at(browser, config["data"]["name"], given.limit, told)
        print_report(report)
    how = "as the training reads them" if split == "train" and augmented else "prepared as in evaluation"
    about = {
        "data": config["data"]["name"],
        "model": config["model"]["name"],
        "split": split,
        "seed": str(config["seed"]),
        "batch": str(config["data"]["batch_size"]),
        "command": command,
        "shown": f"The first {len(cards)} samples of {split}, {how}.",
    }
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    both = given.html == given.sheets
    if both or given.sheets:
        written += write_sheets(cards, folder, split, browser.columns)
    if both or given.html:
        written.append(folder / f"{split}.html")
        write_text(written[-1], page_of(cards, browser, report, about))
    if report is not None:
        written.append(folder / f"{split}.json")
        plain = plain_report(report, {key: about[key] for key in ("command", "model", "seed")})
        write_text(written[-1], json.dumps(plain, indent=1, allow_nan=False) + "\n")
    for path in written:
        print(f"written   {printable(path)}")


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written to.

    Raises:
        ConfigError: it is a file, or stands in no folder.
    """
    place = next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path("/"))
    if not place.is_dir():
        raise ConfigError(f"--out {folder}: {place} is a file; name a folder")


def positive(text: str) -> int:
    """Return a whole number above 0."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


@refusing
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORDS", help="as of run.py: data=coco model=detr; split=val")
    parser.add_argument("--num", type=positive, default=64, metavar="N", help="samples to draw (default: 64)")
    parser.add_argument("--seed", type=int, metavar="N", help="the word seed=N")
    parser.add_argument("--limit", type=positive, metavar="N", help="read at most N samples of each split")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: browse-DATA in this folder")
    parser.add_argument("--html", action="store_true", help="write the page, not the sheets")
    parser.add_argument("--sheets", action="store_true", help="write the sheets, not the page")
    parser.add_argument("--no-report", action="store_true", help="draw, and read no further samples")
    parser.add_argument("--config-dir", action="append", default=[], metavar="DIR", help="as of run.py")
    given = parser.parse_intermixed_args(arguments)
    command = shlex.join(["python", "scripts/browse_data.py", *(sys.argv[1:] if arguments is None else arguments)])
    browse(given, command)
    return 0


if __name__ == "__main__":
    sys.exit(main())
