"""Reading pickled arrays without running code: an unpickler that builds numpy arrays and plain containers only.

detectron2 keeps weights in ``.pkl`` files, dicts of numpy arrays. Pickle would call any function that a file names.
"""

from __future__ import annotations

import math
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

from lab.errors import CheckpointError

_GLOBAL = re.compile(r"(?:Unsupported global: GLOBAL|Unsupported class|Trying to (?:call|instantiate)) ([\w.]+)")
# The names in a pickle of numpy arrays: today's modules, those before numpy 2, and Python 2's form of bytes.
_CALLABLE = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
    ),
}


class _Array:
    """A placeholder for ``numpy.ndarray`` in a pickle; it is passed to ``_reconstruct`` and never called."""

    def __new__(cls, *_: Any) -> Any:
        raise CheckpointError("it makes an array of a size that it does not hold")


def _reconstruct(kind: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Return the empty array that is filled next; no memory is allocated for a stated size."""
    import numpy as np

    if kind is not _Array or math.prod(shape) != 0:
        raise CheckpointError("it makes an array of a size that it does not hold")
    return np.ndarray(shape, dtype)


class _ArrayUnpickler(pickle.Unpickler):
    """Builds arrays, dicts, lists, strings and numbers; refuses everything else by name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _CALLABLE:
            raise CheckpointError(f"it names {module}.{name}, and only numpy arrays and plain containers are read")
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("numpy", "ndarray"):
            return _Array
        if name == "_reconstruct":
            return _reconstruct
        return super().find_class(module, name)


def read_arrays(path: Path) -> Any:
    """Return the content of a pickle of numpy arrays, with the arrays unchanged.

    Raises:
        CheckpointError: it names anything else. Nothing of that is run.
        pickle.UnpicklingError: it is not a pickle.
    """
    with path.open("rb") as file:
        return _ArrayUnpickler(file, encoding="latin1").load()


def reason_of(error: BaseException) -> str:
    """Return in one line why a file could not be read, without torch's advice to disable ``weights_only``."""
    text = str(error)
    if "weights_only" in text or "Weights only" in text:
        named = _GLOBAL.search(text)
        return f"it names {named[1]}, and only plain data is read" if named else "it holds more than plain data"
    if isinstance(error, OSError) and error.strerror:  # without the path, which is in the message already
        text = error.strerror
    text = " ".join(text.split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
