"""Recommendation data from files: what each layout is read as, how it is split, and what batches hold."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.config.checks import DATA_METADATA
from lab.config.compose import compose_config
from lab.data.datamodule import LoadPlan
from lab.errors import ConfigError, DataError
from lab.launch.targets import check_all
from lab.registry.build import build
from lab.structures import LaneBatch, SequenceBatch
from lab.tasks.recommendation.data.interactions import InteractionsDataModule
from lab.tasks.recommendation.data.module import RecommendationDataModule
from lab.tasks.recommendation.data.sequences import Sequences
from lab.tasks.recommendation.data.sessions import SessionsDataModule
from lab.tasks.recommendation.data.sessions_synthetic import SyntheticSessionsDataModule

DAY = 86400
# (user, item, day): u3 has two events and is only trained on; "late" stands in held-out events alone.
RATINGS = [
    *[("u1", item, day) for day, item in enumerate(["a", "b", "c", "a", "d"])],
    *[("u2", item, day) for day, item in enumerate(["c", "c", "b", "late"], 1)],
    *[("u3", item, day) for day, item in enumerate(["d", "a"], 2)],
]
# (session, item, day): one session on each of days 0 to 9; e stands on the last day alone.
VISITS = [
    (f"s{day}", item, day + part / 10)
    for day, items in enumerate(["ab", "bc", "ca", "abc", "cb", "ba", "bcd", "dab", "cad", "aebc"])
    for part, item in enumerate(items)
]


def write(path: Path, rows: list[Any], header: str = "who,what,when", separator: str = ",") -> Path:
    """Write rows (who, what, day) as seconds, in an order that is not that of time."""
    lines = [separator.join(map(str, (who, what, int(day * DAY)))) for who, what, day in rows]
    order = np.random.default_rng(0).permutation(len(lines))
    path.write_text("\n".join([header, *[lines[number] for number in order]]) + "\n")
    return path


NAMED = {"item_column": "what", "time_column": "when"}


def users(folder: Path, rows: list[Any] = RATINGS, **options: Any) -> InteractionsDataModule:
    write(folder / "events.csv", rows)
    return InteractionsDataModule(str(folder), "events.csv", user_column="who", **NAMED, **options)


def sessions(folder: Path, rows: list[Any] = VISITS, **options: Any) -> SessionsDataModule:
    write(folder / "events.csv", rows)
    options = {"min_support": 1, "session_column": "who", **NAMED, **options}
    return SessionsDataModule(str(folder), "events.csv", **options)


def names(module: RecommendationDataModule, sequences: Sequences | None) -> dict[str, str]:
    """Return the items of each sequence as the user's own ids, joined."""
    assert sequences is not None
    own = module.splits.item_names
    parts = np.split(sequences.items, sequences.offsets[1:-1])
    return {
        str(name): " ".join(own[item - 1] for item in part) for name, part in zip(sequences.names, parts, strict=True)
    }


def asked(module: RecommendationDataModule, split: str) -> list[tuple[str, str, str]]:
    """Return (sequence, what may be read, what is asked for) of each query of an evaluation."""
    own, found = ["", *module.splits.item_names], []
    dataset = module.dataset(split)
    for index, name in enumerate(dataset.sequence_names):
        batch = module.collate([dataset[0, index]])
        for place in batch.targets.items[0].nonzero()[:, 0].tolist():
            reads = batch.items[0, : place + 1].tolist()
            found.append((name, " ".join(own[item] for item in reads), own[int(batch.targets.items[0, place])]))
    return found


def notes(module: RecommendationDataModule) -> str:
    return "; ".join(f"{row['step']}: {row['note']}" for row in module.tables()["data"])


def equal(one: Any, other: Any) -> None:
    """Compare batches field by field."""
    for field in fields(one):
        mine, yours = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, torch.Tensor):
            assert torch.equal(mine, yours), field.name
        elif hasattr(mine, "__dataclass_fields__"):
            equal(mine, yours)
        else:
            assert mine == yours, field.name


