"""A text classifier is measured alike on one rank and on two, texts in several windows too, and so are its files."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.data.datamodule import LoadPlan
from lab.strategies.build import make_strategy
from lab.tasks.text_classification.data.texts import TextsModule
from lab.tasks.text_classification.predict import TextClassificationPredictor
from tests.dist.plain import make_trainer
from tests.distributed import run_distributed
from tests.unit.tasks.text_classification.makers import TOKENIZER, make_spec, make_task

TEXTS = ["abc", "hgfedcba hgfedcba", "a", "bb cd", "ffffff gggggg", "h", "abcdefgh"]
LABELS = "0102201"


def make(folder: Path, rank: int, ranks: int) -> TextsModule:
    data = TextsModule(
        root=str(folder),
        files="texts.tsv",
        val_files="texts.tsv",
        tokenizer=str(folder / "tokenizer.json"),
        max_length=8,
        window_stride=3,
        batch_size=4,
    )
    data.plan = LoadPlan(rank=rank, world_size=ranks)
    return data


def measured(rank: int, ranks: int, folder: str) -> dict[str, float]:
    """Validate, and predict the texts themselves; return the metrics."""
    root, spec = Path(folder), make_spec(window_stride=3, class_names=("0", "1", "2"))
    data, task = make(root, rank, ranks), make_task(spec)

    def trainer(callbacks: Any, progress: bool = True) -> Any:
        strategy = make_strategy({"name": "ddp"}) if ranks > 1 else None
        return make_trainer(strategy, rank, ranks, callbacks=callbacks, inference_mode=False)

    trainer([]).validate(task, dataloaders=data.val_dataloader(), verbose=False)
    results = dict(task.results)
    predictor: Any = TextClassificationPredictor(str(root / "inputs.txt"), task, data)
    with redirect_stdout(io.StringIO()):
        predictor.run(trainer, root / f"out-{ranks}", rank)
    return results


def on_two(rank: int, folder: str) -> dict[str, float]:
    """Do it on two ranks."""
    torch.set_num_threads(1)
    return measured(rank, 2, folder)


def test_two_ranks_measure_and_predict_what_one_does(tmp_path: Path) -> None:
    """Seven texts of 1 to 5 windows, two a rank at a time: in the last round the second rank has none."""
    rows = "".join(f"{text}\t{label}\n" for text, label in zip(TEXTS, LABELS, strict=True))
    (tmp_path / "texts.tsv").write_text(f"text\tlabel\n{rows}")
    (tmp_path / "inputs.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    (tmp_path / "tokenizer.json").write_text(TOKENIZER.to_text())
    alone = measured(0, 1, str(tmp_path))
    assert alone["val/macro_f1_classes_measured"] == 3
    for found in run_distributed(on_two, args=(str(tmp_path),)):
        assert found == pytest.approx(alone, abs=1e-6)  # counts are equal
    for name in ("predictions.csv", "predictions.parquet"):
        assert (tmp_path / "out-2" / name).read_bytes() == (tmp_path / "out-1" / name).read_bytes()
    lines = (tmp_path / "out-1" / "predictions.csv").read_text().splitlines()
    assert lines[0] == "text,class_1,score_1,class_2,score_2,class_3,score_3"
    assert [line.partition(",")[0] for line in lines[1:]] == TEXTS
