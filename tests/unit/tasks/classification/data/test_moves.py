"""Flips and shifts of batches, against torchvision image by image."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as F

from lab.compat.torch import fake_tensors
from lab.data.images.resizing import sample_generator
from lab.tasks.classification.data.moves import draw_moves, move_images, moved_by_pixels


def test_moves_are_those_of_a_flip_and_a_crop_of_the_padded_image() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 5, 7), dtype=torch.uint8, generator=generator)
    moves = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 2, -1], [1, -2, 2], [1, 1, 0], [0, -4, 4]], dtype=torch.int16)
    for reflected, mode in enumerate(("constant", "reflect")):
        moved = move_images(images, torch.cat([moves, torch.full((6, 1), reflected)], 1))
        for image, (mirrored, down, right), found in zip(images, moves.tolist(), moved, strict=True):
            plain = F.horizontal_flip(image) if mirrored else image
            padded = F.pad(plain, [4, 4, 4, 4], padding_mode=mode)
            assert torch.equal(found, F.crop(padded, 4 - down, 4 - right, 5, 7)), mode


@pytest.mark.parametrize("reflected", [0, 1, None])
@pytest.mark.parametrize(("size", "shift"), [((32, 32), 4), ((5, 7), 4), ((6, 2), 1), ((1, 1), 0), ((4, 4), 9)])
def test_a_cpu_gives_the_bytes_of_the_device(
    size: tuple[int, int], shift: int, reflected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are copied, as on a CPU, against an index for each pixel; also shifts beyond a side."""
    draws = torch.Generator().manual_seed(shift)
    images = torch.randint(0, 256, (5, 3, *size), dtype=torch.uint8, generator=draws)
    moves = torch.randint(-shift, shift + 1, (40, 4), generator=draws)
    moves[:, 0] = torch.randint(0, 2, (40,), generator=draws)
    moves[:, 3] = torch.randint(0, 2, (40,), generator=draws) if reflected is None else reflected
    sources = torch.randint(0, 5, (40,), generator=draws)
    expected = moved_by_pixels(images[sources], moves)
    found = move_images(images, moves.to(torch.int16), sources)
    assert torch.equal(found, expected)
    assert torch.equal(move_images(images[sources].transpose(2, 3), moves), moved_by_pixels(images[sources].mT, moves))
    if reflected is not None and shift < min(size):
        monkeypatch.setattr("lab.tasks.classification.data.moves.moved_by_pixels", None)
        assert torch.equal(move_images(images, moves, sources), expected)  # by rows, indeed


@pytest.mark.parametrize("mutant", ["not mirrored", "edge repeated", "black"])
def test_the_comparison_sees(mutant: str) -> None:
    images = torch.randint(0, 256, (8, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    moves = torch.tensor([[1, 0, 2, 1]] * 8)
    changed = moves.clone()
    if mutant == "not mirrored":
        changed[:, 0] = 0
    elif mutant == "edge repeated":
        changed[:, 2] += 1
    else:
        changed[:, 3] = 0
    assert not torch.equal(move_images(images, changed), moved_by_pixels(images, moves))


def test_a_planner_moves_images_without_bytes() -> None:
    """``check=true`` counts the memory of a step of MixMatch on fake tensors, beside real images."""
    images, moves = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([[1, 0, 1, 1]] * 3)
    with fake_tensors():
        moved = move_images(images, moves, torch.tensor([0, 1, 1]))
    assert type(moved) is not torch.Tensor
    assert moved.shape == (3, 3, 4, 4)


def test_draws_are_a_function_of_the_sample() -> None:
    drawn = [draw_moves(0.5, 4, sample_generator(0, 0, index)) for index in range(400)]
    assert drawn == [draw_moves(0.5, 4, sample_generator(0, 0, index)) for index in range(400)]
    assert 160 < sum(move[0] for move in drawn) < 240
    assert {move[1] for move in drawn} == {move[2] for move in drawn} == set(range(-4, 5))
    assert {move[3] for move in drawn} == {0}
    reflected = [draw_moves(0.5, 4, sample_generator(0, 0, index), reflect=True) for index in range(400)]
    assert reflected == [(*move[:3], 1) for move in drawn]
    assert draw_moves(0.0, 0, sample_generator(0, 0, 0)) == (0, 0, 0, 0)
