"""What a config of sound may say: pairs for mixup, the masks of SpecAugment."""

from __future__ import annotations

from typing import Any

import pytest

from lab.errors import ConfigError
from lab.tasks.audio.settings import MOST_MASKS, AudioLearning, conflict
from tests.unit.tasks.audio.makers import make_task


def config(batch_size: int, mixup: float, devices: int = 1, stage: str = "fit") -> dict[str, Any]:
    return {
        "stage": stage,
        "eval": {"embeddings": "none", "pca": None},
        "model": {"learning": {"mixup": mixup}},
        "data": {"batch_size": batch_size},
        "strategy": {"name": "ddp"},
        "trainer": {"devices": devices, "num_nodes": 1, "accumulate_grad_batches": 1},
    }


def test_mixup_needs_pairs_on_every_rank() -> None:
    for fits in (
        config(8, 0.5, devices=2),
        config(7, 0.0),
        config(7, 0.5, stage="test"),
        {**config(7, 0), "model": {}},
    ):
        assert conflict(fits) is None
    found = conflict(config(6, 0.5, devices=2))
    assert found is not None
    assert found[0] == "data.batch_size"
    assert "each rank gets 3 of them at a time" in found[1]


def test_learning_has_defaults() -> None:
    plain = AudioLearning().model_dump()
    assert plain == {"label_smoothing": 0.0, "class_weights": None, "loss": None, "mixup": 0.0, "spec_augment": None}
    masks = make_task(learning={"spec_augment": {}}).learning["spec_augment"]
    assert (masks["frequency_masks"], masks["time_masks"], masks["time_share"]) == (2, 2, 1.0)


@pytest.mark.parametrize(("key", "value"), [("time_masks", MOST_MASKS + 1), ("time_width", -1), ("time_share", 0.0)])
def test_masks_have_ranges(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"model\.learning\.spec_augment\.{key}={value}"):
        make_task(learning={"spec_augment": {key: value}})
