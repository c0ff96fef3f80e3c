"""The table of runs: which are chosen, in which order, and how they are printed."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from lab.errors import ConfigError
from lab.report.records.listing import as_csv, as_json, chosen, in_order, print_listing
from lab.report.records.reading import Listing, RunRow

ROWS = [
    RunRow(
        name=name,
        path=Path("runs") / name,
        state=state,
        started=started,
        step=step,
        model=name[:4],
        data="shapes",
        monitor="val/map",
        val=value,
        test=value,
        words=(f"seed={step}",),
        differs=f"seed={step}",
        sweep="rates" if step == 2 else "",
        result={} if value is None else {"val/map": value, "test/map": value, "val/loss": -value, "val/none": None},
        lower=frozenset({"val/loss"}),
    )
    for name, state, started, step, value in (
        ("detr-1", "finished", 100.0, 1, 0.25),
        ("detr-2", "failed", 300.0, 2, None),
        ("yolo-3", "finished", 200.0, 3, 0.75),
        ("yolo-4", "damaged", None, 4, None),
    )
]


def names(rows: list[RunRow]) -> str:
    return "".join(row.name[-1] for row in rows)


@pytest.mark.parametrize(
    ("words", "states", "expected"),
    [
        ([], [], "1234"),
        (["DETR"], [], "12"),
        (["yolo", "finished"], [], "3"),
        (["seed=2"], [], "2"),
        (["rates"], [], "2"),
        (["shapes"], ["finished", "failed"], "123"),
        (["nothing"], [], ""),
    ],
)
def test_all_words_must_match(words: list[str], states: list[str], expected: str) -> None:
    assert names(chosen(ROWS, words, states)) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("age", "2314"),
        ("name", "1234"),
        ("state", "4213"),
        ("step", "4321"),
        ("map", "3124"),
        ("test/map", "3124"),
        ("loss", "3124"),  # -0.75 is the lowest
    ],
)
def test_the_order(key: str, expected: str) -> None:
    assert names(in_order(ROWS, key)) == expected


def test_orders_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r"--sort mapp: none of these runs has val/mapp.*did you mean 'val/map'"):
        in_order(ROWS, "mapp")
    with pytest.raises(ConfigError, match=r"their metrics are none yet"):
        in_order([ROWS[3]], "map")
    both = [ROWS[0], RunRow("a", Path("a"), "finished", result={"val/map": 1.0}, lower=frozenset({"val/map"}))]
    with pytest.raises(ConfigError, match="lower is better in some of these runs and worse in others"):
        in_order(both, "map")
    with pytest.raises(ConfigError, match=r"--state done: there are running.*damaged"):
        chosen(ROWS, [], ["done"])


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_listing(Listing(Path("runs"), ROWS, ["notes"]), ROWS[:3], ROWS[:2], ["rates (no)"])
    head, first, second, *notes = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "state", "age", "step", "model", "data", "val/map", "test/map", "differs", "sweep"]
    assert first.split()[:2] + first.split()[-3:] == ["detr-1", "finished", "0.2500", "0.2500", "seed=1"]
    assert second.split()[-4:] == ["-", "-", "seed=2", "rates"]
    assert [line.index("seed") for line in (first, second)] == [head.index("differs")] * 2
    assert notes == [
        "3 of 4 runs in runs: 2 finished, 1 failed",
        "1 more is not shown (--limit)",
        "1 folder holds no run: notes",
        "1 sweep cannot be read: rates (no)",
    ]


def test_for_programs() -> None:
    found = json.loads(as_json(Listing(Path("runs"), ROWS, ["notes"]), ROWS))
    assert found["foreign"] == ["notes"]
    first, *_, last = found["runs"]
    assert (first["val"], first["overrides"], first["result"]["val/none"]) == (0.25, ["seed=1"], None)
    assert (last["age_s"], last["result"], last["lower_is_better"]) == (None, {}, ["val/loss"])
    rows = list(csv.DictReader(io.StringIO(as_csv(ROWS))))
    assert [row["test/map"] for row in rows] == ["0.25", "", "0.75", ""]
    assert rows[0]["name"] == "detr-1"


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    row = RunRow("a\x1b[2J", Path("a"), "finished", model="b\x07", differs="c\nd", problem="e\u202ef")
    print_listing(Listing(Path("runs"), [row], ["f\x9bg"]), [row], [row])
    for text in (capsys.readouterr().out, as_csv([row]), as_json(Listing(Path("r"), [row], []), [row])):
        assert not set("\x1b\x07\u202e\x9b") & set(text)
