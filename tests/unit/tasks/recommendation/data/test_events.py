"""Logs of events: bad rows, filters and splits by hand, filters against pandas, counts of published files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas
import pytest

from lab.errors import DataError
from lab.tasks.recommendation.data.event_filters import known_only, split_by_time, with_support, without_repeats
from lab.tasks.recommendation.data.events import Columns, Events, read_events
from lab.tasks.recommendation.data.sessions_synthetic import SyntheticSessionsDataModule

COLUMNS = Columns("session", "item", "time")


def make_events(sessions: list[int], items: list[int], times: list[float]) -> Events:
    names = [np.array([str(n) for n in range(max(ids) + 1)], dtype=object) for ids in (sessions, items)]
    return Events(np.array(sessions), np.array(items), np.array(times, dtype=np.float64), *names, {})


def test_reads_sorts_and_counts_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("session,item,time\nb,07,20\na,x,11\na,7,10\n,x,5\na,,5\nb,x,soon\na,x,11\n")
    events = read_events(path, COLUMNS)
    assert [str(events.session_names[n]) for n in events.sessions] == ["a", "a", "a", "b"]
    assert [str(events.item_names[n]) for n in events.items] == ["7", "x", "x", "07"]
    assert events.times.tolist() == [10, 11, 11, 20]
    assert list(events.left_out.values()) == [2, 1, 1]


def test_empty_ids_of_parquet_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    items = pandas.array([7, 8, None], dtype="Int64")
    pandas.DataFrame({"session": ["a", None, "a"], "item": items, "time": [1, 2, 3]}).to_parquet(path)
    events = read_events(path, COLUMNS)
    assert len(events) == 1
    assert events.left_out["without an id"] == 2
    assert events.item_names[events.items].tolist() == ["7"]


@pytest.mark.parametrize("content", [None, b"", b"sesion,item,time\na,x,1\n"])
def test_a_bad_file_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "events.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_events(path, COLUMNS)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_filters_and_splits_by_hand() -> None:
    events = make_events([0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 0, 2, 0, 1], [0, 1, 2, 5, 12, 11, 13])
    assert without_repeats(events).items.tolist() == [0, 1, 0, 2, 0, 1]
    assert with_support(events, 2, 2, fixpoint=False).sessions.tolist() == [0, 0, 0, 2, 2]
    for by, late in (("end", [1, 1, 2, 2]), ("start", [2, 2])):  # from 13 - 2 = 11 on, 11 included
        assert split_by_time(events, 2.0, by)[1].sessions.tolist() == late
    before, after = split_by_time(events, 2.0, "end")
    known, dropped = known_only(after, before, 2)
    assert known.sessions.tolist() == [2, 2]
    assert dropped == 1


@pytest.mark.parametrize("fixpoint", [False, True])
def test_filters_equal_pandas(fixpoint: bool) -> None:
    draw = np.random.default_rng(3)
    sessions = np.sort(draw.integers(150, size=400))
    events = make_events(sessions.tolist(), draw.integers(120, size=400).tolist(), list(range(400)))
    table = pandas.DataFrame({"s": events.sessions, "i": events.items, "t": events.times})
    table = table[table.groupby("s").i.transform("size") >= 3]
    while True:
        before = len(table)
        table = table[table.groupby("i").s.transform("size") >= 3]
        table = table[table.groupby("s").i.transform("size") >= 3]
        if not fixpoint or len(table) == before:
            break
    assert with_support(events, 3, 3, fixpoint).times.tolist() == table.t.tolist()


@pytest.mark.parametrize(
    ("name", "columns", "counts"),
    [
        (
            "session_rsc15_100k/yoochoose-clicks-100k_train_full.txt",
            Columns("SessionId", "ItemId", "Time", "\t"),
            (17794, 70278, 2933),
        ),
        (
            "session_rsc15_100k/yoochoose-clicks-100k_test.txt",
            Columns("SessionId", "ItemId", "Time", "\t"),
            (3416, 13568, None),
        ),
        (
            "recsys_ml100k/ml-100k.inter",
            Columns("user_id:token", "item_id:token", "timestamp:float", "\t"),
            (943, 100000, 1682),
        ),
        (
            "recsys_amazon_video/Video.txt",
            Columns("user", "item", None, " ", ("user", "item")),
            (31013, 287107, 23715),
        ),
    ],
)
def test_published_counts(name: str, columns: Columns, counts: tuple[int, int, int | None]) -> None:
    path = Path(os.environ.get("LAB_DATA_DIR", "absent")) / name
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    sessions, events, items = read_events(path, columns).count().values()
    assert (sessions, events) == counts[:2]
    assert counts[2] in (None, items)


def test_optimum_is_what_the_best_list_scores() -> None:
    module = SyntheticSessionsDataModule(num_items=50, num_train=6000)
    train = module.read().train
    inside = np.ones(len(train.items), dtype=bool)
    inside[train.offsets[:-1]] = False
    follows = np.flatnonzero(inside)
    best = module.successors[train.items[follows - 1] - 1, :3] == (train.items[follows] - 1)[:, None]
    optimum = module.optimum(3)
    # 30,000 draws: one standard error of recall is 0.003
    assert best.any(1).mean() == pytest.approx(optimum["recall_3"], abs=0.012)
    assert (best / np.arange(1, 4)).sum(1).mean() == pytest.approx(optimum["mrr_3"], abs=0.012)
