"""YOLO-FastestV2 as an architecture of the house: padding, clipping, nothing found, autocast, torch.compile."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lab.models.yolo_fastest.criterion import LOSS_OPTIONS, YoloTargeting
from lab.models.yolo_fastest.network import COCO_ANCHORS, YoloFastestV2, YoloOutputs
from lab.structures import DetectionTargets
from lab.training.terms import batch_terms, divided

K = 3
SIZE = (70, 100)
"""Of an image: 5 x 7 of its own cells of stride 16, 3 x 4 of stride 32."""


@pytest.fixture(scope="module")
def net() -> YoloFastestV2:
    torch.manual_seed(0)
    return YoloFastestV2(num_classes=K, min_score=0.05).eval()


def maps(height: int, width: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(channels, height // stride, width // stride) for stride in (16, 32) for channels in (12, 3, K)]
    return [torch.randn(1, *shape, generator=generator) for shape in shapes]


def in_larger(parts: list[Tensor], height: int, width: int) -> list[Tensor]:
    """Return the same maps in the corner of larger ones, whose other cells are certain that they found something."""
    larger = [torch.full_like(part, 9.0) for part in maps(height, width)]
    for large, part in zip(larger, parts, strict=True):
        large[..., : part.shape[-2], : part.shape[-1]] = part
    return larger


def sizes(count: int = 1) -> Tensor:
    return torch.tensor([SIZE] * count, dtype=torch.float32).view(-1, 2)


def targets() -> DetectionTargets:
    """Boxes at the right and lower edge, whose neighbours would lie in the padding."""
    boxes = torch.tensor([[60.0, 10, 100, 60], [70, 50, 100, 70], [20, 54, 40, 70]])
    return DetectionTargets(boxes, torch.tensor([0, 1, 2]), (3,), sizes())


def test_cells_of_the_padding_neither_find_nor_learn(net: YoloFastestV2) -> None:
    """What an image's own cells say is what it gets, in whatever batch it is."""
    alone = maps(96, 128)
    outputs = [YoloOutputs(tuple(parts), sizes()) for parts in (alone, in_larger(alone, 160, 256))]
    found, padded = (net.predict(one, torch.tensor([SIZE])) for one in outputs)
    assert found.scores.shape[1] > 5
    assert torch.equal(found.labels, padded.labels)
    assert torch.allclose(found.boxes, padded.boxes, atol=1e-4)  # vectors are cut elsewhere
    assert torch.allclose(found.scores, padded.scores)
    loss = YoloTargeting((16, 32), COCO_ANCHORS, "softmax", LOSS_OPTIONS)
    values, in_padded = (divided(loss(one.maps, targets()), loss.totals(targets())) for one in outputs)
    for name, value in values.items():
        assert value > 0.1
        assert torch.allclose(value, in_padded[name], rtol=1e-6)


def test_an_image_alone_and_in_a_padded_batch() -> None:
    """Convolutions see black in place of nothing beyond the edge, so features differ there; the cells are the same."""
    torch.manual_seed(0)
    net = YoloFastestV2(num_classes=K, min_score=0.0).eval()
    image = torch.rand(1, 3, *SIZE)
    batch = torch.zeros(2, 3, 160, 224)
    batch[0, :, : SIZE[0], : SIZE[1]] = image
    batch[1] = torch.rand(3, 160, 224)
    mask = torch.ones(2, 160, 224, dtype=torch.bool)
    mask[0, : SIZE[0], : SIZE[1]] = False
    mask[1] = False
    with torch.inference_mode():
        alone, padded = net(image), net(batch, mask)
        assert padded.sizes.tolist() == [[70.0, 100.0], [160.0, 224.0]]
        whole = net(batch[1:])
        assert torch.allclose(net.decode(padded.maps)[0][1], net.decode(whole.maps)[0][0], atol=1e-3)
        found = net.predict(alone, torch.tensor([SIZE]))
        twice = net.predict(padded, torch.tensor([SIZE, (160, 224)]))
    assert len(found.boxes[0]) > 0
    for boxes in (found.boxes[0], twice.boxes[0]):
        assert (boxes >= 0).all()
        assert (boxes[:, 2:] <= torch.tensor([100, 70])).all()
    kept = twice.boxes[0][twice.scores[0] > 0]
    assert (kept[:, 2:] > kept[:, :2]).all()


def test_boxes_are_clipped_and_those_outside_are_left_out(net: YoloFastestV2) -> None:
    parts = [torch.full_like(part, -9.0) for part in maps(96, 128)]
    for cell, logit in ((0, -9.0), (1, 0.0)):  # at the corner half a cell outside, and in its cell
        parts[0][0, :2, cell, cell] = logit
        parts[0][0, 2:4, cell, cell] = -1.5 if cell == 0 else 9.0  # small, and four times the anchor
        parts[1][0, 0, cell, cell] = 9.0
    parts[2][0, 0, :2, :2] = 9.0
    found = net.predict(YoloOutputs(tuple(parts), sizes()), torch.tensor([[140, 200]]))
    boxes = found.boxes[0][found.scores[0] > 0]
    # 4 times 12.64 x 19.39 around 24, 24, doubled: 0 is the edge
    assert boxes[0].tolist() == pytest.approx([0.0, 0.0, 98.56, 125.56], abs=0.05)
    assert len(boxes) == 1


def test_nothing_is_found_and_no_image_is_there(net: YoloFastestV2) -> None:
    silent = [torch.full_like(part, -30.0) for part in maps(96, 128)]
    found = net.predict(YoloOutputs(tuple(silent), sizes()), torch.tensor([SIZE]))
    assert found.boxes.shape == (1, 0, 4)
    assert len(found.named(["a", "b", "c"])[0]) == 0
    none = YoloOutputs(tuple(part[:0] for part in silent), sizes(0))
    assert net.predict(none, torch.zeros(0, 2)).boxes.shape == (0, 0, 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_half_precision(dtype: torch.dtype) -> None:
    """The network runs in half precision, the loss and the boxes in full.

    With constant statistics: those of a single image's last map of 12 pixels multiply what rounding changes.
    """
    torch.manual_seed(0)
    net = YoloFastestV2(num_classes=K, min_score=0.0).eval()
    images = torch.rand(1, 3, *SIZE)
    whole = {name: float(value) for name, value in batch_terms(net, net(images), targets()).items()}
    with torch.autocast("cpu", dtype):
        outputs = net(images)
        terms = batch_terms(net, outputs, targets())
    assert outputs.maps[0].dtype == dtype
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(whole, rel=0.1)
    sum(terms.values()).backward()  # type: ignore[union-attr]
    assert all(part.grad is not None and part.grad.isfinite().all() for part in net.parameters())
    with torch.autocast("cpu", dtype), torch.inference_mode():
        found = net.predict(net(images), torch.tensor([SIZE]))
    assert (found.boxes.dtype, found.scores.dtype) == (torch.float32, torch.float32)


def test_loss_and_boxes_compile_whole(net: YoloFastestV2) -> None:
    """Without a break of the graph, so nothing in them waits for a value; the network itself: worst seen 7e-6."""

    def step(*parts: Tensor) -> tuple[Tensor, ...]:
        terms: dict[str, Any] = net.loss(YoloOutputs(parts, sizes()), targets())
        return torch.stack([term.sum for term in terms.values()]), *net.decode(parts)[:2]

    torch._dynamo.reset()
    compiled: Any = torch.compile(step, backend="eager", fullgraph=True)
    parts = maps(96, 128)
    for found, expected in zip(compiled(*parts), step(*parts), strict=True):
        assert torch.allclose(found, expected, rtol=1e-4)
