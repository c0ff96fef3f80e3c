"""The errors of Hugging Face's tokenizers that ``lab.compat.tokenizers`` turns into one line."""

import pytest
import tokenizers

from lab.compat.tokenizers import library_errors
from lab.errors import DataError


def test_library_errors():
    with pytest.raises(DataError, match=r"^file: "), library_errors("file"):
        tokenizers.Tokenizer.from_str("{}")
    with pytest.raises(DataError, match=r"^file: TextInputSequence must be str$"), library_errors("file"):
        tokenizers.Tokenizer(tokenizers.models.BPE({}, [])).encode("\ud800")
    # a panic: the prefix is longer than the pieces
    damaged = (
        '{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]], '
        '"continuing_subword_prefix": "xxxx"}}'
    )
    with pytest.raises(DataError, match=r"^file: "), library_errors("file"):
        tokenizers.Tokenizer.from_str(damaged)
    with pytest.raises(KeyboardInterrupt), library_errors("file"):
        raise KeyboardInterrupt
