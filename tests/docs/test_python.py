"""The blocks of docs/python.md are one program, which runs; a small script of a user passes mypy --strict."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import pytest

from tests.documents import ROOT

BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_the_walk_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = ROOT / "docs" / "python.md"
    text = file.read_text()
    names: dict[str, object] = {"__name__": "walk"}
    for match in BLOCK.finditer(text):
        lines = "\n" * (text.count("\n", 0, match.start()) + 1)  # so that a traceback names the line of the text
        exec(compile(lines + match[1], str(file), "exec"), names)
    out = capsys.readouterr().out
    assert "no such model; did you mean 'detr'" in out
    assert "was made from Python with a DataModule of the caller's own, walk.SmallShapes" in out
    assert re.search(r"detr_tiny-SmallShapes-\w{8}", out)


# What --strict is made of, for these files alone: with pyproject.toml's options for all others mypy finds what CI's own
# run has left in its cache, and need not read torch anew.
STRICT = """# mypy: disallow-any-generics, disallow-subclassing-any, disallow-untyped-calls, disallow-untyped-defs
# mypy: disallow-incomplete-defs, check-untyped-defs, disallow-untyped-decorators, warn-return-any, strict-equality
# mypy: no-implicit-reexport, warn-unused-ignores, extra-checks
from pathlib import Path

import lab

"""
RIGHT = """
class Report:
    def __init__(self, folder: Path) -> None:
        self.runs: lab.Runs = lab.runs(folder)

    def best(self) -> float:
        return max(run.result["test/map"] for run in self.runs)


config: lab.Config = lab.compose("model=detr_tiny", trainer={"max_steps": 4})
run: lab.Run = lab.fit(config, "seed=1", data={"batch_size": 4})
rate: float = config.optimizer.lr
words: tuple[str, ...] = run.words
loss = run.metrics["train/loss"].mean()
tested: dict[str, float] = lab.test(run, config_dir="mine").result
validated: lab.Evaluation = lab.validate(run.best)
folder: Path = lab.predict(run, "photos", "callbacks.progress=false")
found = lab.load(run, device="cpu").predict("photos/a.png")
last: Path = run.checkpoints["last"]
try:
    lab.check(config)
except lab.LabError as error:
    print(error, config.to_yaml(), Report(Path("runs")).best())
"""
WRONG = """
lab.fit(3)
lab.load("x", devise="cpu")
seed: int = lab.read_run("x").state
lab.runs().frames()
"""


def test_a_user_s_script_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = pytest.importorskip("mypy.api", reason="mypy is one of the extras dev")
    for name, text in (("right", RIGHT), ("wrong", WRONG)):
        (tmp_path / f"{name}.py").write_text(STRICT + text)
    monkeypatch.chdir(ROOT)
    files = [str(tmp_path / "right.py"), str(tmp_path / "wrong.py")]
    usual = gc.get_threshold()
    out, err, _ = api.run(["--hide-error-context", "--no-error-summary", *files])
    gc.set_threshold(*usual)  # mypy raises it for good
    assert err == ""
    first = STRICT.count("\n") + 2
    places = [line.split(": error:")[0].rpartition("/")[2] for line in out.splitlines() if ": error:" in line]
    assert places == [f"wrong.py:{first + number}" for number in range(4)], out