def test_users_keep_their_last_two_events_for_evaluation(tmp_path: Path) -> None:
    module = users(tmp_path)
    assert module.splits.item_names == ("a", "b", "c", "d", "late")
    assert asked(module, "val") == [("u1", "a b c", "a"), ("u2", "c c", "b")]
    assert asked(module, "test") == [("u1", "a b c a", "d"), ("u2", "c c b", "late")]
    items, offsets = module.training_sequences()
    assert offsets.tolist() == [0, 3, 5, 7]
    assert [module.splits.item_names[item - 1] for item in items.tolist()] == [*"abc", *"cc", *"da"]
    spec = module.spec
    assert spec.task == "recommendation"
    assert spec.item_names == module.splits.item_names
    assert spec.item_counts == (2, 1, 3, 1, 0)  # the validation items a and b, the test items d and late not counted
    assert (spec.num_items, spec.num_sequences, spec.num_events) == (5, 3, 7)
    assert "asked about: 1 users with fewer than 3 events are only trained on" in notes(module)
    # What is learnt from asks for nothing that is held out.
    train = module.dataset("train")
    batch = module.collate([train[0, index] for index in range(len(train))])
    assert [row[row > 0].tolist() for row in batch.targets.items] == [[2, 3], [3], [1]]


def test_users_who_are_asked_about_have_some_events(tmp_path: Path) -> None:
    module = users(tmp_path, min_evaluated=5)
    assert [name for name, _, _ in asked(module, "test")] == ["u1"]
    assert module.item_counts.tolist() == [2, 2, 3, 1, 1]  # u2 is trained on with all it has
    with pytest.raises(DataError, match=r"no user has the 9 events \(data\.min_evaluated\)"):
        _ = users(tmp_path, min_evaluated=9).splits
    with pytest.raises(ConfigError, match=r"data\.min_evaluated=2: two events are held out"):
        users(tmp_path, min_evaluated=2)


def test_negatives_of_training_are_items_that_the_training_shows_nothing_of(tmp_path: Path) -> None:
    """What is held out may be drawn, as in SASRec's own code; what the training shows may not."""
    module = users(tmp_path, num_negatives=50)
    train = module.dataset("train")
    batch = module.collate([train[epoch, 0] for epoch in range(9)])
    assert set(batch.targets.negatives[batch.targets.items > 0].unique().tolist()) == {4, 5}


def test_lanes_walk_through_users_whose_last_items_are_unknown(tmp_path: Path) -> None:
    module = users(tmp_path, batch_size=2, batching="lanes", num_negatives=30, negative_alpha=0.5)
    stream = list(module.train_dataloader())
    assert [type(batch) for batch in stream] == [LaneBatch]
    steps = module.dataset("train")
    walked = steps.schedule
    assert walked.current.T.tolist() == [[1, 2], [3, 4]]  # u1: a b c; u2: c c; u3, in u2's lane: d a
    assert walked.following.T.tolist() == [[2, 3], [3, 1]]
    assert 5 not in stream[0].targets.items.tolist()  # "late" is unknown and never drawn


def test_one_file_of_sessions_is_split_by_time(tmp_path: Path) -> None:
    module = sessions(tmp_path, test_days=0.9, max_length=2)
    splits = module.splits
    assert splits.item_names == ("a", "b", "c", "d")
    assert list(names(module, splits.train)) == [f"s{day}" for day in range(8)]
    # The last event of all is at 9.3, before 8.4 end s8 and those before; of these the last is at 8.2, s7 ends at 7.2.
    assert names(module, splits.val) == {"s8": "c a d"}
    assert names(module, splits.test) == {"s9": "a b c"}  # e is unknown
    assert "test: 1 events of items that training lacks dropped" in notes(module)
    assert asked(module, "test") == [("s9", "a", "b"), ("s9", "a b", "c")]
    assert asked(module, "val") == [("s8", "c", "a"), ("s8", "c a", "d")]
    counted = "".join(names(module, splits.train).values()).replace(" ", "")
    assert module.item_counts.tolist() == [counted.count(name) for name in "abcd"]
    by_start = sessions(tmp_path, test_days=1.25, split_by="start")
    assert list(names(by_start, by_start.splits.test)) == ["s9"]  # s8 began at 8.0, before 9.3 - 1.25
    assert list(names(by_start, by_start.splits.val)) == ["s7", "s8"]


