"""Each clause of MixMatch, against the same step image by image."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import scipy.stats
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.structures.classification import (
    ClassificationBatch,
    ClassificationSpec,
    ClassificationTargets,
    Unlabelled,
)
from lab.tasks.classification.data.moves import move_images
from lab.tasks.classification.semi import methods, mixmatch
from lab.tasks.classification.semi.mixing import CHANCE_BITS
from lab.tasks.classification.task import ClassificationTask
from lab.training.terms import divided
from tests.unit.tasks.classification.settings import OPTIMIZER, SCHEDULER, SETTINGS

B, VIEWS, CLASSES = 6, 2, 4


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    """Everything is computed in float64, but the table of shares."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


LEARNING: dict[str, Any] = {"method": "mixmatch", "lambda_u": 75.0, "ramp_steps": 8}


def make_batch(seed: int = 0) -> ClassificationBatch:
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (2, B, 3, 8, 8), generator=draws, dtype=torch.uint8)
    moves = torch.randint(-2, 3, (1 + VIEWS, B, 4), generator=draws).to(torch.int16)
    moves[..., 0], moves[..., 3] = moves[..., 0] % 2, 1
    return ClassificationBatch(
        images=images[0],
        padding_mask=None,
        targets=ClassificationTargets(torch.randint(CLASSES, (B,), generator=draws)),
        image_ids=torch.arange(B),
        original_sizes=torch.full((B, 2), 8),
        valid=torch.ones(B, dtype=torch.bool),
        moves=moves[0],
        unlabelled=Unlabelled(
            images[1],
            moves[1:].transpose(0, 1).contiguous(),
            torch.randint(2**CHANCE_BITS, (B, 1 + VIEWS, 2), generator=draws),
        ),
    )


def make_task(learning: dict[str, Any] | None = None, step: int = 4) -> ClassificationTask:
    """A task of a tiny wide ResNet in float64, at an optimizer step."""

    class AtStep(ClassificationTask):
        step = 0

    AtStep.step = step  # type: ignore[assignment, method-assign]
    spec = ClassificationSpec(class_names=tuple("abcd"), input_shape=(3, 8, 8)).to_plain()
    torch.manual_seed(0)
    task = AtStep({"_target_": "wide_resnet_tiny"}, spec, OPTIMIZER, SCHEDULER, 100, SETTINGS, learning or LEARNING)
    for norm in task.net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight.data.uniform_(0.5, 1.5)
            norm.bias.data.uniform_(-0.5, 0.5)
    task.net.double()
    return task


