"""The progress bar: of a notebook one output that is replaced, of a file lines."""

from __future__ import annotations

import builtins
import sys
import types
from typing import Any

import pytest

from lab.callbacks import notebook
from lab.callbacks.progress import ProgressBar
from lab.callbacks.steps import StepLog


class ZMQInteractiveShell:
    """What a notebook's kernel calls its shell."""


class Handle:
    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, data: dict[str, str], raw: bool) -> None:
        assert raw
        self.shown.append(data["text/plain"])


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[Handle]:
    handles: list[Handle] = []

    def display(data: Any, raw: bool = False, display_id: bool = False) -> Handle:
        assert display_id
        handles.append(Handle())
        return handles[-1]

    module = types.ModuleType("IPython.display")
    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    monkeypatch.setattr(notebook, "_SECONDS", 0.0)
    return handles


def make_bar() -> tuple[ProgressBar, Any]:
    steps = StepLog(1, 8, 10)
    steps.latest["train/loss"] = 1.25
    trainer = types.SimpleNamespace(global_step=0)
    return ProgressBar(steps, 4, seconds=0.0), trainer


def test_a_notebook_sees_one_output_that_moves(displayed: list[Handle], capsys: pytest.CaptureFixture[str]) -> None:
    bar, trainer = make_bar()
    bar.on_train_start(trainer, None)  # type: ignore[arg-type]
    for step in range(1, 5):
        trainer.global_step = step
        bar.on_train_batch_end(trainer, None)  # type: ignore[arg-type]
    bar.on_train_end(trainer, None)  # type: ignore[arg-type]
    (handle,) = displayed
    assert "1/4" in handle.shown[1]
    assert "4/4" in handle.shown[-1]
    assert "loss  1.250" in handle.shown[-1]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("begin", "left"), [(0, "about 10 s left"), (1, "about 15 s left"), (3, "about - left")])
def test_without_a_terminal_there_are_lines(
    begin: int, left: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time left is that of the steps since this process began, 30 seconds for all of them."""
    bar, trainer = make_bar()
    clock = [100.0]
    monkeypatch.setattr("lab.callbacks.progress.time.monotonic", lambda: clock[0])
    trainer.global_step = begin
    bar.on_train_start(trainer, None)  # type: ignore[arg-type]
    trainer.global_step, clock[0] = 3, 130.0
    bar.on_train_batch_end(trainer, None)  # type: ignore[arg-type]
    line = capsys.readouterr().out.strip()
    assert line.startswith("step 3/4  loss")
    assert line.endswith(left)
