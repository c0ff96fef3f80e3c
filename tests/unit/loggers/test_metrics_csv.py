"""metrics.csv: one row for each step, exact floats, and nothing lost or doubled by a kill at any byte."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from lightning.fabric.utilities.rank_zero import rank_zero_only

from lab.errors import RunError
from lab.loggers import metrics_csv, metrics_file
from lab.loggers.metrics_csv import MetricsCSV
from lab.loggers.metrics_file import read_metrics


def test_values_of_one_step_share_a_row(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"train/loss": 2.5, "epoch": 0.0}, step=1)
    logger.log_metrics({"train/lr": 0.1}, step=1)
    logger.log_metrics({"train/loss": 1.5, "train/lr": 0.1, "epoch": 0}, step=2)
    logger.log_metrics({"val/map": 0.25}, step=2)
    logger.flush()
    assert (tmp_path / "metrics.csv").read_text() == (
        "step,epoch,train/loss,train/lr,val/map\n1,0,2.5,0.1,\n2,0,1.5,0.1,0.25\n"
    )
    assert read_metrics(tmp_path)[0] == {"step": 1, "epoch": 0, "train/loss": 2.5, "train/lr": 0.1, "val/map": None}


def test_a_row_already_flushed_takes_more_values(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"test/map": 0.5, "val/map": 0.1}, step=3)
    logger.flush()
    logger.log_metrics({"train/loss": 1.0}, step=3)
    logger.log_metrics({"train/loss": 9.0}, step=7)
    logger.log_metrics({"train/loss": 5.0}, step=5)  # late, and behind a row that is still pending
    logger.finalize("success")
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [row["step"] for row in rows] == [3, 5, 7]
    assert list(rows[0].items()) == [
        ("step", 3),
        ("epoch", None),
        ("train/loss", 1.0),
        ("val/map", 0.1),
        ("test/map", 0.5),
    ]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e-320, -0.0, math.pi * 1e300, math.inf, -math.inf])
def test_floats_come_back_bit_for_bit(tmp_path: Path, value: float) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"train/loss": value}, step=0)
    logger.flush()
    back = read_metrics(tmp_path)[0]["train/loss"]
    assert isinstance(back, float)
    assert back.hex() == value.hex()


def test_what_nothing_defines_is_empty(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"train/loss": 1.0, "val/map": math.nan}, step=1)
    logger.flush()
    assert (tmp_path / "metrics.csv").read_text().splitlines()[1] == "1,,1.0,"
    assert read_metrics(tmp_path)[0]["val/map"] is None


def test_names_that_csv_must_quote(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({'val/map_class/"tall", é\ntree': 0.5}, step=0)
    logger.flush()
    assert read_metrics(tmp_path) == [{"step": 0, "epoch": None, 'val/map_class/"tall", é tree': 0.5}]


def test_cut_back_drops_what_the_checkpoint_does_not_know(tmp_path: Path) -> None:
    first = MetricsCSV(tmp_path)
    for step in range(1, 8):
        first.log_metrics({"train/loss": step / 3}, step=step)
    first.flush()
    second = MetricsCSV(tmp_path)
    second.cut_back(4)
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3, 4]
    second.log_metrics({"train/loss": 0.0}, step=5)
    second.flush()
    assert [row["train/loss"] for row in read_metrics(tmp_path)] == [1 / 3, 2 / 3, 1.0, 4 / 3, 0.0]


def test_a_file_larger_than_what_is_read_is_refused_and_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = MetricsCSV(tmp_path)
    for step in range(20):
        logger.log_metrics({"train/loss": 1.0}, step)
    logger.finalize("success")
    content = (tmp_path / "metrics.csv").read_bytes()
    monkeypatch.setattr(metrics_file, "_MOST", len(content))
    assert len(read_metrics(tmp_path)) == 20
    monkeypatch.setattr(metrics_file, "_MOST", len(content) - 1)
    with pytest.raises(RunError, match=r"metrics\.csv has more than .* GiB, the most that is read: .* move it away"):
        MetricsCSV(tmp_path).cut_back(10)
    assert (tmp_path / "metrics.csv").read_bytes() == content


def test_a_resume_reads_the_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = MetricsCSV(tmp_path)
    for step in range(5):
        logger.log_metrics({"train/loss": float(step)}, step)
    logger.finalize("success")
    read: list[Path] = []
    table = metrics_csv.read_table
    monkeypatch.setattr(metrics_file, "read_table", lambda path: read.append(path) or table(path))
    monkeypatch.setattr(metrics_csv, "read_table", lambda path: read.append(path) or table(path))
    again = MetricsCSV(tmp_path)
    again.cut_back(3)
    assert len(read) == 1
    again.log_metrics({"train/loss": 9.0}, 4)
    again.cut_back(2)  # what this process has written since is read
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 1, 2]


def test_a_damaged_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,epoch,train/loss\n1,0,0.5\n2,0\n3,0,0.5\n")
    with pytest.raises(RunError, match=r"metrics\.csv, line 3 is damaged \(2 fields instead of 3\)"):
        read_metrics(tmp_path)
    with pytest.raises(RunError, match="no metrics at"):
        read_metrics(tmp_path / "elsewhere.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(RunError, match="first column"):
        read_metrics(tmp_path / "other.csv")


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"train/loss": 1.0}, step=1)
    logger.cut_back(0)
    logger.finalize("success")
    assert list(tmp_path.iterdir()) == []


def _values_at(step: int) -> dict[str, float]:
    """What a deterministic training logs at a step: new columns appear late, some only now and then."""
    values = {"train/loss": math.sin(step) * 10 ** (step % 7 - 3), "epoch": step // 5}
    if step >= 4:
        values["train/grad_norm"] = math.exp(-step)
    if step % 6 == 0:
        values["val/map"] = step / 7
    return values


def _train(directory: Path, start: int, stop: int, rng: random.Random) -> int:
    """Log the steps start+1..stop, each in one or more calls, flushing now and then; return the last flushed step."""
    logger, saved = MetricsCSV(directory), start
    logger.cut_back(start)
    for step in range(start + 1, stop + 1):
        values = list(_values_at(step).items())
        cut = rng.randrange(len(values) + 1)
        logger.log_metrics(dict(values[:cut]), step=step)
        if rng.random() < 0.2:
            logger.flush()  # what follows amends a row on disk
        logger.log_metrics(dict(values[cut:]), step=step)
        if rng.random() < 0.3:
            logger.flush()
            saved = step
    return saved  # no finalize: the process is killed here, and the pending row with it


@pytest.mark.parametrize("seed", range(40))
def test_killed_and_resumed_equals_undisturbed(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path, saved, last = tmp_path / "metrics.csv", 0, 40
    for _ in range(rng.randrange(1, 6)):
        saved = _train(tmp_path, saved, rng.randrange(saved, last + 1), rng)
        if path.exists():
            # A kill tears what was appended after the checkpoint's flush, never what stood before it.
            data = path.read_bytes()
            safe = _end_of(data, saved)
            path.write_bytes(data[: rng.randrange(safe, len(data) + 1)])
    _train(tmp_path, saved, last, rng)
    final = MetricsCSV(tmp_path)
    final.log_metrics(_values_at(last), step=last)
    final.flush()
    expected = [{"step": step, **_values_at(step)} for step in range(1, last + 1)]
    assert [{name: value for name, value in row.items() if value is not None} for row in read_metrics(path)] == expected


def _end_of(data: bytes, step: int) -> int:
    """How many bytes hold every row up to ``step``; 0 for step 0, which has no row."""
    end = 0
    for line in data.splitlines(keepends=True):
        end += len(line)
        if line.startswith(b"%d," % step):
            return end
    return 0


@pytest.mark.parametrize("seed", range(20))
def test_a_file_cut_at_any_byte_opens_again(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    logger = MetricsCSV(tmp_path)
    for step in range(1, 13):
        logger.log_metrics(_values_at(step), step=step)
    logger.flush()
    path = tmp_path / "metrics.csv"
    whole = path.read_bytes()
    path.write_bytes(whole[: rng.randrange(len(whole))])
    survived = read_metrics(path)
    assert survived == read_metrics_prefix(whole, len(survived), tmp_path / "probe.csv")
    again = MetricsCSV(tmp_path)
    for step in range(len(survived) + 1, 13):
        again.log_metrics(_values_at(step), step=step)
    again.flush()
    kept = [{name: value for name, value in row.items() if value is not None} for row in read_metrics(path)]
    assert kept == [{"step": step, **_values_at(step)} for step in range(1, 13)]


def read_metrics_prefix(whole: bytes, count: int, probe: Path) -> list[dict[str, float | int | None]]:
    probe.write_bytes(whole)
    return read_metrics(probe)[:count]


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00\n",
        b"step,epoch\n\xff\xfe\n2,0\n",
        b"step,epoch\n1\x00,0\n2,0\n",
        b"1,0,2.5\n2,0,2.4\n",
        b'step,epoch\n"' + b"1" * 200_000 + b'",0\n2,0\n',
        None,
    ],
    ids=["picture", "no UTF-8", "zero byte", "no header", "long field", "folder"],
)
def test_what_is_no_metrics_file_is_refused_in_one_line(tmp_path: Path, data: bytes | None) -> None:
    file = tmp_path / "metrics.csv"
    file.mkdir() if data is None else file.write_bytes(data)
    with pytest.raises(RunError, match=r"metrics\.csv.*(move it away|repair or delete)") as caught:
        read_metrics(file)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(file))
    assert data is None or file.read_bytes() == data
