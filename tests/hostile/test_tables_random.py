"""Random tables: what Python's csv writer wrote is read back, and damage is counted or refused, never a traceback."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from lab.errors import LabError
from lab.tasks.recommendation.data.events import Columns, read_events

T = 1396310400
LETTERS = [*"ab\"',;|: \t.*é数😀\\-_0", "::", '""', "||"]
COLUMNS = Columns("session", "item", "time")


def draw_id(draw: np.random.Generator) -> str:
    """Return an id of one to five signs, with a letter at both ends and no blank around it."""
    inside = "".join(draw.choice(LETTERS, size=draw.integers(4)))
    return f"i{inside}j"


@pytest.mark.parametrize("seed", range(60))
def test_what_was_written_is_read(tmp_path: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    separator = str(draw.choice([",", "\t", ";", "|", ":", " ", "\x01"]))
    end = str(draw.choice(["\n", "\r\n", "\r"]))
    encoding = str(draw.choice(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
    quoting: Any = int(draw.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]))
    rows: list[Any] = [(f"s{n // 3}", draw_id(draw), T + n, draw_id(draw)) for n in range(int(draw.integers(1, 90)))]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerow(["session", "item", "time", "more"])
    for row in rows:
        writer.writerow(row)
        if draw.random() < 0.05:
            buffer.write(end)
    path = tmp_path / "events.csv"
    path.write_bytes(buffer.getvalue().encode(encoding))
    events = read_events(path, Columns("session", "item", "time", separator))
    found = zip(events.sessions, events.items, events.times, strict=True)
    assert [(events.session_names[s], events.item_names[i], t) for s, i, t in found] == [row[:3] for row in rows]
    assert list(events.item_names) == sorted({row[1] for row in rows})
    assert events.report() == {"rows": len(rows), "used": len(rows), "left_out": {}, "noted": {}}


def accounted(path: Path) -> bool:
    """Read a file and return whether it was refused in one line; every row of others is used or counted."""
    try:
        report = read_events(path, COLUMNS).report()
    except LabError as error:
        line = str(error)
    else:
        line = ""
    if line:
        assert "\n" not in line
        assert str(path) in line
        return True
    left_out = sum(count for what, count in report["left_out"].items() if not what.endswith("kept"))
    assert report["rows"] == report["used"] + left_out
    return False


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_damaged_text_is_counted_or_refused(tmp_path: Path, quoting: Any) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n", quoting=quoting)
    writer.writerow(["session", "item", "time"])
    writer.writerows((f"s{n // 3}", f"i{n % 7}", T + n) for n in range(60))
    whole, path = buffer.getvalue().encode(), tmp_path / "events.csv"
    draw, refused = np.random.default_rng(1), 0
    for _ in range(250):
        content = bytearray(whole)
        for _ in range(int(draw.integers(1, 4))):
            place = int(draw.integers(len(content)))
            kind = int(draw.integers(4))
            if kind == 0:
                del content[place]
            elif kind == 1:
                content[place] = int(draw.integers(256))
            elif kind == 2:
                content[place:place] = bytes(
                    draw.choice([b'"', b",", b"\n", b"\r", b"\0", b"\xff", b" ", b"\xef\xbb\xbf"])
                )
            else:
                del content[place:]
                content += b"\n"
        path.write_bytes(bytes(content))
        refused += accounted(path)
    assert 20 < refused < 230


def test_damaged_parquet_is_refused_or_read(tmp_path: Path) -> None:
    ids = [f"i{n % 7}" for n in range(60)]
    table = pyarrow.table(
        {"session": [f"s{n // 3}" for n in range(60)], "item": ids, "time": [T + n for n in range(60)]}
    )
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, write_page_checksum=True)
    whole, path = buffer.getvalue(), tmp_path / "events.parquet"
    draw = np.random.default_rng(2)
    for _ in range(100):
        path.write_bytes(whole[: int(draw.integers(len(whole)))])
        assert accounted(path)
    for place in draw.integers(4, 60, size=60):  # inside of the first page
        content = bytearray(whole)
        content[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(bytes(content))
        accounted(path)
