"""Flips and shifts of batches, against torchvision image by image."""

from __future__ import annotations

import torch
from torchvision.transforms.v2 import functional as F

from lab.data.images.resizing import sample_generator
from lab.tasks.classification.data.moves import draw_moves, move_images


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


def test_draws_are_a_function_of_the_sample() -> None:
    drawn = [draw_moves(0.5, 4, sample_generator(0, 0, index)) for index in range(400)]
    assert drawn == [draw_moves(0.5, 4, sample_generator(0, 0, index)) for index in range(400)]
    assert 160 < sum(move[0] for move in drawn) < 240
    assert {move[1] for move in drawn} == {move[2] for move in drawn} == set(range(-4, 5))
    assert {move[3] for move in drawn} == {0}
    reflected = [draw_moves(0.5, 4, sample_generator(0, 0, index), reflect=True) for index in range(400)]
    assert reflected == [(*move[:3], 1) for move in drawn]
    assert draw_moves(0.0, 0, sample_generator(0, 0, 0)) == (0, 0, 0, 0)
