"""What is an image's own of a padded batch."""

from __future__ import annotations

import torch

from lab.ops.images import own_cells, sizes_without_padding


def test_sizes_without_padding() -> None:
    images = torch.zeros(2, 3, 6, 8)
    assert sizes_without_padding(images, None).tolist() == [[6, 8], [6, 8]]
    mask = torch.zeros(2, 6, 8, dtype=torch.bool)
    mask[1, 4:], mask[1, :, 5:] = True, True
    assert sizes_without_padding(images, mask).tolist() == [[6, 8], [4, 5]]


def test_own_cells() -> None:
    cells, counts = own_cells(torch.tensor([[6.0, 8], [4, 5]]), (2, 4), (3, 2))
    assert counts.tolist() == [[3, 2], [2, 2]]  # the fifth column of pixels begins the second cell
    assert cells.sum(dim=(1, 2)).tolist() == [6, 4]
    assert not cells[1, 2].any()
