"""YOLO-FastestV2 against a slow form of it, of plain modules under the published names, written here from its facts."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_iou

from lab import create_model
from lab.errors import CheckpointError
from lab.models.yolo_fastest.decoding import suppress
from lab.models.yolo_fastest.network import COCO_ANCHORS, YoloOutputs
from lab.models.yolo_fastest.weights import from_official, to_official
from tests.classifiers import fill, multiplications, worst


def convolution(before: int, after: int, size: int = 1, stride: int = 1, alone: bool = False) -> list[nn.Module]:
    groups = before if alone else 1
    return [nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(after)]


class SlowBlock(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        half, entry = width // 2, before if stride == 2 else width // 2
        main = [*convolution(entry, half), nn.ReLU(), *convolution(half, half, 3, stride, True)]
        self.branch_main = nn.Sequential(*main, *convolution(half, half), nn.ReLU())
        if stride == 2:
            deep = convolution(before, before, 3, 2, True)
            self.branch_proj = nn.Sequential(*deep, *convolution(before, half), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "branch_proj"):
            return torch.cat((self.branch_proj(x), self.branch_main(x)), 1)
        batch, channels, height, width = x.shape
        turned = x.reshape(batch * channels // 2, 2, height * width).permute(1, 0, 2)
        aside, through = turned.reshape(2, batch, channels // 2, height, width)
        return torch.cat((aside, self.branch_main(through)), 1)


class SlowHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        twice = ([*convolution(72, 72, 5, 1, True), nn.ReLU(), *convolution(72, 72)] for _ in range(2))
        self.block = nn.Sequential(*itertools.chain(*twice))


class Slow(nn.Module):
    """The published network, with its names."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.backbone, self.fpn = nn.Module(), nn.Module()
        self.backbone.first_conv = nn.Sequential(*convolution(3, 24, 3, 2), nn.ReLU())
        for stage, (before, width, repeats) in enumerate(((24, 48, 4), (48, 96, 8), (96, 192, 4)), 2):
            blocks = [SlowBlock(before, width, 2), *(SlowBlock(width, width, 1) for _ in range(repeats - 1))]
            self.backbone.add_module(f"stage{stage}", nn.Sequential(*blocks))
        self.fpn.conv1x1_2 = nn.Sequential(*convolution(288, 72), nn.ReLU())
        self.fpn.conv1x1_3 = nn.Sequential(*convolution(192, 72), nn.ReLU())
        for name in ("cls_head_2", "reg_head_2", "cls_head_3", "reg_head_3"):
            self.fpn.add_module(name, SlowHead())
        self.output_reg_layers = nn.Conv2d(72, 12, 1)
        self.output_obj_layers = nn.Conv2d(72, 3, 1)
        self.output_cls_layers = nn.Conv2d(72, num_classes, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        body, fpn = self.backbone, self.fpn
        x = body.stage2(F.max_pool2d(body.first_conv(x), 3, 2, 1))
        c2 = body.stage3(x)
        c3 = body.stage4(c2)
        s2 = fpn.conv1x1_2(torch.cat((F.interpolate(c3, scale_factor=2), c2), 1))
        s3 = fpn.conv1x1_3(c3)
        maps = []
        for x, reg_head, cls_head in ((s2, fpn.reg_head_2, fpn.cls_head_2), (s3, fpn.reg_head_3, fpn.cls_head_3)):
            reg, cls = reg_head.block(x), cls_head.block(x)
            maps += [self.output_reg_layers(reg), self.output_obj_layers(cls), self.output_cls_layers(cls)]
        return maps


def slow_rows(maps: list[Tensor], image: int) -> list[list[float]]:
    """Return (x1, y1, x2, y2, score, label) of every anchor of every cell of one image, one after the other."""
    rows = []
    for scale, stride in enumerate((16, 32)):
        reg, obj, cls = (part[image].double() for part in maps[3 * scale : 3 * scale + 3])
        anchors = COCO_ANCHORS[6 * scale : 6 * scale + 6]
        for y, x, a in itertools.product(range(obj.shape[1]), range(obj.shape[2]), range(3)):
            tx, ty, tw, th = reg[4 * a : 4 * a + 4, y, x].sigmoid().tolist()
            cx, cy = (tx * 2 - 0.5 + x) * stride, (ty * 2 - 0.5 + y) * stride
            w, h = (2 * tw) ** 2 * anchors[2 * a], (2 * th) ** 2 * anchors[2 * a + 1]
            chances = cls[:, y, x].softmax(0)
            label = int(chances.argmax())
            score = float(obj[a, y, x].sigmoid() * chances[label])
            rows.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, score, label])
    return rows


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
def slow() -> Slow:
    network = Slow(80).eval()
    fill(network)
    return network


@pytest.fixture(scope="module")
def ours(slow: Slow) -> Any:
    network = create_model("yolo_fastest_v2").eval()
    network.load_state_dict(from_official(slow.state_dict()), strict=True)
    return network


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def maps(slow: Slow, images: Tensor) -> list[Tensor]:
    with torch.inference_mode():
        return slow(images)


def test_sizes_and_keys_are_the_published_ones(ours: Any, slow: Slow, tmp_path: Any) -> None:
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
    assert max(map(worst, found, maps)) < 1e-5
    with torch.inference_mode():
        rgb = ours(images.flip(1)).maps
    assert all(map(torch.equal, rgb, found))


@pytest.mark.parametrize("mutant", ["order", "shared", "activation"])
def test_the_comparison_sees_mutants(slow: Slow, images: Tensor, maps: list[Tensor], mutant: str) -> None:
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


def test_decoding_equals_the_slow_form(ours: Any, maps: list[Tensor]) -> None:
    boxes, scores, labels = ours.decode([part * 0.02 for part in maps])
    for image in range(2):
        expected = torch.tensor(slow_rows([part * 0.02 for part in maps], image))
        assert len(expected) == 180
        assert (boxes[image] - expected[:, :4]).abs().max() < 1e-4  # pixels
        assert (scores[image] - expected[:, 4]).abs().max() < 1e-6
        assert torch.equal(labels[image], expected[:, 5].long())


def test_suppression_equals_a_loop(ours: Any, maps: list[Tensor]) -> None:
    boxes, scores, labels = ours.decode([part * 0.02 for part in maps])
    labels = labels % 3  # few classes, so that much overlaps
    found = suppress(boxes, scores, labels, 0.005, 0.4, 25)
    rows = torch.cat((boxes, scores[..., None], labels[..., None]), dim=-1)
    kept = [slow_suppressed(part, 0.005, 0.4, 25) for part in rows]
    assert found.scores.shape == (2, max(map(len, kept)))
    assert 0 < len(kept[0]) < int((scores[0] > 0.005).sum())
    for image, chosen in enumerate(kept):
        assert torch.equal(found.boxes[image, : len(chosen)], boxes[image, chosen])
        assert torch.equal(found.scores[image, : len(chosen)], scores[image, chosen])
        assert torch.equal(found.labels[image, : len(chosen)], labels[image, chosen])
        assert not found.scores[image, len(chosen) :].any()
    alike = suppress(boxes, scores, torch.zeros_like(labels), 0.005, 0.4, 25)  # a mutant: classes suppress each other
    assert alike.scores.shape != found.scores.shape or not torch.equal(alike.boxes, found.boxes)
    assert suppress(boxes, scores, labels, 1.0, 0.4, 25).boxes.shape == (2, 0, 4)


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
