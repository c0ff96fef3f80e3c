"""What a checkpoint says of its data: of each kind in its own form, and in the one form that all kinds had once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from lab.structures import DataSpec, DetectionSpec, RecommendationSpec, SegmentationSpec
from lab.training.stored import _with_learning, read_spec

SPECS = [
    DetectionSpec(class_names=("a", "b"), input_shape=(3, 64, 64)),
    SegmentationSpec(class_names=("a", "b"), input_shape=(3, 0, 0), thing_labels=(1,)),
    RecommendationSpec(item_names=("x", "y"), item_counts=(3, 1), num_sequences=2, num_events=4),
]
FLAT: dict[str, Any] = {
    "class_names": [],
    "input_shape": [],
    "thing_labels": [],
    "item_names": [],
    "item_counts": [],
    "num_sequences": 0,
    "num_events": 0,
}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.task)
def test_both_forms_are_read(spec: DataSpec) -> None:
    plain = spec.to_plain()
    assert read_spec(plain, type(spec)) == spec
    assert read_spec({**FLAT, **plain}, type(spec)) == spec


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.task)
def test_what_another_kind_has_is_refused(spec: DataSpec) -> None:
    other = {"thing_labels": [1]} if spec.task != "segmentation" else {"num_events": 1}
    with pytest.raises(ValueError, match="spec has no "):
        read_spec({**FLAT, **spec.to_plain(), **other}, type(spec))


def test_counts_and_names_of_items_agree() -> None:
    with pytest.raises(ValueError, match="spec has counts of 1 items and names of 2"):
        read_spec({"task": "recommendation", "item_names": ["x", "y"], "item_counts": [1]}, RecommendationSpec)


def test_a_kind_of_ones_own_may_hold_numbers() -> None:
    @dataclass(frozen=True)
    class Own(DataSpec):
        scale: float = 1.0
        means: tuple[float, ...] = ()
        level: int | None = None

    own = Own("own", scale=2, means=(0.5, -1.0))
    assert read_spec(own.to_plain(), Own) == own
    assert read_spec({**own.to_plain(), "level": 3}, Own).level == 3
    with pytest.raises(ValueError, match=r"spec\.level holds 0\.5, which is no int"):
        read_spec({"task": "own", "level": 0.5}, Own)
    with pytest.raises(ValueError, match=r"spec\.scale holds 'x', which is no float"):
        read_spec({"task": "own", "scale": "x"}, Own)


def test_a_classifiers_loss_stood_in_eval_once() -> None:
    before = {"eval": {"name": "classification", "loss": "binary_cross_entropy", "top_k": 5}, "max_steps": 1}
    after = {"eval": {"name": "classification", "top_k": 5}, "max_steps": 1}
    found = _with_learning("classification", before)
    assert found == {**after, "learning": {"loss": "binary_cross_entropy"}}
    assert _with_learning("classification", found) is found
    assert _with_learning("detection", {"eval": {"loss": 1}}) == {"eval": {"loss": 1}, "learning": {}}
