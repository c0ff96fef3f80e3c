"""Sums become losses: of a step, and of a set however it is split, equal to the loss of the set as one batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

import lab
from lab.data.scenes.shapes import ShapesDataset
from lab.errors import ConfigError
from lab.ops.images import normalize_images
from lab.structures import Term
from lab.tasks.detection.data.collate import collate_detection
from lab.tasks.detection.data.shapes import ShapesDetection
from lab.training.terms import SetLoss, batch_terms, divided
from tests.distributed import run_distributed

ALONE = SimpleNamespace(world_size=1)
SMALL = {"embed_dim": 16, "num_heads": 2, "feedforward_dim": 16, "num_queries": 2}


@pytest.fixture(scope="module")
def data() -> ShapesDetection:
    return ShapesDetection(ShapesDataset(split="val", num_samples=8, image_size=32, max_side=20))


def of_splits(net: Any, data: ShapesDetection, sizes: list[int], filler: bool = False) -> float:
    loss = SetLoss()
    start = 0
    for size in [*sizes, *([1] if filler else [])]:
        batch = collate_detection([data[0, index % 8] for index in range(start, start + size)])
        batch.valid[:] = start < 8
        outputs = net(normalize_images(batch.images))
        loss.update(net.loss(outputs, batch.targets), net.totals(batch.targets), batch.valid)
        start += size
    return loss.compute(ALONE)


@pytest.mark.parametrize("options", [{}, {"classification": "softmax", "anchors": "learned"}])
def test_any_split_gives_the_loss_of_one_batch(data: ShapesDetection, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = lab.create_model("detr_tiny", num_classes=4, **options, **SMALL).eval()
    with torch.no_grad():
        batch = collate_detection([data[0, index] for index in range(8)])
        # The images differ in their number of boxes, and some have more than there are queries.
        assert len(set(batch.targets.counts)) == 3
        whole = float(sum(batch_terms(net, net(normalize_images(batch.images)), batch.targets).values()))
        for sizes in ([8], [1] * 8, [3, 3, 2]):
            assert of_splits(net, data, sizes) == pytest.approx(whole, rel=1e-6)
        assert of_splits(net, data, [5, 3], filler=True) == pytest.approx(whole, rel=1e-6)


def test_a_mean_over_samples_names_them(data: ShapesDetection) -> None:
    """As any other normaliser: its share is the number of samples."""

    class Net:
        def totals(self, targets: Any) -> dict[str, float]:
            return {"num_boxes": float(sum(targets.counts)), "samples": float(len(targets.counts))}

        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            return images

        def loss(self, outputs: torch.Tensor, targets: Any) -> dict[str, Term]:
            means = outputs.mean((1, 2, 3))
            return {"boxes": Term(targets.boxes.sum(), "num_boxes"), "mean": Term(means.sum(), "samples")}

    batch = collate_detection([data[0, index] for index in range(8)])
    expected = float(batch.targets.boxes.sum() / len(batch.targets.boxes) + normalize_images(batch.images).mean())
    assert of_splits(Net(), data, [2, 5, 1]) == pytest.approx(expected, rel=1e-6)


def of_rank(rank: int) -> float:
    """Rank 0 has two images without a box, rank 1 one of area 3 and one of area 6."""

    def reduce(tensor: torch.Tensor, reduce_op: str) -> torch.Tensor:
        dist.all_reduce(tensor, op=getattr(dist.ReduceOp, reduce_op.upper()))
        return tensor

    areas = torch.tensor([[0.0, 0.0], [3.0, 6.0]])[rank]
    loss = SetLoss()
    totals = {"num_images": float(len(areas)), "num_boxes": float((areas > 0).sum())}
    loss.update({"boxes": Term(areas.sum(), "num_boxes")}, totals, torch.ones(2, dtype=torch.bool))
    return loss.compute(SimpleNamespace(world_size=2, strategy=SimpleNamespace(reduce=reduce)))


def test_a_rank_without_truth_says_what_the_others_say() -> None:
    assert run_distributed(of_rank, 2, timeout=60) == [4.5, 4.5]


def test_a_network_without_a_loss_has_none_that_is_not_finite() -> None:
    loss = SetLoss()
    assert loss.update({}, {}, torch.ones(2).bool())
    assert not loss.sums
    assert not loss.update({"a": Term(torch.tensor(torch.nan), "samples")}, {"samples": 2.0}, torch.ones(2).bool())


def test_terms_are_divided_each_by_its_own_normalizer() -> None:
    terms = {
        "a": Term(torch.tensor(6.0), "boxes"),
        "b": Term(torch.tensor(6.0), "samples"),
        "c": Term(torch.tensor(9.0), "boxes"),
        "d": Term(torch.tensor(5.0), "nothing"),
    }
    found = divided(terms, {"boxes": 3.0, "samples": 4.0, "nothing": 0.0, "unused": 7.0})
    assert list(found) == list(terms)
    assert {name: value.item() for name, value in found.items()} == {"a": 2.0, "b": 1.5, "c": 3.0, "d": 5.0}


def test_an_unknown_normalizer_is_named_with_its_term() -> None:
    terms = {"loss_a": Term(torch.tensor(1.0), "num_boxs")}
    words = "the loss's term 'loss_a' names the normaliser 'num_boxs'.*: it returns num_boxes, samples"
    with pytest.raises(ConfigError, match=words):
        divided(terms, {"num_boxes": 2.0, "samples": 1.0})
    with pytest.raises(ConfigError, match=words):
        SetLoss().update(terms, {"num_boxes": 2.0, "samples": 1.0}, torch.ones(1).bool())
