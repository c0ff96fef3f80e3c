"""W&B's transaction log: what is read and written here is what W&B's own protobuf classes and viewer read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2 as messages  # type: ignore[attr-defined]

from lab.compat import wandb_log


def summary_of(file: Path) -> dict[str, Any]:
    """Return what ``wandb leet inspect --summary`` says of a log."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _write(file: Path, records: list[Any]) -> None:
    framed = wandb_log._framed([record.SerializeToString() for record in records], len(wandb_log.MAGIC))
    file.write_bytes(wandb_log.MAGIC + framed)


def _history(number: int, text: str) -> Any:
    items = [("_step", str(number)), ("text", json.dumps(text))]
    row = messages.HistoryRecord(item=[messages.HistoryItem(key=key, value_json=value) for key, value in items])
    return messages.Record(num=number, history=row)


# Some end where no chunk fits into the block, some span several blocks.
@pytest.mark.parametrize("sizes", [[10, 20], [32_680, 10], [100_000, 3], [40_000, 40_000, 200_000]])
@pytest.mark.parametrize("cut", [0, 4])
def test_read_end_and_append_exit(sizes: list[int], cut: int, tmp_path: Path) -> None:
    file = tmp_path / "run-abc.wandb"
    run = messages.Record(num=1, run=messages.RunRecord(run_id="abc", project="p"))
    rows = [_history(number, "x" * size) for number, size in enumerate(sizes, 2)]
    _write(file, [run, *rows])
    whole = file.stat().st_size
    if cut:
        file.write_bytes(file.read_bytes()[:-cut])
    end = wandb_log.read_end(file)
    assert end is not None
    assert (end.has_exit, end.number) == (False, len(sizes) + 1 - bool(cut))
    assert end.size == whole if not cut else end.size < whole
    wandb_log.append_exit(file, end, 137, {"state": "killed"})
    after = wandb_log.read_end(file)
    assert after is not None
    assert (after.has_exit, after.number, after.size) == (True, end.number + 2, file.stat().st_size)
    records = [messages.Record.FromString(record) for record, _ in wandb_log._records(file.read_bytes())]
    assert [record.num for record in records] == list(range(1, after.number + 1))
    assert records[-1].exit.exit_code == 137
    assert [(item.key, item.value_json) for item in records[-2].summary.update] == [("state", '"killed"')]
    assert [record.history.item[1].value_json for record in records[1:-2]] == [
        json.dumps("x" * size) for size in sizes[: len(sizes) - bool(cut)]
    ]


def test_wandb_reads_what_was_appended(tmp_path: Path) -> None:
    file = tmp_path / "run-abc.wandb"
    header = messages.Record(num=1, header=messages.HeaderRecord())
    run = messages.Record(num=2, run=messages.RunRecord(run_id="abc", project="p"))
    _write(file, [header, run, _history(3, "x" * 32_600)])
    assert summary_of(file)["state"] == "running"
    end = wandb_log.read_end(file)
    assert end == wandb_log.LogEnd(has_exit=False, size=file.stat().st_size, number=3)
    wandb_log.append_exit(file, end, 137, {"state": "killed"})
    said = summary_of(file)
    assert (said["state"], said["exit_code"], said["summary"]["state"]) == ("failed", 137, "killed")


def test_what_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"no log of W&B")
    assert wandb_log.read_end(tmp_path / "other") is None
