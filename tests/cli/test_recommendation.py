"""Recommenders as commands: a sweep, a killed GRU4Rec, tests by another protocol, lists in one's own ids."""

from __future__ import annotations

import csv
import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import lab
from lab.checkpoint.format import CheckpointReader
from lab.loggers.metrics_file import read_metrics
from lab.tasks.recommendation.data.sessions_synthetic import SyntheticSessionsDataModule
from tests.cli.test_resume import assert_equal, content, rows
from tests.runs import RECOMMENDER, SESSIONS, Runs, last_step, only_run, record, summary, wait_for


@pytest.fixture(scope="module")
def fitted(recommender: Path) -> Path:
    return recommender


def test_a_sweep_over_models_ends_with_one_table(runs: Runs, tmp_path: Path) -> None:
    words = ("model=sasrec,popularity,session_knn", *SESSIONS, "trainer.max_steps=3", "trainer.max_epochs=null")
    command = runs.run("-m", *words, folder=tmp_path)
    assert command.code == 0, command.out[-2000:] + command.err
    table = {row["model"]: row for row in summary(tmp_path)}
    assert list(table) == ["sasrec", "popularity", "session_knn"]
    shown = command.out[command.out.rindex("[3/3]") :]
    for model, row in table.items():
        assert row["state"] == "finished"
        result = record(tmp_path / "runs" / row["run"])["result"]
        assert float(row["test/recall_5"]) == pytest.approx(result["test/recall_5"])
        assert {"test/recall_1", "test/mrr_5", "test/ndcg_5", "val/mrr_5"} <= result.keys()
        assert model in shown
    assert float(table["popularity"]["test/recall_5"]) == pytest.approx(recall_of_popularity(5))


def recall_of_popularity(k: int) -> float:
    """Return the share of the test set's next items that are among the k most frequent, by counting in Python."""
    splits = SyntheticSessionsDataModule(num_items=30, num_train=60, num_test=20, mean_length=3).splits
    counts = Counter(splits.train.items.tolist())
    ranks = {item: sum(other > count for other in counts.values()) for item, count in counts.items()}
    assert splits.test is not None
    starts = set(splits.test.offsets.tolist())
    asked = [item for place, item in enumerate(splits.test.items.tolist()) if place not in starts]
    return sum(ranks[item] < k for item in asked) / len(asked)


def test_a_killed_gru4rec_ends_as_an_undisturbed_one(runs: Runs, fitted: Path, tmp_path: Path) -> None:
    """Hidden states of lanes, rows of Adagrad and the place in the schedule are in the checkpoints."""
    for target in (6, 25):  # in the first epoch and in the second
        command = runs.start(*RECOMMENDER, folder=tmp_path)
        assert wait_for(lambda target=target: last_step(tmp_path) >= target, command), command.err
        command.send(signal.SIGKILL)
        assert command.wait() == -signal.SIGKILL
    command = runs.run(*RECOMMENDER, folder=tmp_path)
    assert command.code == 0, command.err
    run = only_run(tmp_path)
    assert len(record(run)["resumed_at"]) == 2
    assert min(record(run)["resumed_at"]) > 0
    epochs = [row["epoch"] for row in rows(run)]
    assert sorted(set(epochs)) == [0, 1, 2]
    assert rows(run) == rows(fitted)
    for name in ("last.ckpt", "best.ckpt"):
        assert_equal(*(content(folder / "checkpoints" / name) for folder in (run, fitted)), name)
    assert record(run)["result"] == record(fitted)["result"]


def test_hidden_states_are_in_the_checkpoint_that_goes_on(fitted: Path) -> None:
    last, best = (CheckpointReader(fitted / "checkpoints" / f"{name}.ckpt") for name in ("last", "best"))
    assert any(value.abs().sum() > 0 for value in hidden(last.state).values())
    assert not hidden(best.state)
    assert read_metrics(fitted)[-1]["step"] == 40


def hidden(state: Any, path: str = "") -> dict[str, Any]:
    """Return the tensors of a nested state whose path names hidden states."""
    if isinstance(state, dict):
        return {name: value for key in state for name, value in hidden(state[key], f"{path}/{key}").items()}
    return {path: state} if "hidden" in path and hasattr(state, "abs") else {}


def test_a_test_by_another_protocol_stands_beside(runs: Runs, fitted: Path) -> None:
    before = (fitted / "run.json").read_bytes()
    best = fitted / "checkpoints" / "best.ckpt"
    command = runs.run("stage=test", f"ckpt={best}", "eval.protocol=sampled", "eval.num_negatives=5", "eval.also=full")
    assert command.code == 0, command.err
    (file,) = fitted.glob("test-best*/result.json")
    written = json.loads(file.read_text())
    of_fit = {key: value for key, value in record(fitted)["result"].items() if key.startswith("test/")}
    for key in ("recall_1", "recall_5", "mrr_5", "ndcg_5"):
        assert written["result"][f"test/full_{key}"] == of_fit[f"test/{key}"]
        assert written["result"][f"test/{key}"] > of_fit[f"test/{key}"]  # among 6 items, not among 30
    assert (written["eval"]["protocol"], written["eval"]["num_negatives"]) == ("sampled", 5)
    assert "5" in written["protocol"]
    assert (fitted / "run.json").read_bytes() == before


def test_lists_come_in_the_users_own_ids(runs: Runs, fitted: Path, tmp_path: Path) -> None:
    sessions = {"anna": ["item03", "item07"], "7": ["item30"], "x y": ["nowhere", "item12", "item03"], "lost": ["no"]}
    lines = [
        f"{session},{item},{10 * number + place}"
        for number, (session, items) in enumerate(sessions.items())
        for place, item in enumerate(items)
    ]
    (tmp_path / "sessions.csv").write_text("\n".join(["session,item,time", *lines]) + "\n")
    best = fitted / "checkpoints" / "best.ckpt"
    command = runs.run("stage=predict", f"ckpt={best}", f"input={tmp_path / 'sessions.csv'}", "eval.top_k=4")
    assert command.code == 0, command.err
    assert "left out: 2 events of unknown items, 1 sequences without a known item" in command.out
    (file,) = fitted.glob("predict-best*/recommendations.csv")
    with file.open(newline="") as opened:
        table = list(csv.DictReader(opened))
    task = lab.load(best)
    expected = [
        (session, str(rank), item, pytest.approx(score, rel=1e-5))
        for session, items in sessions.items()
        if session != "lost"
        for rank, (item, score) in enumerate(task.predict(items, k=4), 1)
    ]
    assert [(row["session"], row["rank"], row["item"], float(row["score"])) for row in table] == expected
    assert len(expected) == 12
    assert {row["item"] for row in table} <= set(task.spec.item_names)
