"""The loss of [yolo] layers against loops over boxes, places and classes in float64, and numbers by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou, complete_box_iou_loss, generalized_box_iou_loss

from lab.errors import ConfigError
from lab.models.darknet import criterion
from lab.models.darknet.cfg import parse_cfg, written
from lab.models.darknet.criterion import DarknetTargeting
from lab.models.darknet.learning import LOSS_OPTIONS, YoloLearning
from lab.models.darknet.network import Darknet
from lab.models.darknet.plan import make_plan
from lab.ops.boxes import box_cxcywh_to_xyxy
from lab.structures import DetectionTargets
from lab.training.terms import batch_terms, divided

K, SIZE = 4, (96, 128)
SIZES = ((8.0, 10.0), (18.0, 22.0), (24.0, 60.0), (60.0, 30.0), (62.0, 70.0), (100.0, 90.0))
PUBLISHED = YoloLearning(SIZES, (3, 4, 5), 0.5, 1.0, 0.213, "ciou", 0.07, 1.0, 1.0, 0.0, box_gradient="exact")
SCALES = (1.0, 1.1)


def maps(seed: int = 0, batch: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3 * (5 + K), SIZE[0] // stride, SIZE[1] // stride) for stride in (32, 16)]
    return [0.7 * torch.randn(batch, *shape, generator=generator, dtype=torch.float64) for shape in shapes]


def targets() -> DetectionTargets:
    """Two classes in one place, twice the same class in another, one box at a border; none in one image."""
    boxes = [
        [10.0, 12, 28, 34],
        [11, 13, 29, 33],
        [5, 20, 115, 90],
        [70, 60, 128, 96],
        [90, 8, 108, 30],
        [91, 9, 107, 29],
    ]
    labels = torch.tensor([0, 3, 2, 1, 1, 1])
    sizes = torch.tensor([SIZE] * 3, dtype=torch.float32)
    return DetectionTargets(torch.tensor(boxes), labels, (4, 0, 2), sizes)


def box_at(
    part: Tensor, cell: tuple[int, int], shape: tuple[int, int], anchor: tuple[float, float], scale: float
) -> Tensor:
    """Return cxcywh in pixels, by the paper's formula."""
    (row, column), (rows, columns) = cell, shape
    x = (part[0].sigmoid() * scale - 0.5 * (scale - 1) + column) / columns * SIZE[1]
    y = (part[1].sigmoid() * scale - 0.5 * (scale - 1) + row) / rows * SIZE[0]
    return torch.stack((x, y, part[2].exp() * anchor[0], part[3].exp() * anchor[1]))


def slow_layer(head: YoloLearning, scale: float, map_: Tensor, boxes: Tensor, labels: list[int]) -> list[float]:
    """Return the three sums of one image and layer, place after place."""
    shape = (map_.shape[1], map_.shape[2])
    learned: dict[tuple[int, int, int], list[int]] = {}
    for number, box in enumerate(boxes):
        w, h = float(box[2] - box[0]), float(box[3] - box[1])
        shared = [min(w, aw) * min(h, ah) / (w * h + aw * ah - min(w, aw) * min(h, ah)) for aw, ah in head.sizes]
        row = int(float(box[1] + box[3]) / 2 / SIZE[0] * shape[0])
        column = int(float(box[0] + box[2]) / 2 / SIZE[1] * shape[1])
        for place, anchor in enumerate(head.mask):
            if anchor == shared.index(max(shared)) or shared[anchor] > head.iou_thresh:
                learned.setdefault((place, row, column), []).append(number)
    sums = [0.0, 0.0, 0.0]
    for place in range(len(head.mask)):
        for row in range(shape[0]):
            for column in range(shape[1]):
                part = map_[place * (5 + K) : (place + 1) * (5 + K), row, column]
                anchor = head.sizes[head.mask[place]]
                found = box_at(part, (row, column), shape, anchor, scale)
                best, which = 0.0, -1
                if len(boxes):
                    overlap = box_iou(box_cxcywh_to_xyxy(found)[None], boxes.double())[0]
                    best, which = float(overlap.max()), int(overlap.argmax())
                objects = list(learned.get((place, row, column), []))
                objects += [which] if best > head.truth_thresh else []
                if not objects:
                    if not (best > head.ignore_thresh and float(part[5:].sigmoid().max()) > head.ignore_class_score):
                        sums[1] += float(F.softplus(part[4]))
                    continue
                sums[1] += float(F.softplus(-part[4]))
                classes = {labels[number] for number in objects}
                for k in range(K):
                    y = (1.0 if k in classes else 0.0) * (1 - head.label_smooth_eps) + head.label_smooth_eps / 2
                    sums[2] += float(y * F.softplus(-part[5 + k]) + (1 - y) * F.softplus(part[5 + k]))
                for number in objects:
                    value = slow_box(head, part, found, boxes[number].double(), (row, column), shape, anchor)
                    sums[0] += value / (len(classes) if head.iou_thresh < 1 else 1)
    return sums


