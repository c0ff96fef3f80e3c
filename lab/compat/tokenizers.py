"""Errors of Hugging Face's tokenizers, version 0.22 to 0.23: it raises plain ``Exception``, and panics of Rust."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab.errors import DataError


@contextmanager
def library_errors(what: str) -> Iterator[None]:
    """Turn any error of the library into one line.

    A panic of Rust is a ``BaseException`` whose class, ``pyo3_runtime.PanicException``, cannot be imported.

    Args:
        what: the first words of the line.

    Raises:
        DataError: the library has failed.
    """
    try:
        yield
    except Exception as error:
        raise DataError(f"{what}: {str(error)[:300]}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise DataError(f"{what}: {str(error)[:300]}") from error
