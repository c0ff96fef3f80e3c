"""docs/zoo.md: the counted rows, beside what the registry, the parity tests, the recipes and the rooms' READMEs say."""

from __future__ import annotations

import csv
import functools
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo_parts.counts import Row
from zoo_parts.inputs import BACKBONE

from lab.config.defaults import option_content, option_files, read_defaults
from lab.registry.models import model_entry

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "experiments" / "results.csv"
PARITY = ROOT / "tests" / "parity" / "errors.csv"
NONE = "-"
TEXT = """\
# Every architecture

<!-- This page is written by scripts/zoo.py: change that, or what it reads. -->

What `lab.list_models()` lists, by kind of problem. Written by `python scripts/zoo.py` from the registry, the YAMLs of
conf/model, `tests/parity/errors.csv`, `experiments/results.csv` and the READMEs of the rooms; a test fails when it is
out of date. The numbers alone are in [zoo.csv](zoo.csv).

- **parameters** in millions, of the network for that input, with the usual number of classes or words.
- **GMACs**: 10^9 multiplications with addition of one forward pass of one sample; counted on the meta device by
  PyTorch's counter with gradients enabled. Of texts the states of all tokens, without the scores of words.
- **weights**: published files, which `pretrained=TAG` loads, and what their authors measured. Not measured here.
- **parity**: the worst error that the tests in `tests/parity` measured against another implementation, with random
  weights in float32 on a CPU; what is compared stands under [Rooms](#rooms). In italics it is the room's, measured on
  networks of other sizes.
- **measured**: results of recipes with [commands, dates and hardware](../experiments/README.md).

"""
NUMBER = re.compile(r"\**(\d+(?:\.\d+)?)")
RATIO = re.compile(r"(/|over) ours|^ratio$")


def render(rows: Mapping[str, Row]) -> str:
    """Return the whole page."""
    kinds = sorted({row["kind"] for row in rows.values()} - {BACKBONE})
    parts = [f"{TEXT}{textwrap.fill(_summary(rows), 120)}\n"]
    for kind in [*kinds, BACKBONE]:
        chosen = sorted((row for row in rows.values() if row["kind"] == kind), key=lambda row: row["room"])
        if chosen:
            parts.append(f"## {kind.replace('_', ' ').capitalize()}\n\n{_models(chosen)}\n")
    parts.append(f"## Rooms\n\n{_rooms(sorted({row['room'] for row in rows.values()}))}\n")
    return "\n".join(parts)


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _summary(rows: Mapping[str, Row]) -> str:
    rooms = {row["room"] for row in rows.values()}
    tags = [source for name in rows for source in model_entry(name).pretrained.values()]
    counted = sum(bool(row["gmacs"]) for row in rows.values())
    own, shared = (sum(_parity(row)[1] == whose for row in rows.values()) for whose in ("name", "room"))
    figures = sum(bool(_figures(source)) for source in tags)
    return (
        f"{len(rows)} names in {len(rooms)} rooms; {counted} have multiplications to count. {len(tags)} tags of "
        f"published weights, {figures} of them with a figure. Parity: {own} names have an error of their own, {shared} "
        f"their room's, {len(rows) - own - shared} none."
    )


def _models(rows: Sequence[Row]) -> str:
    header = ["room", "name", "parameters, M", "GMACs", "input", "weights", "parity", "measured"]
    return table(header, list(map(_line, rows)))


def _line(row: Row) -> list[str]:
    error, whose = _parity(row)
    shown = error if whose == "name" else f"*{error}*" if error != NONE else NONE
    measured = "<br>".join(f"{recipe}: {metric} {value}" for recipe, metric, value in _measured().get(row["name"], []))
    return [
        _link(row["room"]),
        f"`{row['name']}`",
        f"{int(row['parameters']) / 1e6:,.3f}" if row["parameters"] else NONE,
        _short(float(row["gmacs"])) if row["gmacs"] else NONE,
        row["input"] or NONE,
        "<br>".join(_tags(row["name"])) or NONE,
        shown,
        measured or NONE,
    ]


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 1000 else f"{number:.3g}"


