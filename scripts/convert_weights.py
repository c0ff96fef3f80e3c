"""Convert a file of weights between the layouts of keys that an architecture's ``weights.py`` knows.

    python scripts/convert_weights.py detr-r50-e632da11.pth detr.safetensors --model detr
    python scripts/convert_weights.py runs/NAME/checkpoints/best.ckpt hf.safetensors --model detr --to transformers

It reads any layout that ``lab.models.<model>.weights.convert`` recognises, and checkpoints of lab. It writes
safetensors in the layout ``--to``: ``lab`` (the default), or the name of one of the module's ``to_<layout>`` functions.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from lab.errors import CheckpointError, ConfigError, LabError, closest


def convert(source: Path, target: Path, model: str, layout: str) -> int:
    """Write ``source`` in another layout to ``target`` and return the number of tensors.

    Raises:
        ConfigError: the model has no converters, or none to this layout.
        CheckpointError: the source cannot be read, or the target is no ``.safetensors``.
    """
    from safetensors.torch import save_file

    from lab.registry.migrations import outdated
    from lab.registry.weights import read_weights

    try:
        weights = importlib.import_module(f"lab.models.{model}.weights")
    except ModuleNotFoundError:
        raise ConfigError(f"--model {model}: there is no lab/models/{model}/weights.py") from None
    layouts = ["lab", *(name.removeprefix("to_") for name in dir(weights) if name.startswith("to_"))]
    if layout not in layouts:
        raise ConfigError(f"--to {layout}: {model} knows {', '.join(layouts)}{closest(layout, layouts)}")
    if target.suffix != ".safetensors":
        raise CheckpointError(f"{target}: the target is written as .safetensors; name it so")
    read = read_weights(source)
    old = outdated(weights.__name__, read.versions) if read.versions is not None else None
    if old is not None:
        raise CheckpointError(
            f"{source}: its weights of {old[0]} are of version {old[1]}, an older one, which only their network can "
            "migrate: load them (stage=test ckpt=..., lab.create_model) and save them again"
        )
    state = weights.convert({key.removeprefix("net."): value for key, value in read.tensors.items()})
    if layout != "lab":
        state = getattr(weights, f"to_{layout}")(state)
    fresh = target.with_name(f".{target.name}.part")
    # safetensors refuses tensors that share memory, such as tied weights.
    save_file({key: value.clone().contiguous() for key, value in state.items()}, fresh)
    fresh.replace(target)
    return len(state)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--model", required=True, help="the folder in lab/models, such as detr")
    parser.add_argument("--to", default="lab", dest="layout")
    arguments = parser.parse_args()
    try:
        count = convert(arguments.source, arguments.target, arguments.model, arguments.layout)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{count} tensors written to {arguments.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