def slow_box(
    head: YoloLearning,
    part: Tensor,
    found: Tensor,
    truth: Tensor,
    cell: tuple[int, int],
    shape: tuple[int, int],
    anchor: tuple[float, float],
) -> float:
    if head.iou_loss != "mse":
        loss = complete_box_iou_loss if head.iou_loss == "ciou" else generalized_box_iou_loss
        return float(loss(box_cxcywh_to_xyxy(found), truth))
    w, h = float(truth[2] - truth[0]), float(truth[3] - truth[1])
    total = (
        0.5 * (float(part[2]) - math.log(w / anchor[0])) ** 2 + 0.5 * (float(part[3]) - math.log(h / anchor[1])) ** 2
    )
    for axis in (0, 1):
        y = float(truth[axis] + truth[axis + 2]) / 2 / SIZE[1 - axis] * shape[1 - axis] - cell[1 - axis]
        total += float(y * F.softplus(-part[axis]) + (1 - y) * F.softplus(part[axis]))
    return total * (2 - w * h / (SIZE[0] * SIZE[1]))


def heads_of(case: dict[str, Any]) -> list[YoloLearning]:
    return [replace(PUBLISHED, **case), replace(PUBLISHED, mask=(0, 1, 2), **case)]


def by_loops(case: dict[str, Any]) -> dict[str, float]:
    wanted, total = targets(), [0.0, 0.0, 0.0]
    for head, scale, each in zip(heads_of(case), SCALES, maps(), strict=True):
        for index in range(3):
            own = wanted.rows(slice(index, index + 1))
            part = slow_layer(head, scale, each[index], own.boxes, own.labels.tolist())
            total = [sum(pair) for pair in zip(total, part, strict=True)]
    weights = (heads_of(case)[0].iou_normalizer, heads_of(case)[0].obj_normalizer, heads_of(case)[0].cls_normalizer)
    names = ("loss_box", "loss_objectness", "loss_class")
    return {name: value * weight / 3 for name, value, weight in zip(names, total, weights, strict=True)}


def terms(case: dict[str, Any]) -> dict[str, float]:
    loss = DarknetTargeting(heads_of(case), SCALES, "test")
    found = divided(loss(maps(), SIZE, targets()), loss.totals(targets()))
    return {name: float(value) for name, value in found.items()}


CASES: dict[str, dict[str, Any]] = {
    "published": {},
    "darknet": {"box_gradient": "darknet"},
    "paper": {"iou_thresh": 1.0, "iou_loss": "mse", "iou_normalizer": 0.75, "ignore_class_score": 0.0},
    "wide": {"iou_loss": "giou", "truth_thresh": 0.3, "ignore_thresh": 0.2, "ignore_class_score": 0.8},
    "weights": {"obj_normalizer": 0.4, "cls_normalizer": 0.6, "label_smooth_eps": 0.1, "ignore_thresh": 0.25},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_terms_equal_loops(case: dict[str, Any]) -> None:
    expected = by_loops(case)
    assert min(expected.values()) > 0.05
    assert terms(case) == pytest.approx(expected, rel=1e-6)  # float64; CIoU's small numbers differ from torchvision's


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ({"iou_thresh": 0.4}, "loss_box"),
        ({"ignore_thresh": 0.25}, "loss_objectness"),
        ({"ignore_class_score": 0.8, "ignore_thresh": 0.25}, "loss_objectness"),
        ({"truth_thresh": 0.3}, "loss_class"),
        ({"iou_loss": "giou"}, "loss_box"),
    ],
)
def test_the_comparison_sees_mutants(case: dict[str, Any], name: str) -> None:
    other = {key: value for key, value in case.items() if key == "ignore_thresh"} if len(case) > 1 else {}
    assert terms(case)[name] != pytest.approx(by_loops(other)[name], rel=1e-3)


def test_mutants_of_the_code_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, real = by_loops({}), criterion.match

    def shifted(*arguments: Any) -> Any:
        found = real(*arguments)
        return replace(found, place=torch.where(found.matched & (found.box == 2), found.place - 1, found.place))

    monkeypatch.setattr(criterion, "match", shifted)
    assert terms({}) != pytest.approx(expected, rel=1e-3)
    monkeypatch.setattr(criterion, "match", real)
    monkeypatch.setattr(
        criterion, "overlaps", lambda boxes, truths, counts: (boxes[..., 0] * 0, boxes[..., 0].long() * 0)
    )
    assert terms({"ignore_thresh": 0.25}) != pytest.approx(by_loops({"ignore_thresh": 0.25}), rel=1e-3)


