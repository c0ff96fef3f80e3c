"""What a refused command prints, in processes of its own: one line on stderr, exit code 2, no torch, nothing made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

COMMANDS = (
    "model=detr data=coc",
    "optimizer.lrr=1",
    "trainer.devices=two",
    "ckpt=nowhere.ckpt",
    "data=coco",
    "optimizer.lr=[a",
    "+model.net.num_querys=5",
    "stage=test",
    "stage=predict",
    "resume=elsewhere",
    "--cgf",
    "--config-dir",
    "--config-dir nowhere",
    "word",
    "-m optimizer.lr=1e-3,x",
    "-m optimizer.lr=[a,b",
    "-m model=detr_tiny,detrr seed=0",
)
MAIN = """
import contextlib, io, json, sys
from lab.cli.main import main

results = []
for command in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(command.split(" "))
    results.append((command, code, out.getvalue(), err.getvalue()))
print(json.dumps({"results": results, "torch": "torch" in sys.modules}))
"""


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment.pop("LAB_DATA_DIR", None)
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def test_refusals_are_one_line_without_torch(tmp_path: Path) -> None:
    done = python("-c", MAIN, json.dumps(COMMANDS), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [result[0] for result in report["results"]] == list(COMMANDS)
    for command, code, out, err in report["results"]:
        assert code == 2, command
        assert out == "", command
        assert err.startswith("error: "), command
        assert err.count("\n") == 1, command
        assert err.endswith("\n"), command
    assert report["torch"] is False
    assert list(tmp_path.iterdir()) == []
    lines = {result[0]: result[3] for result in report["results"]}
    assert "'coco'" in lines["model=detr data=coc"]
    assert "this config has not been trained yet" in lines["stage=test"]
    assert "job 2 of 2 (optimizer.lr=x)" in lines["-m optimizer.lr=1e-3,x"]
    assert "no job was started" in lines["-m optimizer.lr=1e-3,x"]
    assert "'--cfg'" in lines["--cgf"]


@pytest.mark.parametrize("entry", [(str(ROOT / "run.py"),), ("-m", "lab")], ids=["run.py", "lab"])
def test_the_exit_code_reaches_the_shell(entry: tuple[str, ...], tmp_path: Path) -> None:
    done = python(*entry, "model=detr", "data=coc", folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: data=coc: no such data; did you mean 'coco' or 'voc'?\n"


def test_help_and_cfg(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAB_DATA_DIR", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "my_own_net.yaml").touch()
    assert main(["--help", "--config-dir=mine"]) == 0
    text = capsys.readouterr().out
    for part in ("model=", "my_own_net", "detr_tiny", "data=", "coco", "--config-dir", "resume=auto|never|DIR"):
        assert part in text
    assert main(["--cfg", "model=detr", "data=coco", "optimizer.lr=0.125"]) == 0  # without the dataset
    text = capsys.readouterr().out
    for part in ("lr: 0.125", "_target_: detr_resnet50", "num_queries: 100", "root: data/coco"):
        assert part in text
    assert main(["--cfg", "optimizer.lrr=1"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
