"""Parameters and multiplications of every registered model, and the file that keeps them: docs/zoo.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zoo_parts.inputs import Example, example_of, kind_of, room_of

COLUMNS = ["kind", "room", "name", "parameters", "input", "gmacs"]
Row = dict[str, str]


def read(file: Path) -> dict[str, Row]:
    """Return the rows of a file by name; none if it does not exist."""
    if not file.is_file():
        return {}
    with file.open(newline="", encoding="utf-8") as source:
        return {row["name"]: row for row in csv.DictReader(source)}


def as_csv(rows: Mapping[str, Row]) -> str:
    """Return rows as CSV."""
    target = io.StringIO()
    writer = csv.DictWriter(target, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    return target.getvalue()


def count(name: str, known: Mapping[str, Row], recount: bool = False, check: bool = False) -> Row:
    """Return the row of a registered model.

    Args:
        name: of the model.
        known: rows counted before: the multiplications are taken from there if parameters and input are the same.
        recount: count them all the same.
        check: never count them: a changed network gets none.
    """
    example = example_of(name)
    row = {"kind": kind_of(name), "room": room_of(name), "name": name, "parameters": "", "input": "", "gmacs": ""}
    if example is None:
        return row
    net = _build(name, example)
    row |= {"parameters": str(sum(value.numel() for value in net.parameters())), "input": example.shown}
    before = known.get(name, row)
    same = all(before[key] == row[key] for key in ("parameters", "input")) and bool(before["gmacs"])
    if same and not recount:
        row["gmacs"] = before["gmacs"]
    elif not check:
        row["gmacs"] = f"{_macs(net, example) / 1e9:.6g}"
    return row


def _build(name: str, example: Example) -> Any:
    import torch

    import lab

    with torch.device(example.device), _without_values():
        return lab.create_model(name, **example.arguments).eval()


def _macs(net: Any, example: Example) -> float:
    """Return the multiplications of one pass, with gradients, without which fused attention goes uncounted."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from lab.ops.cpu import pytorch_kernels

    with torch.enable_grad(), pytorch_kernels(), FlopCounterMode(display=False) as counter:
        example.run(net)
    return counter.get_total_flops() / 2


@contextmanager
def _without_values() -> Iterator[None]:
    """Draw no initial weights on the meta device: torch needs longer to do nothing there than for all the rest."""
    import torch
    from torch.overrides import TorchFunctionMode

    drawing = {getattr(torch.Tensor, name) for name in ("normal_", "uniform_", "erfinv_", "mul_", "add_", "clamp_")}
    drawing |= {getattr(torch.nn.init, name) for name in vars(torch.nn.init) if name.endswith("_") and name[0] != "_"}

    class NoValues(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = args[0] if args else (kwargs or {}).get("tensor")
            if func in drawing and given.is_meta:
                return given
            return func(*args, **(kwargs or {}))

    with NoValues():
        yield
