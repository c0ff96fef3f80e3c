"""A task of a tiny network: what it learns from, what it says, what it refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from PIL import Image
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.functional import InterpolationMode

import lab
from lab.errors import ConfigError
from lab.metrics.confusion import confusion_table
from lab.ops.images import normalize_images
from lab.structures.classification import ClassificationSpec
from lab.tasks.classification.data.shapes import ShapesDataModule
from lab.tasks.classification.task import ClassificationTask
from lab.training.stored import read_spec
from tests.unit.tasks.classification.settings import OPTIMIZER, SCHEDULER, SETTINGS


def make_task(target: str = "resnet18", spec: ClassificationSpec | None = None, **settings: Any) -> ClassificationTask:
    known = spec or ClassificationSpec(class_names=("a", "b", "c", "d"), input_shape=(3, 32, 32))
    return ClassificationTask({"_target_": target}, known.to_plain(), OPTIMIZER, SCHEDULER, 3, {**SETTINGS, **settings})


@pytest.fixture(scope="module")
def data() -> ShapesDataModule:
    return ShapesDataModule(batch_size=4, image_size=32, max_side=24, num_val=4, num_test=4, num_train=8)


def test_shapes_have_one_label(data: ShapesDataModule) -> None:
    batch = data.first_batch()
    assert batch.images.shape == (4, 3, 32, 32)
    assert batch.images.dtype == torch.uint8
    scene = data.dataset("train").scenes[0, 5]
    sample = data.dataset("train")[0, 5]
    assert len(scene.labels) == 1
    assert sample.label == scene.labels[0]
    assert torch.equal(sample.image, scene.image)
    labels = [data.dataset("train")[0, row].label for row in range(8)]
    assert len(set(labels)) > 1


def test_several_shapes_are_refused() -> None:
    data = ShapesDataModule(max_shapes=5)
    with pytest.raises(ConfigError, match=r"^data\.min_shapes=1, data\.max_shapes=5: an image of one class has one sh"):
        data.build("train")


def test_the_loss_is_the_tasks_own(data: ShapesDataModule) -> None:
    task, batch = make_task(), data.first_batch()
    logits, terms = task.terms(batch)
    expected = torch.nn.functional.cross_entropy(logits, batch.targets.labels, reduction="sum")
    torch.testing.assert_close(terms["loss_ce"].sum, expected)
    assert dict(task.totals(batch)) == {"num_images": 4.0}
    assert task.dry_run(batch) == "images (4, 3, 32, 32) -> logits (4, 4)"


def test_a_deployed_task_computes_the_same() -> None:
    task, images = make_task().eval(), torch.randn(1, 3, 32, 32)
    fast: Any = lab.deploy(task, images)
    assert len(fast.net.deployment.folded) == 20
    with torch.no_grad():  # worst measured 7.5e-7
        torch.testing.assert_close(fast.net(images), task.net(images), atol=1e-5, rtol=1e-5)
    fast.train()
    assert not fast.net.training


def test_a_network_without_logits_is_refused(data: ShapesDataModule) -> None:
    spec = ClassificationSpec(class_names=("a", "b", "c", "d"), input_shape=(3, 32, 32))
    net = {"_target_": "resnet18", "features_only": True}
    task = ClassificationTask(net, spec.to_plain(), OPTIMIZER, SCHEDULER, 3, SETTINGS)
    with pytest.raises(
        ConfigError, match=r"^ResNetFeatures gives a list for 4 images, and a classifier logits \(4, 4\)"
    ):
        task.terms(data.first_batch())


def test_what_best_is_the_best_of() -> None:
    assert (make_task().monitor, make_task().monitor_mode) == ("val/top_1", "max")
    task = make_task(monitor="loss")
    assert (task.monitor, task.monitor_mode) == ("val/loss", "min")
    assert (task.better("val/top_1"), task.better("test/ece")) == ("max", "min")
    with pytest.raises(ConfigError, match=re.escape("eval.monitor=top_5: of 4 classes the true one is always")):
        make_task(monitor="top_5")


def test_predictions_in_python(data: ShapesDataModule) -> None:
    task = make_task(top_k=2)
    images = torch.stack([data.dataset("val")[0, row].image for row in range(3)])
    found = task.predict(images)
    task.eval()
    with torch.no_grad():
        expected = task.net(normalize_images(images)).softmax(1)
    assert len(found) == 3
    for one, row in zip(found, expected, strict=True):
        assert len(one) == 2
        torch.testing.assert_close(one.scores, row.sort(descending=True).values[:2])
        assert one.names == tuple(task.class_names[label] for label in one.labels.tolist())
    assert len(task.predict(images[0]).names) == 2


def test_images_are_normalised_and_resized_as_the_data_says_also_from_a_checkpoint() -> None:
    half = (0.5, 0.5, 0.5)
    names, shape = ("a", "b", "c", "d"), (3, 24, 24)
    spec = ClassificationSpec(
        class_names=names, input_shape=shape, resize=28, interpolation="bicubic", mean=half, std=half
    )
    plain = spec.to_plain()
    assert read_spec(plain, ClassificationSpec) == spec
    old = {key: value for key, value in plain.items() if key not in ("interpolation", "mean", "std")}
    assert read_spec(old, ClassificationSpec).std == (0.229, 0.224, 0.225)  # what all used before
    task = make_task(spec=spec).eval()
    assert task.hparams["spec"]["mean"] == list(half)
    image = Image.effect_noise((60, 40), 90).convert("RGB")
    preset = ImageClassification(
        crop_size=24, resize_size=28, mean=half, std=half, interpolation=InterpolationMode.BICUBIC
    )
    with torch.no_grad():
        expected = task.net(preset(image)[None]).softmax(1)[0]
    torch.testing.assert_close(task.predict(image).scores, expected.sort(descending=True).values)


@pytest.mark.parametrize("wrong", [{"mean": [0.5]}, {"std": [0.5, 0.5, 0.0]}, {"interpolation": "lanczos"}])
def test_a_stored_normalisation_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    plain = ClassificationSpec(class_names=("a", "b"), input_shape=(3, 8, 8)).to_plain()
    with pytest.raises(ValueError, match=r"three colours|neither bilinear nor bicubic"):
        read_spec({**plain, **wrong}, ClassificationSpec)


def test_the_confusion_matrix_as_a_table() -> None:
    counts = torch.tensor([[3, 1], [0, 2]])
    assert confusion_table(counts, ("cat", "dog"), "images") == {
        "confusion": [
            {"true / predicted": "cat", "cat": 3, "dog": 1},
            {"true / predicted": "dog", "cat": 0, "dog": 2},
        ]
    }
    many = torch.eye(40, dtype=torch.int64) * 5
    many[3, 7], many[8, 2] = 2, 4
    names = tuple(f"n{number}" for number in range(40))
    assert confusion_table(many, names, "images") == {
        "confusions": [
            {"true": "n8", "predicted": "n2", "images": 4},
            {"true": "n3", "predicted": "n7", "images": 2},
        ]
    }
    many[:] = 1  # 1,560 mistakes, all as frequent: the first ones by row and column
    (rows,) = confusion_table(many, names, "images").values()
    assert len(rows) == 100
    assert [(row["true"], row["predicted"]) for row in rows[:3]] == [("n0", "n1"), ("n0", "n2"), ("n0", "n3")]
    assert (rows[-1]["true"], rows[-1]["predicted"]) == ("n2", "n22")
