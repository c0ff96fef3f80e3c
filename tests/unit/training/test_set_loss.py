"""val/loss does not depend on how the set is split, and is the network's own loss of the set as one batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

import lab
from lab.data.scenes.shapes import ShapesDataset
from lab.ops.images import normalize_images
from lab.tasks.detection.data.collate import collate_detection
from lab.training.set_loss import SetLoss
from tests.distributed import run_distributed

ALONE = SimpleNamespace(world_size=1)
SMALL = {"embed_dim": 16, "num_heads": 2, "feedforward_dim": 16, "num_queries": 2}


@pytest.fixture(scope="module")
def data() -> ShapesDataset:
    return ShapesDataset(split="val", num_samples=8, image_size=32, max_side=20)


def of_splits(net: Any, data: ShapesDataset, sizes: list[int], filler: bool = False) -> float:
    loss = SetLoss()
    start = 0
    for size in sizes:
        batch = collate_detection([data[0, index] for index in range(start, start + size)])
        loss.update(net, net(normalize_images(batch.images)), batch)
        start += size
    if filler:
        batch = collate_detection([data[0, 0]])
        batch.valid[:] = False
        loss.update(net, net(normalize_images(batch.images)), batch)
    return loss.compute(ALONE)


@pytest.mark.parametrize("options", [{}, {"classification": "softmax", "anchors": "learned"}])
def test_any_split_gives_the_loss_of_one_batch(data: ShapesDataset, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = lab.create_model("detr_tiny", num_classes=4, **options, **SMALL).eval()
    with torch.no_grad():
        batch = collate_detection([data[0, index] for index in range(8)])
        # The images differ in their number of boxes, and some have more than there are queries.
        assert len(set(batch.targets.counts)) == 3
        whole = float(sum(net.loss(net(normalize_images(batch.images)), batch.targets).values()))
        for sizes in ([8], [1] * 8, [3, 3, 2]):
            assert of_splits(net, data, sizes) == pytest.approx(whole, rel=1e-6)
        assert of_splits(net, data, [5, 3], filler=True) == pytest.approx(whole, rel=1e-6)


def test_term_without_normalizer_is_the_mean_over_images(data: ShapesDataset) -> None:
    class Net:
        def totals(self, targets: Any) -> dict[str, float]:
            return {"num_boxes": float(sum(targets.counts))}

        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            return images

        def loss(self, outputs: torch.Tensor, targets: Any, totals: Any) -> dict[str, torch.Tensor]:
            return {"boxes": targets.boxes.sum() / totals["num_boxes"], "mean": outputs.mean()}

    batch = collate_detection([data[0, index] for index in range(8)])
    expected = float(batch.targets.boxes.sum() / len(batch.targets.boxes) + normalize_images(batch.images).mean())
    assert of_splits(Net(), data, [2, 5, 1]) == pytest.approx(expected, rel=1e-6)


class Counts:
    """A net whose one term is a sum of areas over a number of boxes."""

    def totals(self, targets: torch.Tensor) -> dict[str, float]:
        return {"num_images": float(len(targets)), "num_boxes": float((targets > 0).sum())}

    def loss(self, outputs: None, targets: torch.Tensor, totals: Any) -> dict[str, torch.Tensor]:
        return {"boxes": targets.sum() / totals["num_boxes"]}


def of_rank(rank: int) -> float:
    """Rank 0 has two images without a box, rank 1 one of area 3 and one of area 6."""

    def reduce(tensor: torch.Tensor, reduce_op: str) -> torch.Tensor:
        dist.all_reduce(tensor, op=getattr(dist.ReduceOp, reduce_op.upper()))
        return tensor

    areas = torch.tensor([[0.0, 0.0], [3.0, 6.0]])[rank]
    batch = SimpleNamespace(targets=areas, num_samples=2, valid=torch.ones(2, dtype=torch.bool))
    loss = SetLoss()
    loss.update(Counts(), None, batch)
    return loss.compute(SimpleNamespace(world_size=2, strategy=SimpleNamespace(reduce=reduce)))


def test_a_rank_without_truth_says_what_the_others_say() -> None:
    assert run_distributed(of_rank, 2, timeout=60) == [4.5, 4.5]


def test_a_network_without_a_loss_has_none_that_is_not_finite() -> None:
    class Counting:
        def totals(self, targets: Any) -> dict[str, float]:
            return {}

        def loss(self, outputs: Any, targets: Any, totals: Any) -> dict[str, torch.Tensor]:
            return {}

    loss = SetLoss()
    assert loss.update(Counting(), None, SimpleNamespace(targets=None, num_samples=2, valid=torch.ones(2).bool()))
    assert not loss.sums
