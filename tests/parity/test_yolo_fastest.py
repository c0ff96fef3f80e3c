"""YOLO-FastestV2 against plain modules in the published layout and the published work on boxes and loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_iou

from lab import create_model, deploy
from lab.errors import CheckpointError
from lab.models.yolo_fastest.decoding import LikelyBoxes, likely_boxes, suppress
from lab.models.yolo_fastest.network import COCO_ANCHORS, YoloOutputs
from lab.models.yolo_fastest.weights import from_official, to_official
from lab.ops.boxes import box_xyxy_to_cxcywh
from lab.structures import DetectionTargets
from lab.training.terms import batch_terms
from scripts.benchmarks.yolo_fastest_peer import ANCHORS, PlainYoloFastest, plain_loss, plain_rows, plain_suppressed
from tests.agreement import Compared
from tests.classifiers import fill, multiplications, worst

PEER = Compared("yolo_fastest", "the published form in plain torch", ("yolo_fastest_v2",))


def slow_suppressed(rows: Tensor, min_score: float, iou: float, most: int) -> list[int]:
    """Return the rows that remain, by one loop over an image's rows, best first."""
    kept: list[int] = []
    for row in rows[:, 4].argsort(descending=True).tolist():
        alike = [other for other in kept if rows[other, 5] == rows[row, 5]]
        overlaps = box_iou(rows[row : row + 1, :4], rows[alike, :4])
        if rows[row, 4] > min_score and not (overlaps > iou).any():
            kept.append(row)
    return kept[:most]


@pytest.fixture(scope="module")
def slow() -> PlainYoloFastest:
    network = PlainYoloFastest(80).eval()
    fill(network)
    return network


@pytest.fixture(scope="module")
def ours(slow: PlainYoloFastest) -> Any:
    network = create_model("yolo_fastest_v2").eval()
    network.load_state_dict(from_official(slow.state_dict()), strict=True)
    return network


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def maps(slow: PlainYoloFastest, images: Tensor) -> list[Tensor]:
    with torch.inference_mode():
        return slow(images)


def test_sizes_and_keys_are_the_published_ones(ours: Any, slow: PlainYoloFastest, tmp_path: Any) -> None:
    official = to_official(ours.state_dict())
    assert len(official) == 444
    assert sum(parameter.numel() for parameter in ours.parameters()) == 243_095
    slow.load_state_dict(official, strict=True)
    torch.save(official, tmp_path / "published.pth")
    loaded = create_model("yolo_fastest_v2", pretrained=str(tmp_path / "published.pth"), num_classes=80)
    for key, value in ours.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
    del official["fpn.conv1x1_2.0.weight"]
    torch.save(official, tmp_path / "short.pth")
    with pytest.raises(CheckpointError, match=r"fpn\.conv1x1_2\.0\.weight"):
        create_model("yolo_fastest_v2", pretrained=str(tmp_path / "short.pth"), num_classes=80)


def test_multiplications_are_the_published_ones() -> None:
    with torch.device("meta"):
        network = create_model("yolo_fastest_v2").eval()
        count = multiplications(network, torch.empty(1, 3, 352, 352))
    assert count == pytest.approx(0.1064, abs=5e-5)


def test_maps_equal_the_slow_form(ours: Any, images: Tensor, maps: list[Tensor]) -> None:
    with torch.inference_mode():
        found = ours.raw_maps(images)
    assert [tuple(part.shape[1:]) for part in found] == [
        *((channels, 6, 8) for channels in (12, 3, 80)),
        *((channels, 3, 4) for channels in (12, 3, 80)),
    ]
    assert PEER.agrees("maps", max(map(worst, found, maps)), 1e-5)
    with torch.inference_mode():
        rgb = ours(images.flip(1)).maps
    assert all(map(torch.equal, rgb, found))


def test_deployed_maps_equal_the_slow_form(ours: Any, images: Tensor, maps: list[Tensor]) -> None:
    """Without norms, shuffles and the heads' last 1x1; by rows of pixels, and by the plain operations of its graph."""
    deployed = deploy(ours, images)
    assert not deployed.deployment.left
    with torch.inference_mode():
        by_rows = deployed.raw_maps(images)
    for found in (by_rows, deployed.raw_maps(images)):
        assert PEER.agrees("maps of lab.deploy", max(map(worst, found, maps)), 1e-5)  # worst measured: 2.9e-6
    hooked = []
    handle = deployed.fpn.cls_head_3.block[0].register_forward_hook(lambda *_: hooked.append(1))
    with torch.inference_mode():
        assert max(map(worst, deployed.raw_maps(images), maps)) < 1e-5
    assert hooked
    handle.remove()
    layer = deployed.fpn.conv1x1_2[0]
    layer.weight = nn.Parameter(layer.weight * 1.1, requires_grad=False)  # what is remembered follows
    with torch.inference_mode():
        assert max(map(worst, deployed.raw_maps(images), maps)) > 1e-3
    graph = torch.export.export(ForMaps(deployed), (images,), strict=False).graph
    called = [node.target.__name__.partition(".")[0] for node in graph.nodes if node.op == "call_function"]
    assert set(called) == {
        "contiguous",
        "conv2d",
        "relu_",
        "max_pool2d",
        "split_with_sizes",
        "getitem",
        "cat",
        "upsample_nearest2d",
    }
    assert called.count("conv2d") == 73


