"""What a config of detectors in 3-D may say: bands, ranges of classes, masks and colours."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lab.errors import ConfigError
from lab.tasks.detection3d.settings import Detection3dAsks, Detection3dEval, Detection3dLearning
from tests.unit.tasks.detection3d.makers import EVAL, make_task


def test_published_numbers_are_the_defaults() -> None:
    assert Detection3dLearning().model_dump() == {"grid_mask": None, "photometric": None}
    learning = make_task(learning={"grid_mask": {}, "photometric": {}}).learning
    assert learning["grid_mask"] == {"probability": 0.7, "ratio": 0.5}
    assert learning["photometric"] == {
        "brightness": 32.0,
        "contrast": [0.5, 1.5],
        "saturation": [0.5, 1.5],
        "hue": 18.0,
        "swap_channels": True,
    }


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("bands", [20], "two or more edges, in ascending order"),
        ("bands", [0, 20, 20], "two or more edges, in ascending order"),
        ("bands", [-1, 20], "greater than or equal to 0"),
        ("class_ranges", {"car": 0}, "greater than 0"),
        ("monitor", "map_05", "'map', 'nds' or 'loss'"),
        ("pictures", -1, "greater than or equal to 0"),
    ],
)
def test_what_an_evaluation_cannot_have(key: str, value: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Detection3dEval.model_validate(EVAL | {key: value})


def test_no_table_of_bands_and_an_unset_range_are_allowed() -> None:
    assert Detection3dEval.model_validate(EVAL | {"bands": []}).bands == []
    assert Detection3dAsks().point_range is None
    with pytest.raises(ValidationError, match="at least 6 items"):
        Detection3dAsks.model_validate({"point_range": [1, 2, 3]})


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("grid_mask", "ratio", 1.0),
        ("grid_mask", "probability", 1.1),
        ("photometric", "hue", 181.0),
        ("photometric", "brightness", -1),
    ],
)
def test_augmentation_has_ranges(group: str, key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"model\.learning\.{group}\.{key}={value}"):
        make_task(learning={group: {key: value}})
