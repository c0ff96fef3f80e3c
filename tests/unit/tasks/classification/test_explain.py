"""Heat maps on their way to pictures: of a task's predictions, in the part of the image that the network saw."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lab.tasks.classification.explain import as_levels, with_heat
from tests.unit.tasks.classification.test_task import make_task


def redness(picture: Image.Image) -> np.ndarray:
    """Return red minus blue of the right half: heat is red, cold is blue."""
    pixels = np.asarray(picture).astype(int)
    return (pixels[..., 0] - pixels[..., 2])[:, picture.width // 2 :]


def test_the_heat_lies_where_it_is_hot() -> None:
    heat = torch.zeros(4, 4)
    heat[0, 3] = 1
    shown = with_heat(torch.full((3, 40, 80), 128, dtype=torch.uint8), heat)
    assert shown.size == (160, 40)
    warm = redness(shown)
    assert np.unravel_index(warm.argmax(), warm.shape)[0] < 10
    assert np.unravel_index(warm.argmax(), warm.shape)[1] >= 60
    assert np.asarray(shown)[:, :80].min() == np.asarray(shown)[:, :80].max() == 128, "the image itself is left alone"
    assert with_heat(shown, None).tobytes() == shown.tobytes()
    assert np.array_equal(
        np.asarray(with_heat(torch.full((3, 40, 80), 128, dtype=torch.uint8), as_levels(heat))), shown
    )


@pytest.mark.parametrize(
    ("resize", "columns"), [(0, (0, 100)), (50, (25, 75)), (100, (37, 63))], ids=["whole", "the middle", "half of it"]
)
def test_the_heat_lies_on_what_the_network_saw(resize: int, columns: tuple[int, int]) -> None:
    """100 x 50: of the shorter side 50, the middle 50 x 50 are seen; of 100, the middle 25 x 25 of the original."""
    warm = redness(with_heat(Image.new("RGB", (100, 50)), torch.ones(3, 3), (50, 50), resize))
    hot = np.flatnonzero((warm > 0).any(0))
    assert (hot.min(), hot.max() + 1) == pytest.approx(columns, abs=1)


def test_predictions_carry_heat_if_asked() -> None:
    image = torch.randint(0, 255, (3, 32, 32), dtype=torch.uint8)
    assert make_task().predict(image).heat is None
    for target, settings, shape in (
        ("resnet18", {"explain": "auto"}, (2, 2)),  # the last map has one place, the one before it four
        ("resnet18", {"explain": "grad_cam", "explain_layer": "layer2"}, (4, 4)),
        ("vit_tiny_patch16_224", {"explain": "auto"}, (2, 2)),
    ):
        task = make_task(target, **settings).eval()
        heat = task.predict(image).heat
        assert heat is not None
        assert heat.shape == shape
        assert 0 <= float(heat.min()) <= float(heat.max()) <= 1
        assert not any(parameter.grad is not None for parameter in task.parameters())


def test_older_checkpoints_know_no_such_setting() -> None:
    task = make_task()
    del task.eval_settings["explain"], task.eval_settings["explain_layer"]
    assert task.predict(torch.zeros(3, 32, 32, dtype=torch.uint8)).heat is None