def test_sessions_of_three_files(tmp_path: Path) -> None:
    write(tmp_path / "val.csv", [("v1", "a", 20), ("v1", "c", 21), ("v2", "new", 21), ("v2", "b", 22)])
    write(tmp_path / "test.csv", [("t1", "c", 30), ("t1", "new", 31), ("t1", "newer", 32), ("t1", "a", 33)])
    module = sessions(tmp_path, val_file="val.csv", test_file="test.csv")
    assert len(module.splits.train) == 10  # nothing is cut off
    assert names(module, module.splits.val) == {"v1": "a c"}  # of v2 one event is left, after which nothing comes
    assert names(module, module.splits.test) == {"t1": "c a"}
    assert "val: known items: 1 events of items that training lacks dropped" in notes(module)
    assert "test: known items: 2 events of items that training lacks dropped" in notes(module)
    partly = sessions(tmp_path, test_file="test.csv")
    assert list(names(partly, partly.splits.val)) == ["s9"]  # cut from the end of the training


def test_filters_and_repeats_are_counted(tmp_path: Path) -> None:
    rows = [*VISITS, ("s3", "c", 3.3), ("s10", "b", 9.35)]  # a repeat, and a session of one event
    module = sessions(tmp_path, rows, drop_repeats=True, min_support=3, fixpoint=True)
    assert {"s3": "a b c"}.items() <= names(module, module.splits.train).items()
    steps = {row["step"]: row for row in module.tables()["data"]}
    assert steps["events.csv"]["events"] == len(rows)
    assert steps["without repeats"]["note"] == "1 repeats dropped"
    assert steps["filtered"]["events"] == len(rows) - 1 - 1 - 1  # e goes for its support, s10 for its length
    assert steps["filtered"]["items"] == 4


def test_content_makes_the_fingerprint(tmp_path: Path) -> None:
    first = sessions(tmp_path).fingerprint()
    assert sessions(tmp_path, batch_size=7, seed=3, batching="lanes").fingerprint() == first
    for changed in (
        [*VISITS[:-1], ("s9", "a", VISITS[-1][2])],  # an item of the test set
        [("s0", "c", 0.0), *VISITS[1:]],  # of the training
        [*VISITS, ("s0", "b", 0.5)],
        [(who, {"a": "A"}.get(what, what), day) for who, what, day in VISITS],  # the name of an item
    ):
        assert sessions(tmp_path, changed).fingerprint() != first
    assert sessions(tmp_path, test_days=2.5).fingerprint() != first
    of_users = users(tmp_path).fingerprint()
    assert users(tmp_path, [*RATINGS[:-1], ("u3", "b", 3)]).fingerprint() != of_users


def make_synthetic(plan: LoadPlan, batching: str, **options: Any) -> SyntheticSessionsDataModule:
    arguments: dict[str, Any] = {"num_items": 20, "num_train": 60, "num_val": 5, "num_test": 5, "num_negatives": 3}
    module = SyntheticSessionsDataModule(**{**arguments, "batch_size": 8, "batching": batching, **options})
    module.plan = plan
    return module


def stream(batching: str, **plan: Any) -> list[Any]:
    module = make_synthetic(LoadPlan(**plan), batching, max_length=4)
    return list(module.train_dataloader())


