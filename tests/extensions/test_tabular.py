"""The proof that a kind of problem needs no edit in lab: a package trains, tests, predicts, resumes, sweeps."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.loggers.metrics_csv import read_metrics
from tests.runs import ROOT, Command, Runs, last_step, only_run, record, summary, wait_for

HERE = Path(__file__).resolve().parent
MINE = ("--config-dir", str(HERE / "tabular" / "conf"))
WORDS = (
    *MINE,
    "extensions=[tabular]",
    "experiments=line",
    "trainer=cpu",
    "data.file=table.csv",
    "callbacks.pictures=1",
)


def table(rows: int, seed: int) -> np.ndarray:
    """Return rows of a, b, c and y = 3 + 2 a - b + a c with noise of deviation 0.1."""
    random = np.random.default_rng(seed)
    a, b, c = random.normal(size=(3, rows))
    return np.stack([a, b, c, 3 + 2 * a - b + a * c + 0.1 * random.normal(size=rows)], axis=1)


def write(path: Path, values: np.ndarray) -> None:
    np.savetxt(path, values, delimiter=",", header="a,b,c,y", comments="", fmt="%.8f")


def furnish(folder: Path) -> Path:
    """Put the package and a table into a working directory."""
    (folder / "tabular").symlink_to(HERE / "tabular")
    write(folder / "table.csv", table(600, seed=0))
    return folder


def run(runs: Runs, folder: Path, *words: str) -> Command:
    return runs.run(*words, folder=folder, PYTHONPATH=f"{ROOT}{os.pathsep}{folder}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnish(tmp_path_factory.mktemp("tabular"))


@pytest.fixture(scope="module")
def fitted(runs: Runs, folder: Path) -> Command:
    """A finished training."""
    command = run(runs, folder, *WORDS)
    assert command.code == 0, command.out[-3000:] + command.err
    return command


def of_run(folder: Path, stage: str) -> list[str]:
    best = only_run(folder) / "checkpoints" / "best.ckpt"
    return [*MINE, "extensions=[tabular]", f"stage={stage}", f"ckpt={best}"]


def test_it_learns_and_the_least_error_is_the_best(fitted: Command, folder: Path) -> None:
    path = only_run(folder)
    result = record(path)["result"]
    assert record(path)["state"] == "finished"
    assert "expected test/rmse 0.14 or less, or more by 0.04 at most: met" in fitted.out
    assert 0.1 < result["test/rmse"] < 0.18  # the noise alone is 0.1
    rows = read_metrics(path / "metrics.csv")
    assert result["val/rmse"] == min(row["val/rmse"] for row in rows if row.get("val/rmse") is not None)
    assert result["test/r2"] == pytest.approx(1 - result["test/rmse"] ** 2 / np.var(held_out(folder)), rel=1e-4)


def held_out(folder: Path) -> np.ndarray:
    """Return the target of the test's rows, by the seed that chose them."""
    values = np.loadtxt(folder / "table.csv", delimiter=",", skiprows=1)
    order = np.random.default_rng(0).permutation(len(values))
    return values[order[120:240], 3]


def test_a_picture_is_drawn(fitted: Command, folder: Path) -> None:
    picture = Image.open(only_run(folder) / "pictures" / "test.png")
    colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or []}
    assert picture.width > 300
    assert len(colours) > 3


def test_it_is_tested(runs: Runs, fitted: Command, folder: Path) -> None:
    tested = run(runs, folder, *of_run(folder, "test"))
    assert tested.code == 0, tested.err
    path = only_run(folder)
    again = json.loads((path / "test-best" / "result.json").read_text())["result"]
    assert {key: again[key] for key in again if key.startswith("test/")} == {
        key: value for key, value in record(path)["result"].items() if key.startswith("test/")
    }


@pytest.fixture(scope="module")
def predicted(runs: Runs, fitted: Command, folder: Path) -> np.ndarray:
    """What ``stage=predict`` writes for 70 rows, in two batches and a part."""
    write(folder / "rows.csv", table(70, seed=1))
    command = run(runs, folder, *of_run(folder, "predict"), "input=rows.csv")
    assert command.code == 0, command.err
    with (only_run(folder) / "predict-best" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(70))
    return np.array([float(row["y"]) for row in rows])


def test_it_predicts(predicted: np.ndarray) -> None:
    assert np.sqrt(np.mean((predicted - table(70, seed=1)[:, 3]) ** 2)) < 0.3


