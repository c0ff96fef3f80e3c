"""Turn a checkpoint of any strategy and number of ranks into one safetensors file of the network's weights.

    python scripts/consolidate_checkpoint.py runs/NAME                      # its best.ckpt
    python scripts/consolidate_checkpoint.py runs/NAME/checkpoints/last.ckpt --out weights.safetensors

The file is written beside the checkpoint unless ``--out`` is given. Its keys are those of the network, so that
``lab.create_model(..., pretrained=FILE)``, ``model.pretrained=FILE`` and ``stage=test ckpt=FILE`` can load it. Its
header has the class names, the hyper-parameters (JSON), the optimizer step, the kind of weights (raw or averaged) and
the versions of their layout (``lab.registry.migrations``).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from lab.cli.refusing import refusing
from lab.errors import CheckpointError
from lab.system.files import sync

PREFIX = "model/net."


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint at ``path``, or best.ckpt if ``path`` is a run directory."""
    return path / "checkpoints" / "best.ckpt" if (path / "run.json").is_file() else path


def consolidate(source: Path, target: Path) -> tuple[int, int]:
    """Write the network's weights in a checkpoint to one file.

    Args:
        source: the folder of the checkpoint.
        target: the ``.safetensors`` file.

    Returns:
        The number of tensors, and the step of the checkpoint.

    Raises:
        CheckpointError: the checkpoint is missing or damaged, or the target is no ``.safetensors`` file in a folder.
    """
    from safetensors.torch import save_file

    from lab.checkpoint.format import CheckpointReader
    from lab.registry.migrated import recorded
    from lab.registry.migrations import RECORD
    from lab.training.stored import read_description

    if target.suffix != ".safetensors":
        raise CheckpointError(f"{target}: the target is written as .safetensors; name it so")
    if not target.parent.is_dir():
        raise CheckpointError(f"{target}: there is no folder {target.parent}")
    reader = CheckpointReader(source)
    reader.verify()
    stored = read_description(reader)
    spec = stored.arguments.get("spec")
    header = {
        "format": "pt",
        "step": str(reader.step),
        "task": stored.task,
        "weights_kind": stored.weights_kind,
        "class_names": json.dumps(spec.get("class_names", []) if isinstance(spec, dict) else []),
        "hyper_parameters": json.dumps(stored.arguments),
        RECORD: json.dumps(recorded(reader)),
    }
    weights = {name.removeprefix(PREFIX): reader.read(name) for name in reader.names(PREFIX)}
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        save_file(weights, fresh, metadata=header)
        sync(fresh)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
    return len(weights), reader.step


@refusing
def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="RUN_OR_CKPT", help="a run directory, or a checkpoint folder")
    parser.add_argument("--out", type=Path, help="the file to write; default: beside the checkpoint")
    arguments = parser.parse_args()
    source = find_checkpoint(arguments.source)
    target = arguments.out or source.with_suffix(".safetensors")
    count, step = consolidate(source, target)
    print(f"{count} tensors, {target.stat().st_size / 2**20:.1f} MiB, of step {step}: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