@pytest.mark.parametrize(("batching", "kind"), [("sequences", SequenceBatch), ("lanes", LaneBatch)])
def test_a_resumed_stream_is_the_rest_of_the_whole_one(batching: str, kind: type) -> None:
    steps = make_synthetic(LoadPlan(), batching).steps_per_epoch()
    assert 5 < steps < 60
    whole = stream(batching, max_steps=steps + 6)  # into the second epoch
    assert len(whole) == steps + 6
    assert {type(batch) for batch in whole} == {kind}
    for start in (3, steps, steps + 2):
        rest = stream(batching, max_steps=steps + 6, start_step=start)
        assert len(rest) == len(whole) - start
        for one, other in zip(whole[start:], rest, strict=True):
            equal(one, other)


def test_sequences_of_two_ranks_are_those_of_one() -> None:
    alone = stream("sequences", max_steps=10)
    parts = [stream("sequences", max_steps=10, rank=rank, world_size=2, accumulate=2) for rank in range(2)]
    assert [len(part) for part in parts] == [20, 20]
    for step, batch in enumerate(alone):
        found = [part[2 * step + number] for number in range(2) for part in parts]
        assert torch.equal(torch.cat([part.sequence_ids for part in found]), batch.sequence_ids)
        row = 0
        for part in found:
            for place in range(len(part.items)):
                width = int(part.lengths[place])
                assert torch.equal(part.items[place, :width], batch.items[row, :width])
                assert torch.equal(part.targets.items[place, :width], batch.targets.items[row, :width])
                assert torch.equal(part.targets.negatives[place, :width], batch.targets.negatives[row, :width])
                row += 1
        assert sum(sum(part.targets.counts) for part in found) == sum(batch.targets.counts)


def test_lanes_of_two_ranks_are_those_of_one() -> None:
    alone = stream("lanes", max_steps=50)
    parts = [stream("lanes", max_steps=50, rank=rank, world_size=2, accumulate=2) for rank in range(2)]
    for step, batch in enumerate(alone):
        found = [part[2 * step + number] for number in range(2) for part in parts]
        assert torch.equal(torch.cat([part.items for part in found]), batch.items)
        assert torch.equal(torch.cat([part.lanes for part in found]), batch.lanes)
        assert all(torch.equal(part.targets.items, batch.targets.items) for part in found)


@pytest.mark.parametrize(("windows", "shown"), [("last", ["cab", "a"]), ("all", ["ab", "cab", "a"])])
def test_windows_of_long_histories(tmp_path: Path, windows: Any, shown: list[str]) -> None:
    """Six events to learn from, of which five ask for the next: the last three, or two and three."""
    rows = [(who, item, day) for who, items in (("u1", "abcabcab"), ("u2", "ab")) for day, item in enumerate(items)]
    module = users(tmp_path, rows, max_length=3, windows=windows)
    train = module.dataset("train")
    batch = module.collate([train[0, index] for index in range(len(train))])
    found = ["".join(module.splits.item_names[item - 1] for item in row[row > 0].tolist()) for row in batch.items]
    assert found == shown


@pytest.mark.parametrize(("batching", "limit", "steps"), [("lanes", 4, 4), ("lanes", 0.01, 1), ("sequences", 3, 3)])
def test_an_epoch_may_be_limited(batching: str, limit: float, steps: int) -> None:
    module = make_synthetic(LoadPlan(limit_train=limit), batching)
    assert module.steps_per_epoch() == steps


def test_lanes_follow_the_plan() -> None:
    """The plan is set after the data was first looked at, as an experiment does."""
    module = make_synthetic(LoadPlan(), "lanes")
    assert len(module.dataset("train").schedule) == len(module.dataset("train"))
    module.plan = LoadPlan(max_steps=2, rank=1, world_size=2)
    assert module.first_batch().lanes.tolist() == [4, 5, 6, 7]
    assert [batch.lanes.tolist() for batch in module.train_dataloader()] == [[4, 5, 6, 7]] * 2