def _tags(name: str) -> Iterator[str]:
    for tag, source in model_entry(name).pretrained.items():
        yield f"[{tag}]({source.url}){_figures(source)}"


def _figures(source: Any) -> str:
    found = {"top-1": source.top_1, **source.published}
    return "".join(f", {metric} {value:.1f}" for metric, value in found.items() if value is not None)


@functools.cache
def _errors() -> list[dict[str, str]]:
    if not PARITY.is_file():
        return []
    with PARITY.open(newline="", encoding="utf-8") as source:
        return list(csv.DictReader(source))


def _parity(row: Row) -> tuple[str, str]:
    """Return the worst error of a model, and whether it is its own (``name``), its room's (``room``) or absent."""
    of_room = [item for item in _errors() if item["room"] == row["room"]]
    of_name = [item for item in of_room if row["name"] in item["model"].split()]
    errors = [float(item["error"]) for item in of_name or of_room]
    return (f"{max(errors):.1e}", "name" if of_name else "room") if errors else (NONE, "")


@functools.cache
def _measured() -> dict[str, list[tuple[str, str, str]]]:
    """Return (recipe, metric, value) of all results by the registered model that the recipe trains."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    with RESULTS.open(newline="", encoding="utf-8") as source:
        for row in csv.DictReader(source):
            target = _target(row["recipe"])
            found.setdefault(target, []).append((row["recipe"], row["metric"].removeprefix("test/"), row["measured"]))
    return found


def _target(recipe: str) -> str:
    """Return the registered model that a recipe trains: it says so itself, or chooses an option that does."""
    contents = [option_content("experiments", recipe, [ROOT])]
    for path in option_files("experiments", recipe, [ROOT]):
        options = [item.option for item in read_defaults(path, "experiments") if item.group == "model"]
        contents += [option_content("model", option, [ROOT / "conf"]) for option in options]
    targets = [content.get("model", {}).get("net", {}).get("_target_") for content in contents]
    return next((str(target) for target in targets if target), "")


def _rooms(rooms: Sequence[str]) -> str:
    header = ["room", "compared with", "what, and the worst error over all tests", "speed, others' time over ours"]
    return table(header, [[_link(room), *_compared(room), _speed(room)] for room in rooms])


def _link(room: str) -> str:
    return f"[{room}](../lab/models/{room}/README.md)"


def _compared(room: str) -> tuple[str, str]:
    worst: dict[str, float] = {}
    rows = [row for row in _errors() if row["room"] == room]
    for row in rows:
        worst[row["what"]] = max(worst.get(row["what"], 0.0), float(row["error"]))
    peers = "; ".join(sorted({row["peer"] for row in rows}))
    return peers or NONE, "<br>".join(f"{what}: {error:.1e}" for what, error in sorted(worst.items())) or NONE


def _speed(room: str) -> str:
    """Return the range of the ratios in the section Speed of a room's README, and how many there are."""
    ratios = list(_ratios((ROOT / "lab" / "models" / room / "README.md").read_text(encoding="utf-8")))
    if not ratios:
        return NONE
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}" if len(ratios) > 1 else f"{ratios[0]:.2f}"
    return f"[{spread}](../lab/models/{room}/README.md#speed) in {len(ratios)} row{'s' * (len(ratios) > 1)}"


def _ratios(readme: str) -> Iterator[float]:
    section = re.search(r"^## Speed$(.*?)(?=^## |\Z)", readme, re.DOTALL | re.MULTILINE)
    place: int | None = None
    for line in (section[1] if section else "").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            place = None
        elif place is None:
            place = next((index for index, cell in enumerate(cells) if RATIO.search(cell)), -1)
        elif place >= 0 and place < len(cells) and (found := NUMBER.match(cells[place])):
            yield float(found[1])
