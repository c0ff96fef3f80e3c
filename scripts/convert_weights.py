"""Convert a file of weights between the layouts of keys that an architecture's ``weights.py`` knows.

    python scripts/convert_weights.py detr-r50-e632da11.pth detr.safetensors --model detr
    python scripts/convert_weights.py runs/NAME/checkpoints/best.ckpt hf.safetensors --model detr --to transformers
    python scripts/convert_weights.py hf.safetensors layers --model bloom --to megatron --ranks 2

It reads any layout that ``lab.models.<model>.weights.convert`` recognises, shards too, and checkpoints of lab;
``--from`` names one of the module's ``from_<layout>`` functions, for a file that does not tell its layout. It writes
safetensors in the layout ``--to``: ``lab`` (the default), or the name of one of the ``to_<layout>`` functions. A layout
of several files (the module has ``split_<layout>``) is written into a folder.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lab.cli.refusing import refusing
from lab.errors import CheckpointError, ConfigError, closest


def convert(source: Path, target: Path, model: str, layout: str, ranks: int = 1, given: str | None = None) -> int:
    """Write ``source`` in another layout to ``target`` and return the number of tensors.

    Args:
        source: a file or folder of weights.
        target: a file, or a folder for a layout of several files.
        model: the folder in ``lab/models``.
        layout: what to write.
        ranks: for how many ranks of a tensor group a layout of several files is split.
        given: the layout of ``source``; None: it is recognised.

    Raises:
        ConfigError: the model has no converters, or none to this layout.
        CheckpointError: the source cannot be read, or the target is no ``.safetensors``.
    """
    from safetensors.torch import save_file

    from lab.registry.migrations import outdated
    from lab.registry.shards import join, open_shards
    from lab.registry.weights import Weights, read_weights, told

    try:
        weights = importlib.import_module(f"lab.models.{model}.weights")
    except ModuleNotFoundError:
        raise ConfigError(f"--model {model}: there is no lab/models/{model}/weights.py") from None
    layouts = ["lab", *(name.removeprefix("to_") for name in dir(weights) if name.startswith("to_"))]
    if layout not in layouts:
        raise ConfigError(f"--to {layout}: {model} knows {', '.join(layouts)}{closest(layout, layouts)}")
    sources = [name.removeprefix("from_") for name in dir(weights) if name.startswith("from_")]
    if given is not None and given not in sources:
        raise ConfigError(f"--from {given}: {model} knows {', '.join(sources)}{closest(given, sources)}")
    split = getattr(weights, f"split_{layout}", None)
    if split is None and target.suffix != ".safetensors":
        raise CheckpointError(f"{target}: the target is written as .safetensors; name it so")
    if split is None and ranks != 1:
        raise ConfigError(f"--ranks {ranks}: the layout {layout} is one file, which no ranks share")
    if split is not None and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(f"{target}: the target is an empty folder, or one that does not exist yet")
    shards = open_shards(source, weights)
    read = read_weights(source) if shards is None else Weights(join(shards), None)
    old = outdated(weights.__name__, read.versions) if read.versions is not None else None
    if old is not None:
        raise CheckpointError(
            f"{source}: its weights of {old[0]} are of version {old[1]}, an older one, which only their network can "
            "migrate: load them (stage=test ckpt=..., lab.create_model) and save them again"
        )
    read_as: Any = told(weights.convert, read.meta) if given is None else getattr(weights, f"from_{given}")
    state = read_as({key.removeprefix("net."): value for key, value in read.tensors.items()})
    if split is not None:
        return _write_files(target, split(state, ranks))
    if layout != "lab":
        state = getattr(weights, f"to_{layout}")(state)
    fresh = target.with_name(f".{target.name}.part")
    # safetensors refuses tensors that share memory, such as tied weights.
    save_file({key: value.clone().contiguous() for key, value in state.items()}, fresh)
    fresh.replace(target)
    return len(state)


def _write_files(folder: Path, files: Iterable[tuple[str, dict[str, Any]]]) -> int:
    """Write torch's files into a folder that appears when it is complete; return the number of tensors."""
    import torch

    from lab.system.files import remove

    fresh, count = folder.with_name(f".{folder.name}.part"), 0
    remove(fresh)  # of a conversion that failed
    fresh.mkdir(parents=True)
    for name, tensors in files:
        torch.save({key: value.clone() for key, value in tensors.items()}, fresh / name)
        count += len(tensors)
    fresh.replace(folder)
    return count


@refusing
def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--model", required=True, help="the folder in lab/models, such as detr")
    parser.add_argument("--to", default="lab", dest="layout")
    parser.add_argument("--from", dest="given", help="the layout of the source, if it does not tell it")
    parser.add_argument("--ranks", type=int, default=1, help="of a tensor group, for Megatron's files")
    arguments = parser.parse_args()
    given = (arguments.model, arguments.layout, arguments.ranks, arguments.given)
    count = convert(arguments.source, arguments.target, *given)
    print(f"{count} tensors written to {arguments.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
