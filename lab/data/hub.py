"""Datasets of the Hugging Face Hub by name, or in a local folder, read by ``datasets``; nothing that they bring is run.

What was downloaded once is read from the cache of ``datasets`` without a network.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.data.caches import cache_folder
from lab.errors import DataError

if TYPE_CHECKING:
    from datasets import DatasetDict


def load_splits(dataset: str, config: str | None, key: str = "data.path") -> DatasetDict:
    """Return the splits of a dataset.

    Args:
        dataset: its name at the Hub (``OWNER/NAME``), or a folder.
        config: the configuration (subset) of it; None: its only one.
        key: the key that names the dataset, for messages.

    Raises:
        DataError: it cannot be had, or read.
    """
    import datasets

    local = Path(dataset).expanduser()
    if not local.exists() and (dataset.startswith((".", "/", "~")) or dataset.count("/") > 1):
        raise DataError(f"{key}={dataset}: there is no such folder, and a name at the Hub is OWNER/NAME")
    cache_folder()
    show = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        if (local / "dataset_dict.json").is_file() or (local / "state.json").is_file():
            found = datasets.load_from_disk(str(local))
        else:
            never = {"trust_remote_code": False} if _could_run_code(datasets.load_dataset) else {}
            found = datasets.load_dataset(str(local) if local.exists() else dataset, config, **never)
    except (OSError, ValueError, TypeError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"{key}={dataset}: {_why(error)}") from error
    finally:
        if show:
            datasets.enable_progress_bars()
    return found if isinstance(found, datasets.DatasetDict) else datasets.DatasetDict({"train": found})


def _could_run_code(function: Any) -> bool:
    """Whether this version of ``datasets`` (before 4) can run a dataset's own script."""
    return "trust_remote_code" in inspect.signature(function).parameters


def _why(error: BaseException) -> str:
    """Return the reason of an error of ``datasets`` in one line, the innermost that says something."""
    import datasets

    if isinstance(error, datasets.exceptions.DatasetGenerationError) and error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    if isinstance(error, ConnectionError) or "offline" in text.lower() or "Couldn't reach" in text:
        return f"it is not in the cache, and the Hub cannot be reached ({text[:160]})"
    return f"it cannot be read: {text[:300] or type(error).__name__}"