PYTHON = re.compile(r"^```python\n# from Python\n(.*?)^```", re.DOTALL | re.MULTILINE)
"""The block of docs/add-a-task.md."""
PRINT = """
import json
rows = [dict(zip("abc", row)) for row in {rows}]
print(json.dumps([run.result["test/rmse"], list(task.predict(rows)), task.predict(rows[0])]))
"""


def test_it_works_from_python(predicted: np.ndarray, folder: Path) -> None:
    (block,) = PYTHON.findall((ROOT / "docs" / "add-a-task.md").read_text(encoding="utf-8"))
    words = [word for word in WORDS if word not in MINE]  # of a run that is finished
    script = re.sub(r"^words = .*$", f"words = {words}", block, flags=re.MULTILINE)
    script += PRINT.format(rows=table(70, seed=1)[:, :3].round(8).tolist())
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rmse, several, one = json.loads(done.stdout.splitlines()[-1])
    assert rmse == record(only_run(folder))["result"]["test/rmse"]
    np.testing.assert_allclose(several, predicted, rtol=1e-5, atol=1e-5)
    assert one == pytest.approx(several[0], rel=1e-6)


def test_it_is_interrupted_and_goes_on_to_the_same_bits(
    runs: Runs, fitted: Command, folder: Path, tmp_path: Path
) -> None:
    furnish(tmp_path)
    command = runs.start(*WORDS, folder=tmp_path, PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}")
    assert wait_for(lambda: last_step(tmp_path) >= 60, command), command.err
    command.send(signal.SIGTERM)
    assert command.wait() == 143, command.err
    again = run(runs, tmp_path, *WORDS)
    assert again.code == 0, again.err
    assert record(only_run(tmp_path))["resumed_at"]
    timed = ("time", "second", "seconds", "per_second")
    these, those = (read_metrics(only_run(each) / "metrics.csv") for each in (tmp_path, folder))
    assert [row["step"] for row in these] == [row["step"] for row in those]
    for ours, theirs in zip(these, those, strict=True):
        for key, value in theirs.items():
            if key.startswith(("val/", "test/", "train/loss")) and not key.endswith(timed):
                assert ours[key] == value, (theirs["step"], key)


def test_two_ranks_measure_the_same(runs: Runs, tmp_path: Path) -> None:
    results = []
    for devices in (1, 2):
        place = tmp_path / str(devices)
        place.mkdir()
        furnish(place)
        words = ("trainer.max_steps=40", "trainer.val_every_n_steps=20", "strategy=ddp", f"trainer.devices={devices}")
        command = run(runs, place, *WORDS, *words)
        assert command.code == 0, command.out[-3000:] + command.err
        assert record(only_run(place))["world_size"] == devices
        results.append(record(only_run(place))["result"])
    assert results[0].keys() == results[1].keys()
    assert results[1] == pytest.approx(results[0], rel=1e-5)  # the worst measured: see docs/add-a-task.md


def test_a_sweep_names_the_least_error(runs: Runs, tmp_path: Path) -> None:
    furnish(tmp_path)
    command = run(runs, tmp_path, "-m", *WORDS, "trainer.max_steps=20", "optimizer.lr=0.0001,0.01")
    assert command.code == 0, command.out[-3000:] + command.err
    errors = {row["optimizer.lr"]: float(row["test/rmse"]) for row in summary(tmp_path)}
    assert errors["0.01"] < errors["0.0001"]
    assert "best      optimizer.lr=0.01: val/rmse" in command.out
    assert "(lower is better)" in command.out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("eval.r3=true", "eval.r3=true: unknown key 'r3' in eval"),
        ("eval=detection", "a model for tabular is measured by eval=tabular"),
        ("data=shapes", "model=perceptron needs data for tabular, data=shapes gives detection, segmentation"),
        ("model.net.num_features=3", "model.net.num_features: the data says how many features there are"),
        ("model.net.width=0", "model.net.width=0: should be"),
        ("data.target=z", "table.csv: there is no column 'z'"),
        ("data.file=none.csv", "none.csv"),
    ],
)
def test_a_mistake_is_one_line(runs: Runs, folder: Path, words: str, line: str) -> None:
    command = run(runs, folder, *WORDS, words)
    assert command.code == 2, command.out
    assert line in command.err
    assert len(command.err.splitlines()) == 1
