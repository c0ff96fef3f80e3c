"""The loss curves of tests/golden are those of this checkout."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("golden_losses", FOLDER.parent.parent / "scripts" / "golden_losses.py")
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_curve_is_the_recorded_one(path):
    expected = golden.read(path)
    assert len(expected) == golden.STEPS
    # Measured: 9e-15 at most. A change of every parameter by 2e-7 of itself moves a loss by 7e-7 at most.
    assert golden.losses(path.stem) == pytest.approx(expected, rel=1e-6)


def test_a_changed_computation_is_seen(monkeypatch):
    """A loss weight that is off by two per cent fails the comparison."""
    from lab.models.detr.criterion import DETRCriterion

    original = DETRCriterion.__init__

    def mutant(self, num_queries, num_classes, classification, options):
        changed = replace(options, giou_loss_weight=options.giou_loss_weight * 1.02)
        original(self, num_queries, num_classes, classification, changed)

    monkeypatch.setattr(DETRCriterion, "__init__", mutant)
    expected = golden.read(FOLDER / "detr_tiny.txt")
    assert golden.losses("detr_tiny") != pytest.approx(expected, rel=1e-4)