class Plain:
    """The same step, written image by image from the authors' description; ``net`` is a copy of the task's."""

    def __init__(self, task: ClassificationTask, batch: ClassificationBatch) -> None:
        self.net, self.batch = copy.deepcopy(task.net), batch
        self.first = copy.deepcopy(task.net)  # keeps the statistics of the first interleaved batch alone
        other = batch.unlabelled
        assert other is not None
        self.parts = [task.normalized(move_images(batch.images, batch.moves)).double()]
        for view in range(VIEWS):
            self.parts.append(task.normalized(move_images(other.images, other.moves[:, view])).double())
        self.chances = other.chances

    def guess(self) -> Tensor:
        probabilities = sum(self.net(part).softmax(1) for part in self.parts[1:]) / VIEWS
        squares = probabilities.detach() ** 2
        return squares / squares.sum(1, keepdim=True)

    def mixed(self) -> tuple[list[Tensor], list[Tensor]]:
        guess, images, labels = self.guess(), torch.cat(self.parts), []
        labels = torch.cat([F.one_hot(self.batch.targets.labels, CLASSES).double(), *[guess] * VIEWS])
        keys = [(int(self.chances[i, part, 0]), part, i) for part in range(1 + VIEWS) for i in range(B)]
        partners = [part * B + i for _, part, i in sorted(keys)]
        mixed_images, mixed_labels = [], []
        for place, partner in enumerate(partners):
            chance = int(self.chances[place % B, place // B, 1]) / 2**CHANCE_BITS
            b = scipy.stats.beta.ppf(0.5 + chance / 2, 0.75, 0.75)
            share = max(b, 1 - b)
            mixed_images.append(share * images[place] + (1 - share) * images[partner])
            mixed_labels.append(share * labels[place] + (1 - share) * labels[partner])
        cut = [slice(part * B, (part + 1) * B) for part in range(1 + VIEWS)]
        return [torch.stack(mixed_images)[each] for each in cut], [torch.stack(mixed_labels)[each] for each in cut]

    def loss(self) -> tuple[Tensor, Tensor]:
        x, labels = self.mixed()
        third = B // 3
        batches = [list(part) for part in x]
        for part in (1, 2):
            for place in range(part * third, (part + 1) * third):
                batches[0][place], batches[part][place] = batches[part][place], batches[0][place]
        self.first(torch.stack(batches[0]))
        logits = [list(self.net(torch.stack(each))) for each in batches]
        for part in (1, 2):
            for place in range(part * third, (part + 1) * third):
                logits[0][place], logits[part][place] = logits[part][place], logits[0][place]
        cross = -(labels[0] * torch.stack(logits[0]).log_softmax(1)).sum(1).mean()
        found = torch.cat([torch.stack(each).softmax(1) for each in logits[1:]])
        return cross, ((torch.cat(labels[1:]) - found) ** 2).mean()  # over classes and views


def step_of(task: ClassificationTask, batch: ClassificationBatch) -> dict[str, Tensor]:
    _, terms = task.terms(batch)
    return divided(terms, task.totals(batch))


def differs(task: ClassificationTask, batch: ClassificationBatch) -> bool:
    """Whether a step's losses, gradients or statistics are other than those of the plain one."""
    plain = Plain(task, batch)
    cross, square = plain.loss()
    (cross + 75 * 0.5 * square).backward()
    found = step_of(task, batch)
    sum(found.values()).backward()  # type: ignore[union-attr]
    # Measured: losses 3e-8, gradients 2e-6 of their size, which is the table of shares (float32); statistics the same.
    try:
        torch.testing.assert_close(found["loss_x"], cross, rtol=1e-6, atol=0)
        torch.testing.assert_close(found["loss_u"], 75 * 0.5 * square, rtol=1e-6, atol=0)
        for one, other in zip(task.net.parameters(), plain.net.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-7)
        for one, other in zip(task.net.buffers(), plain.first.buffers(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)
    except AssertionError:
        return True
    return False


def test_a_step_is_that_of_the_description() -> None:
    """Guesses, mixing, interleaving, both losses, gradients, and whose statistics the batch norms keep."""
    assert not differs(make_task(), make_batch())


MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "one share for all": lambda patch: patch.setattr(
        mixmatch, "mix", lambda a, b, shares: torch.lerp(b, a, shares[0].to(a.dtype))
    ),
    "no sharpening": lambda patch: patch.setattr(mixmatch, "sharpen", lambda p, temperature: p),
    "no interleaving": lambda patch: patch.setattr(mixmatch, "interleave", lambda parts, firsts: parts),
    "statistics of all": lambda patch: patch.setattr(mixmatch, "without_statistics", lambda net: nullcontext()),
    "evaluation mode": lambda patch: patch.setattr(mixmatch, "without_statistics", _evaluating),
}


def _evaluating(net: nn.Module) -> Any:
    class Mode:
        def __enter__(self) -> None:
            net.eval()

        def __exit__(self, *error: object) -> None:
            net.train()

    return Mode()


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_comparison_sees(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[mutant](monkeypatch)
    assert differs(make_task(), make_batch())


def test_guesses_are_means_of_the_views_and_take_no_gradient() -> None:
    task = make_task()
    assert isinstance(task.method, mixmatch.MixMatch)
    logits = [torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]])]
    first = math.exp(2) / (math.exp(2) + 1)
    mean = (first + 0.5) / 2
    assert task.method.guess(logits)[0, 0].item() == pytest.approx(mean**2 / (mean**2 + (1 - mean) ** 2), rel=1e-6)
    # The labels of the unlabelled do not pull on the weights: with no weight on loss_u only mixed labels are left.
    batch = make_batch()
    plain = Plain(task, batch)
    cross, _ = plain.loss()
    cross.backward()
    step_of(task, batch)["loss_x"].backward()
    for one, other in zip(task.net.parameters(), plain.net.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-7)


def test_the_weight_rises_in_a_line_by_steps() -> None:
    """google-research: step 0 has none, and it is full after ``ramp_steps``, at 16384 for CIFAR-10."""
    assert [methods.ramp(step, 16384, 2**20) for step in (0, 4096, 16384, 99999)] == [0, 0.25, 1, 1]
    assert [methods.ramp(step, 0.4, 100) for step in (0, 20, 40, 41)] == [0, 0.5, 1, 1]
    assert methods.ramp(0, 0, 10) == 1
    batch = make_batch()
    losses = [step_of(make_task(step=step), batch)["loss_u"].item() for step in (0, 2, 8, 20)]
    assert losses[0] == 0
    assert losses[1] == pytest.approx(losses[2] / 4, rel=1e-6)
    assert losses[3] == losses[2]


def test_a_step_is_a_function_of_its_batch_and_says_how_sure_it_was() -> None:
    found = [step_of(make_task(), make_batch(seed)) for seed in (0, 0, 1)]
    assert found[0] == found[1]
    assert found[0] != found[2]
    task = make_task()
    step_of(task, make_batch())
    figures = {name: float(value) for name, value in divided(task.figures, task.totals(make_batch())).items()}
    assert figures["lambda_u"] == pytest.approx(37.5)
    assert 1 / CLASSES < figures["guess_confidence"] <= 1


def test_evaluation_has_the_supervised_loss() -> None:
    task, batch = make_task().eval(), make_batch()
    assert set(task.terms(batch)[1]) == {"loss_ce"}
