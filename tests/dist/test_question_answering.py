"""Questions are measured once, and alike on one rank and on two, though their windows lie on both."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from lab.data.sampler import EvalBatches
from lab.tasks.question_answering.data.windows import collate_windows
from tests.distributed import run_distributed
from tests.unit.tasks.question_answering.makers import make_task
from tests.unit.tasks.question_answering.squad_files import golden_tokenizer, golden_windows

GOLDEN = json.loads((Path(__file__).parents[1] / "unit/tasks/question_answering/run_squad.json").read_text())


def evaluated(rank: int, world_size: int, repeated: bool) -> tuple[dict[str, float], dict[str, str], set[int]]:
    """Return metrics and files of the golden questions, and the numbers of this rank's windows.

    Args:
        rank: of this process.
        world_size: of the job.
        repeated: every rank has all windows, as the ranks of tensor parallelism have.
    """
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = golden_tokenizer(GOLDEN, Path(folder))
        windows = golden_windows(GOLDEN, tokenizer, Path(folder), training=False)
    task, own = make_task(tokenizer, unanswerable=True), set()
    shares = (0, 1) if repeated else (rank, world_size)
    for keys in EvalBatches(len(windows), 4, *shares, None, None):
        batch = collate_windows([windows[epoch, index] for epoch, index, _ in keys], 0)
        for row, (_, index, valid) in enumerate(keys):
            batch.valid[row] = valid
            own.add(index)
        task.evaluate("test", task(batch), batch)
    values: dict[str, Any] = task.compute_metrics("test")
    return values, task.files, own


def on_two(rank: int, repeated: bool) -> tuple[dict[str, float], dict[str, str], set[int]]:
    return evaluated(rank, 2, repeated)


def test_metrics_on_two_ranks() -> None:
    alone, files, every = evaluated(0, 1, repeated=False)
    assert 0 < alone["f1"] < 100
    for repeated in (False, True):
        (first, written, own), (second, nothing, others) = run_distributed(on_two, 2, (repeated,))
        assert first == second == alone  # to the bit
        assert written == files
        assert nothing == {}
        assert own | others == every
        split = [number for number in range(1, len(every)) if (number in own) != (number - 1 in own)]
        assert bool(split) != repeated  # windows of one question are on both ranks