def test_one_box_by_hand() -> None:
    """One object, of the shape of one anchor alone, and all numbers 0 but for the box's width, which is doubled."""
    head = replace(PUBLISHED, sizes=((16.0, 16.0), (48.0, 48.0)), mask=(0, 1))
    raw = torch.zeros(1, 2, 5 + K, 3, 4, dtype=torch.float64)
    raw[0, 1, 2, 1, 2] = math.log(2)  # anchor 1, row 1, column 2: its cell is 64..96, 32..64
    wanted = DetectionTargets(torch.tensor([[56.0, 24, 104, 72]]), torch.tensor([3]), (1,), torch.tensor([[96.0, 128]]))
    found = DarknetTargeting([head], [1.0], "test")([raw.flatten(1, 2)], SIZE, wanted)
    # Box of 96 x 48 around the same centre as 48 x 48: IoU 1/2, centres equal, atan(2) and atan(1) = pi / 4.
    shape = 4 / math.pi**2 * (math.atan(2) - math.pi / 4) ** 2
    ciou = 0.5 - shape * shape / (0.5 + shape)
    assert float(found["loss_box"].sum) == pytest.approx(0.07 * (1 - ciou), rel=1e-5)
    # 24 places; two more boxes of 48 x 48 at 32 pixels' distance overlap by 16 x 48: IoU 1/5, so none is left out.
    assert float(found["loss_objectness"].sum) == pytest.approx(24 * math.log(2))
    assert float(found["loss_class"].sum) == pytest.approx(K * math.log(2))


def test_gradients_as_darknet_passes_them() -> None:
    """Of 1 - CIoU by the box as a share of the image; for sizes times exp(number). Differences in float64."""
    head = replace(PUBLISHED, sizes=((40.0, 48.0),), mask=(0,), box_gradient="darknet")
    wanted = DetectionTargets(torch.tensor([[50.0, 24, 104, 72]]), torch.tensor([3]), (1,), torch.tensor([[96.0, 128]]))
    raw = torch.zeros(1, 5 + K, 3, 4, dtype=torch.float64)
    raw[0, :4, 1, 2] = torch.tensor([0.3, -0.2, 0.25, -0.4])
    raw.requires_grad_()
    DarknetTargeting([head], [1.0], "test")([raw], SIZE, wanted)["loss_box"].sum.backward()
    assert raw.grad is not None
    box = box_at(raw[0, :, 1, 2], (1, 2), (3, 4), (40.0, 48.0), 1.0).detach()
    share = (box / torch.tensor([128.0, 96, 128, 96])).requires_grad_()
    pixels = share * torch.tensor([128.0, 96, 128, 96])
    complete_box_iou_loss(box_cxcywh_to_xyxy(pixels), wanted.boxes[0].double()).backward()
    assert share.grad is not None
    expected = 0.07 * share.grad * torch.cat((torch.ones(2), raw[0, 2:4, 1, 2].detach().exp()))
    torch.testing.assert_close(raw.grad[0, :4, 1, 2], expected, rtol=1e-5, atol=1e-9)


def test_the_loss_does_not_depend_on_how_a_batch_is_split() -> None:
    loss, totals = DarknetTargeting(heads_of({}), SCALES, "test"), {"num_images": 3.0}
    assert loss.totals(targets()) == totals
    whole = divided(loss(maps(), SIZE, targets()), totals)
    rows = [slice(0, 1), slice(1, 3)]
    split = [divided(loss([part[each] for part in maps()], SIZE, targets().rows(each)), totals) for each in rows]
    for name, value in whole.items():
        assert float(value) == pytest.approx(sum(float(part[name]) for part in split))


def test_cells_of_the_padding_learn_nothing() -> None:
    """The last image ends at 40 x 60 pixels; what stands in cells that begin beyond that changes nothing."""
    given = targets()
    boxes = given.boxes.clone()
    boxes[4:] = torch.tensor([[10.0, 8, 28, 30], [11, 9, 27, 29]])
    sizes = given.sizes.clone()
    sizes[2] = torch.tensor([40.0, 60])
    given = replace(given, boxes=boxes, sizes=sizes)
    targeting = DarknetTargeting(heads_of({}), SCALES, "test")
    before, changed = maps(), maps()
    changed[0][2, :, 2:], changed[0][2, :, :, 2:] = 3.0, 3.0
    changed[1][2, :, 3:], changed[1][2, :, :, 4:] = 3.0, 3.0
    one, other = (targeting(each, SIZE, given) for each in (before, changed))
    assert {name: float(term.sum) for name, term in one.items()} == pytest.approx(
        {name: float(term.sum) for name, term in other.items()}, rel=1e-12
    )
    whole = targeting(changed, SIZE, replace(given, sizes=targets().sizes))
    assert float(whole["loss_objectness"].sum) > float(one["loss_objectness"].sum) + 10