def test_inputs_are_counted_and_cut(tmp_path: Path) -> None:
    module = sessions(tmp_path, max_length=2)
    path = tmp_path / "input.csv"
    path.write_text("who,what,when\nx,a,1\nx,e,2\ny,e,3\nz,d,4\nz,c,5\nz,c,5\nz,b,6\nz,,7\nw,a,tomorrow\n")
    dataset = module.build_inputs([path])
    assert dataset.sequence_names == ["x", "z"]
    assert {what: count for what, count in dataset.left_out.items() if count} == {
        "rows without an id": 1,
        "rows with a time that cannot be read": 1,
        "events of unknown items": 2,
        "sequences without a known item": 1,
    }
    (batch,) = module.dataset_dataloader(dataset)
    assert batch.items.tolist() == [[1, 0], [3, 2]]  # a; c b, which are the last two of z
    assert batch.lengths.tolist() == [1, 2]
    assert batch.seen_counts == (1, 3)  # what is seen before, and the first that is shown
    assert batch.seen.tolist() == [1, 4, 3, 3]  # a row that repeats another is kept, and not said to be left out
    assert batch.valid.tolist() == [True, True]
    path.write_text("who,what,when\nx,e,2\n")
    nothing = module.build_inputs([path])
    assert len(nothing) == 0
    assert nothing.left_out["sequences without a known item"] == 1
    with pytest.raises(DataError, match=f"input={tmp_path}: one file of sequences is expected"):
        module.build_inputs([tmp_path])


def shipped(data: str, root: Path, *words: str) -> Any:
    """Return the data module of a shipped YAML, of files in ``root``."""
    composed = compose_config(["model=popularity", f"data={data}", f"data.root={root}", *words])
    check_all(composed, machine=False)
    node = {key: value for key, value in composed.config["data"].items() if key not in DATA_METADATA}
    return build(node)


def test_layout_of_yoochoose(tmp_path: Path) -> None:
    """Three files of tabs."""
    rows = ["SessionId\tItemId\tTime", "1\t8\t1.5", "1\t9\t1.25", "2\t9\t3", "2\t8\t4.0"]
    for part in ("train_tr", "train_valid", "test"):
        (tmp_path / f"yoochoose-clicks-100k_{part}.txt").write_text("\n".join(rows) + "\n")
    module = shipped("yoochoose", tmp_path)
    for sequences in (module.splits.train, module.splits.val, module.splits.test):
        assert names(module, sequences) == {"1": "9 8", "2": "9 8"}


LINES = [("7", "31", "4", 100), ("7", "12", "3", 300), ("9", "12", "5", 50), ("7", "5", "1", 200)]


@pytest.mark.parametrize(
    ("data", "file", "header", "separator"),
    [
        ("ml100k", "ml-100k.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float", "\t"),
        ("ml100k", "u.data", None, "\t"),
        ("ml1m", "ml-1m.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float", "\t"),
        ("ml1m", "ratings.dat", None, "::"),
    ],
)
def test_layouts_of_movielens(tmp_path: Path, data: str, file: str, header: str | None, separator: str) -> None:
    rows = [separator.join(map(str, line)) for line in LINES]
    (tmp_path / file).write_text("\n".join([*([header] if header else []), *rows]) + "\n")
    module = shipped(data, tmp_path)
    assert names(module, module.splits.train) == {"9": "12", "7": "31 5 12"}  # in order of the first event's time
    assert module.path().name == file


def test_layout_of_rsc15(tmp_path: Path) -> None:
    """No header, a fourth column, ISO times with fractions."""
    rows = [
        "1,2014-04-07T10:51:09.277Z,214536502,0",
        "1,2014-04-07T10:51:09.131Z,214536500,S",
        "2,2014-04-08T10:51:09.277Z,214536500,0",
        "2,2014-04-08T10:57:09.000Z,214536502,0",
        "3,2014-04-10T10:00:00.000Z,214536502,0",
        "3,2014-04-10T10:00:01Z,214536500,0",
    ]
    (tmp_path / "yoochoose-clicks.dat").write_text("\n".join(rows) + "\n")
    module = shipped("rsc15", tmp_path, "data.min_support=1")
    assert names(module, module.splits.train) == {"1": "214536500 214536502"}
    assert names(module, module.splits.val) == {"2": "214536500 214536502"}
    assert names(module, module.splits.test) == {"3": "214536502 214536500"}


