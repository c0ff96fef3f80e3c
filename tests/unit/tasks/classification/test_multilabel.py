"""Images of several labels: figures against torchmetrics and a brute force, what is predicted, what is refused."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import torch
from pyarrow import parquet
from torch import Tensor
from torchmetrics.classification import (
    MultilabelAveragePrecision,
    MultilabelExactMatch,
    MultilabelF1Score,
    MultilabelPrecision,
    MultilabelRecall,
)

from lab import api
from lab.errors import ConfigError
from lab.structures.classification import ClassificationSpec, ClassificationTargets
from lab.tasks.classification.criterion import make_criterion
from lab.tasks.classification.data.shapes import ShapesMultilabelModule
from lab.tasks.classification.multilabel import MultilabelMetrics, class_columns, classes_measured, labels_above
from lab.tasks.classification.pictures import BAD, GOOD, INK, classification_panels
from lab.tasks.classification.task import ClassificationTask
from lab.training.classes import class_table
from lab.training.parquet_rows import ParquetRows, class_schema
from tests.data_factory import make_image
from tests.dist.harness import SMALL
from tests.unit.tasks.classification.settings import OPTIMIZER, SCHEDULER, SETTINGS

LEARNING: dict[str, Any] = {"loss": "cross_entropy", "label_smoothing": 0.0, "class_weights": None}
NAMES = ("a", "b", "c", "d", "e")
SPEC = ClassificationSpec(class_names=NAMES, input_shape=(3, 32, 32), multilabel=True)


def make_task(spec: ClassificationSpec, loss: str, monitor: str | None) -> ClassificationTask:
    net, settings = {"_target_": "shufflenet_v2_x0_5"}, {**SETTINGS, "monitor": monitor}
    return ClassificationTask(net, spec.to_plain(), OPTIMIZER, SCHEDULER, 3, settings, {"loss": loss})


@pytest.fixture(scope="module")
def case() -> tuple[Tensor, Tensor]:
    """Logits (90, 5) with many equal values, and labels; some images have none, some all."""
    generator = torch.Generator().manual_seed(5)
    labels = (torch.rand(90, 5, generator=generator) < torch.tensor([0.5, 0.3, 0.2, 0.7, 0.1])).float()
    logits = (torch.randn(90, 5, generator=generator) + labels).mul(4).round() / 4
    return logits, labels


def brute_force(scores: list[float], truth: list[bool]) -> float:
    """Average precision by its definition: precision at each threshold, times the recall that it adds."""
    average, before = 0.0, 0
    for threshold in sorted(set(scores), reverse=True):
        found = [true for score, true in zip(scores, truth, strict=True) if score >= threshold]
        average += sum(found) / len(found) * (sum(found) - before) / sum(truth)
        before = sum(found)
    return average


def test_figures_are_those_of_torchmetrics_and_of_the_definition(case: tuple[Tensor, Tensor]) -> None:
    logits, labels = case
    metrics = MultilabelMetrics(5)
    for part in (slice(60, 90), slice(0, 0), slice(0, 60)):  # in another order, and a batch of nothing
        metrics.update(logits[part], labels[part])
    values, behind = metrics.compute()
    pair = (logits.sigmoid(), labels.long())
    expected = {
        "map": MultilabelAveragePrecision(5)(*pair),
        "micro_f1": MultilabelF1Score(5, average="micro")(*pair),
        "macro_f1": MultilabelF1Score(5, average="macro")(*pair),
        "exact_match": MultilabelExactMatch(5)(*pair),
    }
    assert values == pytest.approx({key: float(value) for key, value in expected.items()}, abs=1e-6)  # worst 3e-8
    by_hand = [brute_force(logits[:, k].tolist(), (labels[:, k] > 0).tolist()) for k in range(5)]
    assert behind[:, 1].tolist() == pytest.approx(by_hand, abs=1e-6)
    assert values["map"] == pytest.approx(sum(by_hand) / 5, abs=1e-6)
    table = class_table(class_columns(behind), NAMES)
    for name, metric in (("precision", MultilabelPrecision), ("recall", MultilabelRecall), ("f1", MultilabelF1Score)):
        assert [row[name] for row in table] == pytest.approx(metric(5, average="none")(*pair).tolist(), abs=1e-6)
    assert [row["images"] for row in table] == labels.sum(0).long().tolist()
    assert 0.3 < values["map"] < 1


def test_classes_that_no_image_has_are_left_out_of_means(case: tuple[Tensor, Tensor]) -> None:
    logits, labels = case[0].clone(), case[1].clone()
    labels[:, 4], logits[:, 4] = 0, -9.0
    metrics, fewer = MultilabelMetrics(5), MultilabelMetrics(4)
    metrics.update(logits, labels)
    fewer.update(logits[:, :4], labels[:, :4])
    values, behind = metrics.compute()
    assert {**values, "exact_match": 0} == {**fewer.compute()[0], "exact_match": 0}
    assert classes_measured(behind) == {"map": 4, "macro_f1": 4}
    assert class_table(class_columns(behind), NAMES)[4] == {
        "class": "e",
        "images": 0,
        "ap": None,
        "precision": None,
        "recall": None,
        "f1": None,
    }
    assert all(math.isnan(value) for value in MultilabelMetrics(3).compute()[0].values())


def test_scores_within_0_and_1_are_logits_all_the_same() -> None:
    """torchmetrics would take them for probabilities: 0.3 is no hit at a threshold of 0.5, its sigmoid 0.57 is one."""
    metrics = MultilabelMetrics(2)
    metrics.update(torch.tensor([[0.3, 0.9]]), torch.tensor([[1.0, 1.0]]))
    assert metrics.compute()[0]["exact_match"] == 1


def test_labels_above_a_threshold() -> None:
    scores = torch.tensor([[0.6, 0.9, 0.5], [0.4, 0.3, 0.2]])
    first, second = labels_above(scores, 0.5, ("x", "y", "z"))
    assert (first.names, first.labels.tolist()) == (("y", "x"), [1, 0])
    assert (second.names, second.scores.tolist()) == ((), [])


def test_positive_weights_by_hand() -> None:
    spec = ClassificationSpec(class_names=("x", "y"), multilabel=True, class_counts=(2, 8), num_images=10)
    settings = {**LEARNING, "loss": "binary_cross_entropy", "positive_weights": "balanced"}
    criterion = make_criterion(settings, spec).train()
    logits, labels = torch.tensor([[0.2, -1.0]], dtype=torch.float64), torch.tensor([[1.0, 1.0]])
    expected = -(8 / 2) * math.log(1 / (1 + math.exp(-0.2))) - (2 / 8) * math.log(1 / (1 + math.exp(1.0)))
    targets = ClassificationTargets(labels)
    assert float(criterion(logits, targets)["loss_bce"].sum) == pytest.approx(expected, rel=1e-6)
    plain = make_criterion({**settings, "positive_weights": None}, spec)
    assert float(criterion.eval()(logits, targets)["loss_bce"].sum) == float(plain(logits, targets)["loss_bce"].sum)


@pytest.mark.parametrize(
    ("spec", "settings", "said"),
    [
        (SPEC, {"loss": "cross_entropy"}, r"loss=cross_entropy is for one label an image.*take .*binary_cross_entropy"),
        (SPEC, {"loss": "binary_cross_entropy", "positive_weights": [1.0]}, "has 1 numbers for 5 classes"),
        (SPEC, {"loss": "binary_cross_entropy", "positive_weights": "balanced"}, "does not tell how frequent"),
        (ClassificationSpec(class_names=NAMES), {"positive_weights": [1.0] * 5}, "are for .*binary_cross_entropy"),
    ],
)
def test_losses_that_do_not_fit_are_refused(spec: ClassificationSpec, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_criterion({**LEARNING, **settings}, spec)


@pytest.fixture(scope="module")
def data() -> ShapesMultilabelModule:
    return ShapesMultilabelModule(batch_size=6, image_size=32, max_side=20, num_train=12, num_val=4, num_test=4)


def test_the_labels_of_a_scene_are_its_shapes(data: ShapesMultilabelModule) -> None:
    dataset = data.dataset("train")
    counts = set()
    for index in range(12):
        shares = dataset[0, index].shares
        assert shares.nonzero().flatten().tolist() == sorted(set(dataset.scenes[0, index].labels.tolist()))
        counts.add(int(shares.sum()))
    assert counts >= {1, 2}
    assert data.first_batch().targets.labels.shape == (6, 4)
    assert data.spec.multilabel


def test_the_task_of_several_labels(data: ShapesMultilabelModule) -> None:
    task = make_task(data.spec, "binary_cross_entropy", None)
    assert (task.monitor, task.better("val/map"), task.better("val/loss")) == ("val/map", "max", "min")
    batch = data.first_batch()
    logits, terms = task.terms(batch)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.targets.labels, reduction="sum")
    torch.testing.assert_close(terms["loss_bce"].sum, expected)
    task.eval()
    numbers, found = task.predict_step(batch, 0)
    scores = task(batch).sigmoid()
    assert [len(one) for one in found] == (scores > 0.5).sum(1).tolist()
    assert len(numbers) == 6
    assert all(one.heat is None for one in found)
    task.eval_settings |= {"explain": "auto", "explain_layer": None}
    heat = [one.heat for one in task.predict_step(batch, 0)[1]]
    assert all(each is not None and each.ndim == 2 for each in heat), "of the most probable label"
    with pytest.raises(ConfigError, match=r"eval\.monitor=top_1: images of several labels are measured by map, mic"):
        make_task(data.spec, "binary_cross_entropy", "top_1")
    with pytest.raises(ConfigError, match=r"eval\.monitor=map: images of one label are measured by top_1"):
        make_task(ClassificationSpec(class_names=NAMES), "cross_entropy", "map")


def test_panels_show_sets(data: ShapesMultilabelModule, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(data.spec, "binary_cross_entropy", None)
    batch = data.first_batch()
    batch.targets.labels = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]] * 3)
    outputs = torch.tensor([[3.0, -3.0, 3.0, -3.0], [-3.0] * 4] * 3)
    drawn: list[Any] = []
    monkeypatch.setattr("lab.tasks.classification.pictures.captioned", lambda image, lines: drawn.append(lines))
    assert len(list(classification_panels(task, outputs, batch, 2))) == 2
    assert drawn == [
        [("ellipse", GOOD), ("wrong: triangle", BAD), ("missed: rectangle", INK)],
        [("-", GOOD)],
    ]


def test_parquet_is_typed_and_written_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.training.parquet_rows.ROWS_AT_ONCE", 2)
    rows = [[f"{n}.png", ["x", "y"][:n], [0.5, 0.25][:n]] for n in range(3)]
    with ParquetRows(tmp_path / "lists.parquet", class_schema({"file": pyarrow.string()}, 0, lists=True)) as table:
        for row in rows:
            table.add(row)
    read = parquet.read_table(tmp_path / "lists.parquet")
    assert list(map(str, read.schema.types)) == ["string", "list<element: string>", "list<element: float>"]
    assert [list(row.values()) for row in read.to_pylist()] == rows
    with ParquetRows(tmp_path / "empty.parquet", class_schema({"file": pyarrow.string()}, 1)):
        pass
    empty = parquet.read_table(tmp_path / "empty.parquet")
    assert (empty.num_rows, list(map(str, empty.schema.types))) == (0, ["string", "string", "float"])


def test_a_command_trains_and_predicts_several_labels(tmp_path: Path) -> None:
    words = [word for word in SMALL if not word.startswith(("trainer.max", "trainer.val"))]
    words += ["model=shufflenet_v2_x0_5", "data=shapes_multilabel", "model.learning.loss=binary_cross_entropy"]
    words += ["trainer.max_steps=2", "trainer.val_every_n_steps=2", f"paths.runs_dir={tmp_path}", "eval.threshold=0.3"]
    run = api.fit(*words)
    assert {"val/map", "test/micro_f1", "test/map_classes_measured"} <= run.result.keys()
    best = run.path / "checkpoints" / "best.ckpt"
    pictures = run.path / "inputs"
    pictures.mkdir()
    for index in (0, 1):
        make_image(20, 30, 90 * index).save(pictures / f"{index}.png")
    api.predict(str(best), str(pictures))
    folder = run.path / "predict-best"
    table = parquet.read_table(folder / "predictions.parquet").to_pylist()
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["file"]).name for row in table] == ["0.png", "1.png"]
    assert [row["labels"] for row in rows] == ["|".join(row["labels"]) for row in table]
    assert all(score > 0.29999 for row in table for score in row["scores"])
