from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import lab
from lab.errors import ConfigError
from lab.models.detr.anchor import spread_anchors
from lab.models.detr.network import DETR
from lab.models.detr.proposals import ABSENT, ProposalHead, place_logits
from lab.structures import DetectionTargets, Detector
from lab.training.terms import batch_terms

SMALL: dict[str, Any] = {
    "num_classes": 3,
    "num_queries": 6,
    "embed_dim": 16,
    "num_heads": 2,
    "num_encoder_layers": 1,
    "num_decoder_layers": 2,
    "feedforward_dim": 24,
    "dropout": 0.0,
    "backbone": "conv_stem",
    "stem_widths": (8, 16),
}
KINDS: dict[str, dict[str, Any]] = {
    "learned": {},
    "anchor": {"queries": "anchor"},
    "groups": {"queries": "anchor", "classification": "sigmoid_focal", "num_groups": 2},
    "proposed": {"queries": "anchor", "classification": "sigmoid_focal", "anchors": "proposed"},
}


def small(kind: str, **changes: Any) -> DETR:
    model = DETR(**{**SMALL, **KINDS[kind], **changes})
    random = np.random.RandomState(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.from_numpy(random.standard_normal(tuple(parameter.shape))).float() * 0.1)
    return model


def images() -> torch.Tensor:
    return torch.sin(torch.arange(2 * 3 * 32 * 48.0) * 0.37).reshape(2, 3, 32, 48)