def test_layout_of_diginetica(tmp_path: Path) -> None:
    """A session's events are ordered by the milliseconds since its day began."""
    rows = [
        "1;NA;81;9000;2016-05-09",
        "1;NA;82;100;2016-05-09",
        "2;NA;81;5;2016-05-10",
        "2;NA;82;86400000;2016-05-10",
        "3;11;82;0;2016-05-12",
        "3;11;81;1;2016-05-12",
    ]
    path = tmp_path / "train-item-views.csv"
    path.write_text("\n".join(["sessionId;userId;itemId;timeframe;eventdate", *rows]) + "\n")
    module = shipped("diginetica", tmp_path, "data.min_support=1", "data.test_days=1")
    # Session 2 ends as 11 May begins, 1 ms before the last day.
    assert names(module, module.splits.train) == {"1": "82 81"}
    assert names(module, module.splits.val) == {"2": "81 82"}
    assert names(module, module.splits.test) == {"3": "82 81"}


def test_layout_of_amazon(tmp_path: Path) -> None:
    """Lines stand in order of time, those of a user not always together."""
    (tmp_path / "Video.txt").write_text("1 9\n1 3\n2 3\n1 5\n2 10\n2 9\n")
    module = shipped("amazon", tmp_path)
    assert names(module, module.splits.train) == {"1": "9 3 5", "2": "3 10 9"}
    assert asked(module, "test") == [("1", "9 3", "5"), ("2", "3 10", "9")]


