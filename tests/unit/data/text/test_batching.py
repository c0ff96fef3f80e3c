"""Padding of token sequences."""

from lab.data.text.batching import pad_texts


def test_padded_at_the_right_or_left():
    ids, mask, types, lengths = pad_texts([[5, 6, 7], [8]], 9, types=[[0, 1, 1], [1]])
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert mask.tolist() == [[True, True, True], [True, False, False]]
    assert types.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert lengths == (3, 1)
    ids, mask, types, _ = pad_texts([[5, 6, 7], [8]], 9, left=True)
    assert ids.tolist() == [[5, 6, 7], [9, 9, 8]]
    assert mask.tolist()[1] == [False, False, True]
    assert types is None


def test_equal_lengths_need_no_mask_and_widths_are_rounded_up():
    assert pad_texts([[1, 2], [3, 4]], 0)[1] is None
    ids, mask, _, _ = pad_texts([[1, 2], [3]], 0, multiple=4)
    assert ids.shape == (2, 4)
    assert mask.sum() == 3