def targets() -> DetectionTargets:
    boxes = torch.tensor([[2.0, 2, 20, 20], [8, 4, 30, 28], [1, 1, 9, 9]])
    return DetectionTargets(boxes, torch.tensor([0, 2, 1]), (2, 1), torch.tensor([[32.0, 48], [32, 32]]))


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind: str) -> None:
    """DDP waits for the gradient of each; none may be left out of the loss."""
    model = small(kind)
    assert isinstance(model, Detector)
    terms = batch_terms(model, model(images()), targets())
    sum(terms.values()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


class Syncs(TorchDispatchMode):
    """Collects the operators that would make the host wait for a device."""

    waiting = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(name in str(func) for name in self.waiting):
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_reads_nothing_but_the_costs(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, copies = small(kind), []
    to_host = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: copies.append(tensor.shape) or to_host(tensor))
    with Syncs() as syncs:
        sum(batch_terms(model, model(images()), targets()).values()).backward()
    assert syncs.seen == []
    assert len(copies) == 1
    with Syncs() as syncs:
        torch.ones(()).item()
    assert len(syncs.seen) == 1  # the test sees what it looks for


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind: str) -> None:
    """What stands in the padding is not seen; the stem, which sees past its border, is replaced by a mean."""
    model = small(kind).eval()
    mask = torch.zeros(2, 32, 48, dtype=torch.bool)
    mask[:, :, 32:] = True
    model.backbone[0] = nn.AvgPool2d(8)  # has no border
    model.input_proj = nn.Conv2d(3, 16, 1)
    with torch.no_grad():
        padded, cut = model(images(), mask), model(images()[..., :32].contiguous())
    torch.testing.assert_close(padded.logits, cut.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(padded.boxes, cut.boxes, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_predictions(kind: str) -> None:
    model = small(kind).eval()
    outputs = model(images())
    classes = 3 if "classification" in KINDS[kind] else 4
    assert outputs.logits.shape == (2, 6, classes)
    assert outputs.boxes.shape == (2, 6, 4)
    assert [len(aux.all_logits) for aux in outputs.aux_outputs] == [1]
    found = model.predict(outputs, torch.tensor([[100, 200], [50, 60]]))
    assert found.boxes.shape == (*found.scores.shape, 4)
    if classes == 4:
        scores, labels = outputs.logits.softmax(-1)[..., :3].max(-1)
        torch.testing.assert_close(found.scores, scores)
        assert torch.equal(found.labels, labels)
        x, y, w, h = outputs.boxes[0, 0].tolist()
        expected = [200 * (x - w / 2), 100 * (y - h / 2), 200 * (x + w / 2), 100 * (y + h / 2)]
        assert found.boxes[0, 0].tolist() == pytest.approx(expected, rel=1e-5)
    else:
        assert found.scores.shape == (2, 18)
        assert (found.scores.diff(dim=1) <= 0).all()
        best = outputs.logits[1].sigmoid().max()
        query, label = (outputs.logits[1].sigmoid() == best).nonzero()[0].tolist()
        torch.testing.assert_close(found.scores[1, 0], best)  # a vectorised sigmoid may round its last values otherwise
        assert int(found.labels[1, 0]) == label
        corners = outputs.boxes[1, query, :2] - outputs.boxes[1, query, 2:] / 2
        torch.testing.assert_close(found.boxes[1, 0, :2], corners * torch.tensor([60, 50]))


def test_the_first_layer_in_training_equals_its_short_form() -> None:
    """With zeros for content, self-attention gives a constant; evaluation uses that."""
    model = small("learned")
    with torch.no_grad():
        torch.testing.assert_close(model.train()(images()).all_logits, model.eval()(images()).all_logits)


def test_inference_before_training() -> None:
    """The cached encoding of places, made under inference_mode, serves training too."""
    model = small("learned")
    with torch.inference_mode():
        model(images())
    sum(batch_terms(model, model(images()), targets()).values()).backward()


def test_a_place_has_its_centre_in_its_own_image() -> None:
    inside = torch.ones(2, 4, 4, dtype=torch.bool)
    inside[1, 2:] = False
    boxes = place_logits(inside, 0.3).sigmoid().reshape(2, 4, 4, 4)
    assert boxes[0, 1, 3].tolist() == pytest.approx([0.875, 0.375, 0.3, 0.3])
    assert boxes[1, 1, 3].tolist() == pytest.approx([0.875, 0.75, 0.3, 0.3])
    assert torch.isfinite(place_logits(inside, 0.3)).all()


def test_padded_places_are_never_proposed_before_others() -> None:
    head, memory = ProposalHead(8, 3), torch.sin(torch.arange(96.0)).reshape(1, 12, 8)
    mask = torch.zeros(1, 3, 4, dtype=torch.bool)
    mask[:, 1:] = True
    logits, boxes = head(memory, 3, 4, mask)
    assert (logits[0, 4:] == ABSENT).all()
    content, anchors = head.select(memory, logits, boxes, 4)
    assert sorted(anchors[0, :, 0].sigmoid().tolist()) == pytest.approx([0.125, 0.375, 0.625, 0.875])
    assert not anchors.requires_grad
    assert content.requires_grad


def test_anchors_begin_spread_evenly() -> None:
    centers = spread_anchors(16).sigmoid()[:, :2]
    cells = {(int(x * 2), int(y * 2)) for x, y in centers.tolist()}
    assert len(cells) == 4
    torch.testing.assert_close(spread_anchors(8), spread_anchors(16)[:8])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"queries": "ancor"}, "did you mean 'anchor'"),
        ({"activation": "relo"}, "did you mean 'relu'"),
        ({"embed_dim": 18}, "multiple of 4"),
        ({"num_heads": 3}, "multiple of num_heads"),
        ({"num_groups": 2}, "needs queries=anchor"),
        ({"anchors": "proposed"}, "needs queries=anchor"),
    ],
)
def test_wrong_choices_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DETR(**{**SMALL, **changes})


def test_variants() -> None:
    assert set(lab.list_models("detr_*")) >= {
        "detr_resnet50",
        "detr_resnet50_dc5",
        "detr_resnet101",
        "detr_resnet101_dc5",
        "detr_tiny",
    }
    tiny = lab.create_model("detr_tiny", num_classes=4)
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in tiny.modules())
    assert all(module.p == 0 for module in tiny.modules() if isinstance(module, nn.Dropout))
    with pytest.raises(ConfigError, match="did you mean 'num_queries'"):
        lab.create_model("detr_tiny", num_querys=3)
