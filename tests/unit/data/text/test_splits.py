"""Where a corpus is cut: by hand, and as nanoGPT cuts Tiny Shakespeare."""

import pytest

from lab.data.text.documents import Extent, FileDocuments
from lab.data.text.splits import borders, cut_off
from lab.errors import DataError


def test_borders():
    assert borders(Extent(1_115_394, [1_115_394], 0), [0.1]) == [0, 1_003_854, 1_115_394]  # nanoGPT's int(n * 0.9)
    assert borders(Extent(1000, [1000], 0), [0.1, 0.05]) == [0, 850, 950, 1000]
    # ends of documents within a tenth of the smallest part: 895 is nearer than 10 characters to 900, 870 is not
    assert borders(Extent(1000, [500, 895, 1000], 0), [0.1]) == [0, 895, 1000]
    assert borders(Extent(1000, [500, 870, 1000], 0), [0.1]) == [0, 900, 1000]


def test_parts_of_a_corpus(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0123456789")
    train, val, test = cut_off(FileDocuments((path,)), [0.2, 0.1])
    assert ["".join(part) for part in (train, val, test)] == ["0123456", "78", "9"]
    path.write_text("01")
    with pytest.raises(DataError, match=r"its 2 characters are too few to hold shares of \[0.2, 0.1\] of them out"):
        cut_off(FileDocuments((path,)), [0.2, 0.1])