class ForMaps(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        return self.network.raw_maps(images)


@pytest.mark.parametrize("mutant", ["order", "shared", "activation"])
def test_the_comparison_sees_mutants(slow: PlainYoloFastest, images: Tensor, maps: list[Tensor], mutant: str) -> None:
    network: Any = create_model("yolo_fastest_v2").eval()
    network.load_state_dict(from_official(slow.state_dict()), strict=True)
    if mutant == "order":  # the finer map's channels first
        weight = network.fpn.conv1x1_2[0].weight.data
        weight.copy_(weight.roll(96, dims=1))
    elif mutant == "shared":
        network.fpn.cls_head_3, network.fpn.reg_head_3 = network.fpn.reg_head_3, network.fpn.cls_head_3
    else:
        network.fpn.cls_head_2.block[9].bias.data.relu_()
    with torch.inference_mode():
        assert max(map(worst, network.raw_maps(images), maps)) > 1e-3


def test_decoding_equals_the_published_one(ours: Any, maps: list[Tensor]) -> None:
    assert COCO_ANCHORS == ANCHORS
    boxes, scores, labels = ours.decode([part * 0.02 for part in maps])
    rows = plain_rows([part * 0.02 for part in maps])
    centres, halves = rows[..., :2], rows[..., 2:4] / 2
    chances, best = (rows[..., 4:5] * rows[..., 5:]).max(dim=-1)
    assert boxes.shape == (2, 180, 4)
    expected = torch.cat((centres - halves, centres + halves), dim=-1)
    assert PEER.agrees("boxes, pixels", float((boxes - expected).abs().max()), 1e-4)  # pixels; worst measured: 1.5e-5
    assert (scores - chances).abs().max() < 1e-6
    assert torch.equal(labels, best)


def test_boxes_equal_the_published_ones(ours: Any, maps: list[Tensor]) -> None:
    """Decoding and suppression together; the published one moves classes apart in float32, so its boxes are rounded."""
    maps = [part * 0.02 for part in maps]
    found = suppress(likely_boxes(maps, SIZES, (16, 32), COCO_ANCHORS, "softmax", 0.005), 2, 0.4, 25)
    for image, expected in enumerate(plain_suppressed(plain_rows(maps), 0.005, 0.4, 25)):
        assert 5 < len(expected) <= 25
        assert (found.boxes[image, : len(expected)] - expected[:, :4]).abs().max() < 1e-4
        assert (found.scores[image, : len(expected)] - expected[:, 4]).abs().max() < 1e-6
        assert torch.equal(found.labels[image, : len(expected)], expected[:, 5].long())


SIZES = torch.tensor([[96.0, 128.0]] * 2)


def above(boxes: Tensor, scores: Tensor, labels: Tensor, min_score: float = 0.005) -> LikelyBoxes:
    inside = (boxes[..., 2:] > 0).all(dim=-1) & (boxes[..., :2] < SIZES.flip(1)[:, None]).all(dim=-1)
    image, place = ((scores > min_score) & (inside | boxes.isnan().any(dim=-1))).nonzero(as_tuple=True)
    return LikelyBoxes(image, *(part[image, place] for part in (boxes, scores, labels)))


def test_candidates_are_those_of_all_boxes(ours: Any, maps: list[Tensor]) -> None:
    maps = [part * 0.02 for part in maps]
    maps[0][1, 4:8, 2, 3] = torch.nan  # the second anchor of a cell
    maps[1][:, 2] = -20.0
    dense = ours.decode(maps)
    expected = above(*dense)
    expected = expected.take(expected.boxes.isfinite().all(dim=-1))
    found = likely_boxes(maps, SIZES, (16, 32), COCO_ANCHORS, "softmax", 0.005)
    assert 20 < len(found.image) < 320
    assert torch.equal(found.image, expected.image)
    assert torch.equal(found.labels, expected.labels)
    assert torch.allclose(found.boxes, expected.boxes, atol=1e-5)
    assert torch.allclose(found.scores, expected.scores, atol=1e-7)


def test_suppression_equals_a_loop(ours: Any, maps: list[Tensor]) -> None:
    boxes, scores, labels = ours.decode([part * 0.02 for part in maps])
    labels = labels % 3  # few classes, so that much overlaps
    found = suppress(above(boxes, scores, labels), 2, 0.4, 25)
    rows = torch.cat((boxes, scores[..., None], labels[..., None]), dim=-1)
    kept = [slow_suppressed(part, 0.005, 0.4, 25) for part in rows]
    assert found.scores.shape == (2, max(map(len, kept)))
    assert 0 < len(kept[0]) < int((scores[0] > 0.005).sum())
    for image, chosen in enumerate(kept):
        assert torch.equal(found.boxes[image, : len(chosen)], boxes[image, chosen])
        assert torch.equal(found.scores[image, : len(chosen)], scores[image, chosen])
        assert torch.equal(found.labels[image, : len(chosen)], labels[image, chosen])
        assert not found.scores[image, len(chosen) :].any()
    alike = suppress(
        above(boxes, scores, torch.zeros_like(labels)), 2, 0.4, 25
    )  # a mutant: classes suppress each other
    assert alike.scores.shape != found.scores.shape or not torch.equal(alike.boxes, found.boxes)
    assert suppress(above(boxes, scores, labels).take(torch.zeros(0, dtype=torch.int64)), 2, 0.4, 25).boxes.shape == (
        2,
        0,
        4,
    )


def test_boxes_are_in_pixels_of_the_original_images(ours: Any, images: Tensor) -> None:
    """An image that is padded to another's size, and both to multiples of 32; rows that only fill up are not shown."""
    small = F.pad(images[:1, :, :70, :100], (0, 28, 0, 26))
    mask = torch.ones(1, 96, 128, dtype=torch.bool)
    mask[:, :70, :100] = False
    with torch.inference_mode():
        padded, alone = ours(small, mask), ours(images[:1, :, :70, :100])
        assert padded.sizes.tolist() == alone.sizes.tolist() == [[70.0, 100.0]]
        found, expected = (ours.predict(part, torch.tensor([[140, 50]])) for part in (padded, alone))
        raw = ours.predict(alone, torch.tensor([[70, 100]]))
    assert torch.equal(found.boxes, expected.boxes)
    assert torch.allclose(raw.boxes * torch.tensor([0.5, 2.0, 0.5, 2.0]), found.boxes)
    few = YoloOutputs(
        tuple(part[:1].expand(2, *part.shape[1:]).clone() for part in alone.maps), alone.sizes.expand(2, 2)
    )
    for place in (1, 4):
        few.maps[place][1] = -20.0  # no object in the second image
    with torch.inference_mode():
        shown = ours.predict(few, torch.tensor([[70, 100]] * 2)).named([str(label) for label in range(80)])
    assert len(shown[0]) > 0
    assert len(shown[1]) == 0


def targets(counts: tuple[int, ...]) -> DetectionTargets:
    """Return boxes of all sizes, some at a border."""
    generator = torch.Generator().manual_seed(4)
    centre, size = torch.rand(2, sum(counts), 2, generator=generator)
    low, high = (centre - size / 2).clamp(0, 1), (centre + size / 2).clamp(0, 1)
    boxes = torch.cat((low, high), dim=1) * torch.tensor([128.0, 96, 128, 96])
    labels = torch.randint(80, (len(boxes),), generator=generator)
    return DetectionTargets(boxes, labels, counts, torch.tensor([[96.0, 128.0]] * len(counts)))


def published(wanted: DetectionTargets) -> Tensor:
    """Return (T, 6): image, class, centre and size relative to the image."""
    image = torch.arange(len(wanted.counts)).repeat_interleave(torch.tensor(wanted.counts))
    places = box_xyxy_to_cxcywh(wanted.boxes) / torch.tensor([128.0, 96, 128, 96])
    return torch.cat((torch.stack((image, wanted.labels), dim=1), places), dim=1)


def gradient(loss: Any, given: list[Tensor]) -> Tensor:
    parts = torch.autograd.grad(loss, given, retain_graph=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


def test_the_loss_equals_the_published_one_where_its_normalisers_are_ours(ours: Any, maps: list[Tensor]) -> None:
    """Of one box all terms and their gradients; of many the objectness, which is a mean over cells in both."""
    given = [(part * 0.02).requires_grad_() for part in maps]
    learned = 0
    for box in range(12):
        alone = targets((12, 0)).rows(slice(0, 1))
        alone = DetectionTargets(
            alone.boxes[box : box + 1], alone.labels[box : box + 1], (1, 0), alone.sizes.repeat(2, 1)
        )
        found = batch_terms(ours, YoloOutputs(tuple(given), alone.sizes), alone)
        expected = plain_loss(given, published(alone))
        learned += bool(expected[0] > 0)
        for name, value in zip(("loss_box", "loss_objectness", "loss_class"), expected, strict=True):
            assert found[name].item() == pytest.approx(value.item(), rel=1e-5, abs=1e-6)
        mine, theirs = (gradient(sum(terms), given) for terms in (found.values(), expected))
        assert PEER.agrees("gradients of the loss", worst(mine, theirs), 1e-5)  # worst measured: 2.5e-7
    assert learned > 4
    many = targets((7, 5))
    found = batch_terms(ours, YoloOutputs(tuple(given), many.sizes), many)
    expected = plain_loss(given, published(many))
    assert found["loss_objectness"].item() == pytest.approx(expected[1].item(), rel=1e-5)
    assert found["loss_box"].item() != pytest.approx(expected[0].item(), rel=1e-3)  # a mean over boxes, not matches