@pytest.mark.parametrize(
    ("make", "options", "line"),
    [
        (sessions, {"min_support": 99}, r"no event is left of sessions .*data\.min_length.*99 \(data\.min_support\)"),
        (sessions, {"test_days": 99}, r"the last data\.test_days=99 of 9\.3 days leave nothing to train on or to test"),
        (sessions, {"test_days": 5}, r"the last data\.test_days=5 of 4\.1 days .* or to val"),
        (sessions, {"test_days": 0}, r"data\.test_days=0: should be above 0"),
        (sessions, {"batching": "lane"}, r"data\.batching='lane': should be one of sequences, lanes"),
        (users, {"windows": "first"}, r"data\.windows='first': should be one of last, all"),
        (sessions, {"val_file": "none.csv"}, r"none\.csv: no such file"),
        (users, {"min_support": 99}, r"no event is left of users .*data\.min_length.*99 \(data\.min_support\)"),
        (users, {"min_length": 99}, r"no event is left of users of at least 99"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, make: Any, options: dict[str, Any], line: str) -> None:
    with pytest.raises((ConfigError, DataError), match=line) as caught:
        _ = make(tmp_path, **options).splits
    assert "\n" not in str(caught.value)


def test_a_test_set_of_unknown_items_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "test.csv", [("t1", "x", 30), ("t1", "y", 31)])
    with pytest.raises(DataError, match="no test session of two events whose items stand in the training data"):
        _ = sessions(tmp_path, test_file="test.csv").splits


def test_the_tables_say_what_was_read_and_what_share_is_tested(tmp_path: Path) -> None:
    path = write(tmp_path / "events.csv", [(who, what, day + 16161) for who, what, day in VISITS])  # from 2014-04-01
    path.write_text(path.read_text() + "x,NULL,1396310400\ny,a\nz,,5\n")
    module = SessionsDataModule(str(tmp_path), "events.csv", session_column="who", min_support=1, **NAMED)
    assert module.rows_read() == {
        "events.csv": {
            "rows": len(VISITS) + 3,
            "used": len(VISITS),
            "left_out": {"without an id": 1, "whose item reads NULL": 1, "with fewer than 3 columns": 1},
            "noted": {},
        }
    }
    said = notes(module)
    assert f"events.csv: {len(VISITS) + 3} rows, {len(VISITS)} used: 1 without an id, 1 whose item reads NULL" in said
    assert "; 2014-04-01 to 2014-04-10" in said
    tested = len(module.splits.test.items)  # type: ignore[union-attr]
    assert f"{tested / len(VISITS):.2%} of the {len(VISITS)} events used" in said
    assert "ONE sequence: its numbers say little" in said  # s9 alone is tested


def test_users_are_told_what_share_is_tested(tmp_path: Path) -> None:
    module = users(tmp_path, min_evaluated=5)
    assert f"{1 / len(RATINGS):.2%} of the events are the test, as many validate; ONE user" in notes(module)
    assert "events.csv: 11 rows, all used: 11 with a time in January or February 1970" in notes(module)
    assert module.rows_read()["events.csv"]["noted"]


def test_milliseconds_under_seconds_are_no_test_of_one_session(tmp_path: Path) -> None:
    write(tmp_path / "events.csv", [(who, what, (day + 16161) * 1000) for who, what, day in VISITS])
    options = {"session_column": "who", "min_support": 1, **NAMED}
    with pytest.raises(DataError, match=r"2014-04-10: set data\.time_format=milliseconds"):
        _ = SessionsDataModule(str(tmp_path), "events.csv", **options).splits
    module = SessionsDataModule(str(tmp_path), "events.csv", time_format="milliseconds", **options)
    assert list(names(module, module.splits.test)) == ["s9"]  # and s8 and s7 validate, which end within the day before
    assert len(module.splits.train) == 7


def test_a_surplus_of_columns_makes_no_users_of_items(tmp_path: Path) -> None:
    """A header one short: pandas would take the users for an index and the items for users."""
    path = write(tmp_path / "events.csv", RATINGS)
    path.write_text(path.read_text().replace("who,what,when", "who,what").replace("\n", ",9\n"))
    with pytest.raises(DataError, match="another number of them"):
        _ = InteractionsDataModule(
            str(tmp_path), "events.csv", user_column="who", item_column="what", time_column=None
        ).splits


@pytest.mark.parametrize(("file", "line"), [("ml-100k.inter", "7\t31\t4\t100\n"), ("ml-100k.data", "7\t31\t4\t100\n")])
def test_settings_of_files_hold_for_movielens_too(tmp_path: Path, file: str, line: str) -> None:
    """Its columns follow from the file's name, what is done with rows from the config."""
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" if file.endswith("inter") else ""
    (tmp_path / file).write_text(header + line * 2 + line.replace("31", "5") + line.replace("31", "8"))
    kept = shipped("ml100k", tmp_path, f"data.file={file}")
    assert kept.splits.train.lengths.tolist() == [4]
    assert shipped(
        "ml100k", tmp_path, f"data.file={file}", "data.drop_duplicates=true"
    ).splits.train.lengths.tolist() == [3]


def test_encoding_and_quotes_are_settings_of_the_data(tmp_path: Path) -> None:
    rows = write(tmp_path / "events.csv", [(who, {"a": '"ä'}.get(what, what), day) for who, what, day in RATINGS])
    rows.write_bytes(rows.read_text().encode("latin-1"))
    words = ("data.file=events.csv", "data.user_column=who", "data.item_column=what", "data.time_column=when")
    with pytest.raises(DataError, match=r"is not UTF-8.*data\.encoding"):
        _ = shipped("interactions", tmp_path, *words).splits
    with pytest.raises(DataError, match=r"data\.quotes=false"):
        _ = shipped("interactions", tmp_path, *words, "data.encoding=latin-1").splits
    module = shipped("interactions", tmp_path, *words, "data.encoding=latin-1", "data.quotes=false")
    assert '"ä' in module.splits.item_names


def test_what_is_odd_about_inputs_is_noted(tmp_path: Path) -> None:
    module = sessions(tmp_path)
    path = tmp_path / "input.csv"
    path.write_text("who,what,when\nx, a ,1396310400\nx,b,1396310401\n")
    assert module.build_inputs([path]).noted == {"with blanks around the item, taken without them": 1}
