"""Images of one size, against torchvision's presets."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.v2.functional import pil_to_tensor

from lab.data.images.resizing import sample_generator
from lab.ops.images import normalize_images
from lab.tasks.classification.data.transforms import EvalTransform, TrainTransform


@pytest.mark.parametrize("size", [(300, 260), (260, 300), (90, 40), (256, 256)])
def test_evaluation_is_torchvisions_preset(size: tuple[int, int]) -> None:
    """Its own classes do it: resize to 256, the middle 224, ImageNet's mean and deviation."""
    image = Image.effect_noise(size, 90).convert("RGB")
    found = normalize_images(EvalTransform((224, 224), 256)(image)[None])[0]
    torch.testing.assert_close(found, ImageClassification(crop_size=224)(image), rtol=0, atol=1e-5)  # worst 5e-7


def test_a_whole_image_is_resized_where_no_middle_is_asked_for() -> None:
    image = Image.effect_noise((40, 20), 90).convert("RGB")
    assert EvalTransform((10, 10))(image).shape == (3, 10, 10)
    assert torch.equal(EvalTransform((20, 40))(image), pil_to_tensor(image))


def test_windows_are_within_their_range_and_a_function_of_the_sample() -> None:
    transform = TrainTransform((32, 32))
    windows = [transform.window(100, 80, sample_generator(1, 0, index)) for index in range(300)]
    assert windows == [transform.window(100, 80, sample_generator(1, 0, index)) for index in range(300)]
    for top, left, height, width in windows:
        assert 0 <= top <= 100 - height
        assert 0 <= left <= 80 - width
        assert 0.07 < height * width / 8000 <= 1
        assert 0.72 < width / height < 1.39
    # The same distribution as torchvision's: means of areas over many draws.
    torch.manual_seed(0)
    theirs = [RandomResizedCrop.get_params(torch.zeros(3, 100, 80), [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(300)]
    areas = [sum(h * w for _, _, h, w in found) / 300 / 8000 for found in (windows, theirs)]
    assert areas[0] == pytest.approx(areas[1], abs=0.06)


def test_a_strip_has_a_window() -> None:
    image = torch.zeros(3, 2, 400, dtype=torch.uint8)
    assert TrainTransform((8, 8))(image, sample_generator(0, 0, 0)).shape == (3, 8, 8)
