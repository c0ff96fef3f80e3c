"""The cross-entropy of samples of one class each, against torch and numbers by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lab.errors import ConfigError
from lab.training.class_loss import CrossEntropy, balanced_weights, class_weights_of

LOGITS = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
LABELS = torch.tensor([0, 2])


def test_smoothing_and_weights_are_of_training_alone() -> None:
    criterion = CrossEntropy(0.1, [1.0, 2.0, 3.0])
    expected = F.cross_entropy(LOGITS, LABELS, torch.tensor([1.0, 2.0, 3.0]), label_smoothing=0.1, reduction="sum")
    torch.testing.assert_close(criterion.entropy(LOGITS, LABELS), expected)
    plain = F.cross_entropy(LOGITS, LABELS, reduction="sum")
    torch.testing.assert_close(criterion.eval().entropy(LOGITS, LABELS), plain)
    assert criterion.entropy(LOGITS.bfloat16(), LABELS).dtype == torch.float32
    assert not criterion.state_dict()


def test_class_weights() -> None:
    assert balanced_weights((6, 2, 0)) == pytest.approx([8 / 12, 8 / 4, 0.0])
    assert balanced_weights(()) is None
    assert class_weights_of("balanced", (6, 2), 2) == pytest.approx([8 / 12, 8 / 4])
    assert class_weights_of([1, 2], (), 2) == [1.0, 2.0]
    assert class_weights_of(None, (6, 2), 2) is None
    with pytest.raises(ConfigError, match=r"^model\.learning\.class_weights has 1 numbers for 2 classes"):
        class_weights_of([1.0], (), 2)
