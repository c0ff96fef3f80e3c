"""``stage=predict`` of a causal model: a file of prompts in, a line of JSON for each continuation out."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from lab.errors import DataError
from lab.tasks.language_modeling.predict import LanguagePredictor
from lab.tasks.language_modeling.task import LanguageModelingTask
from tests.unit.tasks.language_modeling.generators import SETTINGS, make_data, make_generator, make_trainer

PROMPTS = ["abc", "h", "dead beef.", "a", "cab", "fade", "bed"]


@pytest.fixture(scope="module")
def task() -> LanguageModelingTask:
    return make_generator()


def predict(task: LanguageModelingTask, folder: Path, source: str, **settings: Any) -> list[dict[str, Any]]:
    groups = {"generation": SETTINGS | settings}
    LanguagePredictor(source, task, make_data(), groups).run(make_trainer, folder / "out", 0)
    assert [path.name for path in (folder / "out").iterdir()] == ["predictions.jsonl"]
    lines = (folder / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_results_are_in_the_order_of_the_prompts(
    task: LanguageModelingTask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("lab.tasks.language_modeling.predict.WINDOW", 2)
    (tmp_path / "prompts.txt").write_text("\n".join([*PROMPTS[:3], "", *PROMPTS[3:]]) + "\n")
    rows = predict(task, tmp_path, str(tmp_path / "prompts.txt"), num_samples=2)
    assert [row["prompt"] for row in rows] == [prompt for prompt in PROMPTS for _ in range(2)]
    assert [row["sample"] for row in rows] == [0, 1] * len(PROMPTS)
    assert [row["prompt"] + row["continuation"] for row in rows] == task.generate(PROMPTS, 12, num_samples=2)
    assert set(rows[0]) == {"prompt", "continuation", "tokens", "logprob", "stopped", "sample"}
    assert [entry.message for entry in caplog.records if entry.name.startswith("lab.")] == [
        f"{tmp_path}/prompts.txt: 1 empty line is left out"
    ]
    out = capsys.readouterr().out
    assert f"14 continuations\nwritten   {tmp_path}/out/predictions.jsonl" in out
    assert out.count("\n") == 14 + 2  # each on a line of its own


def test_a_column_of_a_jsonl_file(task: LanguageModelingTask, tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"text": "abc"}\n{"text": "h\\nh"}\n')
    rows = predict(task, tmp_path, str(tmp_path / "prompts.jsonl"), sample=False)
    assert [row["prompt"] for row in rows] == ["abc", "h\nh"]
    assert [len(row["tokens"]) for row in rows] == [12, 12]


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "shown"), [(None, True), (False, False)])
def test_a_terminal_sees_texts_grow(
    task: LanguageModelingTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool | None, shown: bool
) -> None:
    (tmp_path / "prompts.txt").write_text("abc\nh\n")
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    rows = predict(task, tmp_path, str(tmp_path / "prompts.txt"), stream=stream)
    whole = "".join(f"{row['prompt']}{row['continuation']}\n" for row in rows)
    assert terminal.getvalue().startswith(whole) == shown
    assert "2 continuations\n" in terminal.getvalue()


def test_a_prompt_that_the_model_cannot_read_is_named(task: LanguageModelingTask, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("abc\nxyz\n")
    with pytest.raises(DataError, match=r"^input=.*prompts\.txt: prompt 2 \('xyz'\): "):
        predict(task, tmp_path, str(tmp_path / "prompts.txt"))
    (tmp_path / "prompts.txt").write_bytes(b"ab\xff\n")
    with pytest.raises(DataError, match=r"prompts\.txt"):
        predict(task, tmp_path, str(tmp_path / "prompts.txt"))
    (tmp_path / "prompts.txt").write_bytes(b"\n\n")
    with pytest.raises(DataError, match=r"prompts\.txt: holds no text$"):
        predict(task, tmp_path, str(tmp_path / "prompts.txt"))
    assert not (tmp_path / "out").exists()