@pytest.mark.parametrize("limit", [1.0, 0.3])
def test_no_boxes_and_gradients(limit: float) -> None:
    parts = [part.requires_grad_() for part in maps()]
    loss = DarknetTargeting(heads_of({"truth_thresh": limit}), SCALES, "test")
    empty = DetectionTargets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (0, 0, 0), torch.full((3, 2), 96.0))
    found = divided(loss(parts, SIZE, empty), loss.totals(empty))
    assert found["loss_box"].item() == found["loss_class"].item() == 0
    assert found["loss_objectness"].item() > 0
    sum(divided(loss(parts, SIZE, targets()), loss.totals(targets())).values()).backward()
    assert all(part.grad is not None and part.grad.isfinite().all() and part.grad.any() for part in parts)


NET = [
    ("net", {"width": 64, "height": 64}),
    ("convolutional", {"filters": 2 * (K + 5), "size": 3, "stride": 2, "pad": 1, "activation": "linear"}),
    ("yolo", {"anchors": "8,8,20,24", "num": 2, "classes": K}),
]


def learning(**keys: object) -> YoloLearning:
    sections = [*NET[:2], ("yolo", {**NET[2][1], **keys})]
    found = make_plan(parse_cfg(written(sections))).layers[-1].learning
    assert found is not None
    return found


def test_numbers_come_from_the_section_or_the_options() -> None:
    plain = learning()
    assert (plain.iou_loss, plain.iou_normalizer, plain.iou_thresh, plain.truth_thresh) == ("mse", 0.75, 1.0, 1.0)
    given = learning(iou_loss="ciou", iou_thresh=0.213, mask="1,0", obj_normalizer=0.5)
    assert (given.iou_loss, given.iou_thresh, given.mask, given.obj_normalizer) == ("ciou", 0.213, (1, 0), 0.5)
    told = given.told(replace(LOSS_OPTIONS, iou_thresh=1.0, box_gradient="exact"))
    assert (told.iou_loss, told.iou_thresh, told.box_gradient) == ("ciou", 1.0, "exact")
    assert learning(iou_loss="diou").told(replace(LOSS_OPTIONS, iou_loss="ciou")).untrained == ""
    for keys, said in (({"iou_loss": "diou"}, "iou_loss=diou"), ({"focal_loss": 1}, "focal_loss=1")):
        loss = DarknetTargeting([learning(**keys)], [1.0], "net.cfg")
        with pytest.raises(ConfigError, match=rf"net.cfg: {said} of \[yolo\] is not there to train with"):
            loss.totals(targets())
    with pytest.raises(ConfigError, match=r"ignore_thresh='2': takes a number from 0 to 1"):
        learning(ignore_thresh=2)


def test_a_network_learns_a_few_images() -> None:
    torch.manual_seed(0)
    net = Darknet(num_classes=2, anchors=(8, 8, 16, 16, 24, 24, 32, 32, 40, 40, 48, 48))
    images = torch.full((4, 3, 64, 64), 0.1)
    corners = [(4, 6, 28, 30), (30, 20, 60, 52), (8, 32, 30, 60), (34, 4, 58, 26)]
    for index, (left, top, right, bottom) in enumerate(corners):
        images[index, index % 2, top:bottom, left:right] = 0.9
    labels = torch.tensor([0, 1, 0, 1])
    wanted = DetectionTargets(torch.tensor(corners).float(), labels, (1,) * 4, torch.full((4, 2), 64.0))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.3
    values = []
    for _ in range(100):  # after 60 it is .61 with one thread of an EPYC without AVX-512, .49 with two
        optimizer.zero_grad()
        loss = sum(batch_terms(net, net(images), wanted).values())
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.1 * values[0]
    with torch.no_grad():
        found = net.eval().predict(net(images), torch.full((4, 2), 64))
    assert found.labels[:, 0].tolist() == labels.tolist()
    overlap = box_iou(found.boxes[:, 0], wanted.boxes).diagonal()
    assert overlap.mean() > 0.5  # of the best boxes; 0.72 with one thread, 0.66 with two
