"""The picture of the first training batch: drawn once, by the rank that writes, before the first step."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lab.callbacks.first_batch import FirstBatch


@pytest.mark.parametrize(
    ("step", "batch", "count", "drawn", "there"),
    [
        (0, 0, 4, True, True),
        (3, 0, 4, True, False),
        (0, 1, 4, True, False),
        (0, 0, 0, True, False),
        (0, 0, 4, False, False),
    ],
)
def test_it_is_drawn_once(tmp_path: Path, step: int, batch: int, count: int, drawn: bool, there: bool) -> None:
    picture = Image.new("RGB", (4, 4)) if drawn else None
    callback, trainer = FirstBatch(SimpleNamespace(path=tmp_path), count), SimpleNamespace(global_step=step)
    task: Any = SimpleNamespace(draw_inputs=lambda batch, most: picture)
    callback.on_train_batch_start(trainer, task, None, batch)
    assert (tmp_path / "pictures" / "train-inputs.png").is_file() == there
