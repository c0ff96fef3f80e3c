"""What only the page of a single run has: config with origins, provenance, pictures, tables. No torch."""

from __future__ import annotations

import base64
import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lab.config.compose import compose_config
from lab.config.flattening import flat
from lab.config.words import parse_word
from lab.errors import LabError
from lab.report.evaluations import pictures_in
from lab.report.html.page import Detail, Setting, Sheet, ShownPicture, ShownValue
from lab.report.html.reading import scalar
from lab.report.runs import Run
from lab.text import one_line

MOST_BYTES = 6_000_000
"""Bytes of all pictures of a page; in the file they take a third more."""
_MOST_ROWS = 500
_MOST_OF_A_DIFF = 400_000
_KINDS = {".png": "image/png", ".gif": "image/gif"}
_FORMATS = ("PNG", "GIF")
_MACHINE = {"host": "host", "cpu": "processor", "cores": "cores", "memory_gib": "memory, GiB"}
_EMPTY: tuple[Any, ...] = (None, [], "")
_LATER = ("weights", "best_step", "hardware", "world_size", "protocol", "seed", "resumed_at", "stopped_early", "pruned")


def detail_of(run: Run) -> Detail:
    """Read the files of a run that a page of many runs has no room for."""
    settings, origins = _settings(run)
    pictures, notes = _pictures(run)
    sheets, problems = _sheets(run)
    return Detail(settings, origins, _facts(run.record), _diff(run), pictures, sheets, [*notes, *problems])


def _settings(run: Run) -> tuple[list[Setting], str]:
    """Return the config; where each value was set is known as far as today's YAML files still give the same value."""
    config = dict(flat(run.config.to_dict()))
    words = [parse_word(word) for word in run.words]
    typed = {word.key for word in words if not word.sign.startswith("~")}
    origin, today, note = _origins(run)
    found = []
    for key, value in config.items():
        is_typed = any(key == name or key.startswith(f"{name}.") for name in typed)
        where = origin(key) if key in today and today[key] == value else ""
        found.append(Setting(key, _text(value), where, is_typed))
    return found, note


def _origins(run: Run) -> tuple[Callable[[str], str], Mapping[str, Any], str]:
    if not run.config:
        return str, {}, ""
    try:
        composed = compose_config(run.words, run.record.get("config_dirs") or ())
    except LabError as error:
        return str, {}, f"today's files cannot compose its words ({one_line(error)}): only typed values are marked"
    note = "where each value was set, as far as today's files give the same value"
    return composed.origin, dict(flat(composed.config)), note


def _text(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _facts(record: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    machine = record.get("machine") or {}
    strategy = record.get("strategy") or {}
    groups = {
        "Provenance": [
            ("command", str(record.get("command") or "")),
            ("commit", str(record.get("commit") or "")),
            ("sources", str(record.get("sources") or "")[:16]),
            ("data fingerprint", str(record.get("dataset") or "")[:16]),
            ("started", str(record.get("started") or "")),
            ("ended", str(record.get("ended") or "")),
        ],
        "Machine": [(label, str(machine[key])) for key, label in _MACHINE.items() if key in machine],
        "Training": [
            (key.replace("_", " "), _text(record[key])) for key in _LATER if record.get(key) not in (None, [], "")
        ],
        "Versions": [(name, str(version)) for name, version in (record.get("versions") or {}).items()],
    }
    if strategy:
        groups["Machine"].append(("strategy", f"{strategy.get('name')} ({strategy.get('reason')})"))
    for path, counts in (record.get("rows_read") or {}).items():
        if isinstance(counts, dict):
            groups["Training"].append((Path(path).name, f"{counts.get('used')} of {counts.get('rows')} rows used"))
    return {name: [(key, value) for key, value in facts if value] for name, facts in groups.items() if facts}


def _diff(run: Run) -> str:
    name = run.record.get("diff")
    if not isinstance(name, str) or Path(name).name != name:
        return ""
    try:
        text = (run.path / name).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    left = len(text) - _MOST_OF_A_DIFF
    return text if left <= 0 else f"{text[:_MOST_OF_A_DIFF]}\n... {left} more characters are in {name}"


def _folders(run: Run) -> list[tuple[str, Path]]:
    return [("", run.path), *((name, run.path / name) for name in run.evaluations)]


def _pictures(run: Run) -> tuple[list[ShownPicture], list[str]]:
    """Return the pictures that fit, pairs first; one that cannot be read is said."""
    found: list[ShownPicture] = []
    notes: list[str] = []
    size, left_out = 0, 0
    files = [(group, file) for group, folder in _folders(run) for file in pictures_in(folder)]
    files.sort(key=lambda item: (item[0], not item[1].stem[-1:].isdigit()))
    for group, file in files:
        try:
            content = file.read_bytes()
            with Image.open(file, formats=_FORMATS) as picture:
                width, height = picture.size
                is_single = file.suffix == ".png" and file.stem[-1:].isdigit()  # a sheet of pairs looks like a pair
                parts = _half(picture) if is_single else 0
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            notes.append(f"{file.name} cannot be read ({one_line(error)})")
            continue
        if size + len(content) > MOST_BYTES:
            left_out += 1
            continue
        size += len(content)
        source = f"data:{_KINDS[file.suffix]};base64,{base64.b64encode(content).decode('ascii')}"
        found.append(ShownPicture(file.stem, group, source, width, height, parts))
    notes += [f"{left_out} pictures are left out: together they are above {MOST_BYTES // 10**6} MB"] if left_out else []
    return found, notes


def _half(picture: Image.Image) -> int:
    """Return the width of each half of two pictures of one size with a white gap between them, else 0."""
    pixels = np.asarray(picture.convert("RGB"))
    white = (pixels == 255).all(axis=(0, 2))
    width = len(white)
    left = right = width // 2
    if width < 16 or not white[left]:
        return 0
    while left > 0 and white[left - 1]:
        left -= 1
    while right < width and white[right]:
        right += 1
    gap = right - left
    return left if abs(left - (width - right)) <= 1 and 2 <= gap <= width // 8 else 0


def _sheets(run: Run) -> tuple[list[Sheet], list[str]]:
    found: list[Sheet] = []
    notes: list[str] = []
    for group, folder in _folders(run):
        for file in sorted((folder / "tables").glob("*.csv")):
            try:
                with file.open(encoding="utf-8", newline="") as opened:
                    columns, *rows = list(csv.reader(opened)) or [[]]
            except (OSError, UnicodeDecodeError, csv.Error) as error:
                notes.append(f"tables/{file.name} cannot be read ({one_line(error)})")
                continue
            # The first cell names its row: "01" stays as it is.
            cells: list[list[ShownValue]] = [
                [*row[:1], *(scalar(cell) if cell else None for cell in row[1:])] for row in rows[:_MOST_ROWS]
            ]
            is_matrix = bool(columns) and columns[0].startswith("true /")
            found.append(Sheet(file.stem, group, columns, cells, is_matrix, max(0, len(rows) - _MOST_ROWS)))
    return found, notes
