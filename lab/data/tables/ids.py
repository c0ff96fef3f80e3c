"""Converts ids from text, without surrounding blanks, to numbers and names; recognises words for missing values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MISSING = ("nan", "NaN", "NAN", "null", "Null", "NULL", "None", "NA", "N/A", "#N/A", "<NA>", "NaT", "\\N", "(null)")
"""Words for missing values, as pandas, numpy, Python, R, Excel and databases write them."""

_WHOLE = r"^-?[0-9]+\.0+$"


def encode(
    column: Any, key: str, left_out: dict[str, int], noted: dict[str, int]
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Return the number of each row's id, in order of first appearance, and the names.

    Args:
        column: a pyarrow column of text.
        key: ``"session"`` or ``"item"``, for the counts.
        left_out: receives the number of ids that are words such as ``NULL``.
        noted: receives the number of ids with blanks around them, and of ids that look like another id.

    Returns:
        (E,) int64, -1 where there is no id, -2 where it is a word for a missing value; and the names.
    """
    import pyarrow.compute as pc

    codes, names = _dictionary(column)
    trimmed = pc.utf8_trim_whitespace(names)
    blank = pc.and_(pc.not_equal(trimmed, names), pc.not_equal(trimmed, "")).to_numpy(zero_copy_only=False)
    if blank.any():
        noted[f"with blanks around the {key}, taken without them"] = _count(codes, blank)
        renamed, names = _dictionary(trimmed)
        codes = np.append(renamed, -1)[codes]
    else:
        names = trimmed
    empty = pc.equal(names, "").to_numpy(zero_copy_only=False)
    words = _among(names, MISSING)
    if empty.any() or words.any():
        numbers = np.append(np.where(empty, -1, np.where(words, -2, np.arange(len(names)))), -1)
        codes = numbers[codes]
    if words.any():
        what = " or ".join(sorted(names.filter(words).to_pylist()))
        left_out[f"whose {key} reads {what}"] = int((codes == -2).sum())
    _note_twins(codes, names, key, noted)
    return codes, np.asarray(names.to_numpy(zero_copy_only=False), dtype=object)


def _note_twins(codes: NDArray[np.int64], names: Any, key: str, noted: dict[str, int]) -> None:
    """Count ids such as 1.0 if there is also an id 1: most likely both mean the same thing."""
    import pyarrow.compute as pc

    foreign = names.filter(pc.invert(pc.string_is_ascii(names)))
    composed = pc.utf8_normalize(foreign, form="NFC")
    if forms := len(foreign) - pc.count_distinct(composed).as_py():
        noted[f"ids of {key}s that look like another one, their accents written otherwise"] = forms
    whole = names.filter(pc.match_substring_regex(names, _WHOLE))
    if not len(whole):
        return
    plain = pc.replace_substring_regex(whole, r"\.0+$", "")
    twins = whole.filter(pc.is_in(plain, value_set=names))
    if len(twins):
        example = twins[0].as_py()
        rows = _count(codes, _among(names, twins.to_pylist()))
        noted[f"whose {key} is like {example} where {example.split('.')[0]} is another one"] = rows


def _among(names: Any, chosen: Any) -> NDArray[np.bool_]:
    import pyarrow
    import pyarrow.compute as pc

    found: NDArray[np.bool_] = pc.is_in(names, value_set=pyarrow.array(chosen, pyarrow.string())).to_numpy(
        zero_copy_only=False
    )
    return found


def _count(codes: NDArray[np.int64], chosen: NDArray[np.bool_]) -> int:
    """Return how many rows have one of the chosen ids."""
    return int(np.append(chosen, False)[np.maximum(codes, -1)].sum())


def _dictionary(column: Any) -> tuple[NDArray[np.int64], Any]:
    """Return the number of each value, -1 for null, and the values in order of first appearance."""
    import pyarrow

    if isinstance(column, pyarrow.ChunkedArray):  # joined first: unifying the dictionaries of many chunks takes longer
        if column.nbytes >= 1 << 31:
            column = column.cast(pyarrow.large_string())
        column = column.combine_chunks()
    encoded = column.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, encoded.dictionary.cast(pyarrow.string())
