"""Export every classifier and detector of the registry to ONNX once, and write the table in docs/export.md.

    python scripts/export_table.py --log table.jsonl               # all of them; goes on where a log ends
    python scripts/export_table.py --log table.jsonl vit_tiny_patch16_224 yolo_fastest_v2

A network has random weights and its default arguments. It is made with images of 64 pixels, or of those that it has to
have. With ``--largest N`` networks of more than N million parameters are left out, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "export.md"
MARKS = ("<!-- the table of scripts/export_table.py -->", "<!-- end of the table -->")
SIDE = 64
HEAD = ("| network | million parameters | written | worst error | batch | height, width |", "|---|---|---|---|---|---|")


def kinds_of_rooms() -> dict[str, str]:
    """Return the rooms of lab/models whose networks can be exported, each with its kind of problem."""
    import yaml

    from lab.registry.models import is_model, model_entry
    from lab.training.spec import task_spec

    rooms = {}
    for path in sorted((ROOT / "conf" / "model").glob("*.yaml")):
        model = yaml.safe_load(path.read_text(encoding="utf-8")).get("model", {})
        target, task = model.get("net", {}).get("_target_", ""), model.get("task", "")
        if task and is_model(target) and task_spec(task).export:
            rooms[model_entry(target).module.split(".")[2]] = task
    return rooms


def filled(net: Any) -> Any:
    """Return a network with noise where its own weights are all zero, and with batch norms that change something."""
    import torch

    for name, value in net.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(std=0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.ndim > 1 and value.is_floating_point() and not value.any():
            torch.nn.init.normal_(value, std=0.05)
    return net


def tried(name: str, task: str, largest: float) -> dict[str, Any]:
    """Return a row: export one network and say how it went."""
    import torch

    import lab
    from lab.errors import LabError
    from lab.export.description import ExportDescription
    from lab.export.exporting import export
    from lab.export.formats import ExportOrder
    from lab.export.network import export_network
    from lab.training.spec import task_spec

    row: dict[str, Any] = {"name": name, "task": task}
    torch.manual_seed(0)
    try:
        with torch.device("meta"):
            size = sum(each.numel() for each in lab.create_model(name).parameters()) / 1e6
        row["parameters"] = round(size, 2)
        if size > largest:
            return row | {"problem": f"not tried: more than {largest:g} million parameters"}
        net, kind = filled(lab.create_model(name)).eval(), task_spec(task).load_export()()
        side, order = SIDE, None
        for side in (SIDE, kind.inputs(net).size[0]):
            try:
                wrapped = export_network(net, kind, kind.inputs(net).statistics, (side, side))
            except (LabError, RuntimeError, AssertionError):
                continue
            about = ExportDescription(name, task, kind.outputs, (), (side, side))
            images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
            order = ExportOrder(wrapped, images, ("batch", "height", "width"), about)
            break
        if order is None:
            return row | {"problem": f"takes no images of {side} pixels"}
        with tempfile.TemporaryDirectory() as folder:
            report = export(order, "onnx", Path(folder) / f"{name}.onnx")
    except LabError as error:
        return row | {"problem": str(error)}
    found = report.description
    row |= {"side": side, "error": report.difference.largest, "seconds": report.seconds}
    return row | {"dynamic": list(found.dynamic), "fixed": dict(found.fixed), "ms": dict(report.milliseconds)}


def table_of(rows: Iterable[dict[str, Any]]) -> str:
    """Return the rows as a table of Markdown, with a list of the reasons below it."""
    lines, reasons = list(HEAD), []
    for row in rows:
        cells = [f"`{row['name']}`", f"{row.get('parameters', 0):.2f}"]
        if "problem" in row:
            cells += ["not tried" if row["problem"].startswith("not tried") else "no", "", "", ""]
            reasons.append(f"- `{row['name']}`: {row['problem']}")
        else:
            sides = "open" if "height" in row["dynamic"] else f"{row['side']}"
            cells += ["yes", f"{row['error']:.0e}", "open" if "batch" in row["dynamic"] else "fixed", sides]
            reasons += [f"- `{row['name']}`, {axis}: {reason}" for axis, reason in row["fixed"].items()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *reasons]) + "\n"


def write(rows: Iterable[dict[str, Any]]) -> None:
    """Put the table into the document, between its marks."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    DOCUMENT.write_text(f"{before}{MARKS[0]}\n\n{table_of(rows)}\n{MARKS[1]}{after}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    import lab
    from lab.registry.models import model_entry

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="registered networks; default: all")
    parser.add_argument("--log", type=Path, required=True, metavar="FILE", help="a row for each network, as JSON lines")
    parser.add_argument("--largest", type=float, default=1e9, metavar="N", help="million parameters")
    given = parser.parse_args(arguments)
    rooms = kinds_of_rooms()
    rooms_of = {name: model_entry(name).module.split(".")[2] for name in lab.list_models()}
    names = given.names or [name for name, room in rooms_of.items() if room in rooms]
    rows = [json.loads(line) for line in given.log.read_text().splitlines()] if given.log.exists() else []
    for name in names:
        if name in {row["name"] for row in rows}:
            continue
        rows.append(tried(name, rooms.get(rooms_of[name], "classification"), given.largest))
        with given.log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(rows[-1]) + "\n")
        print(json.dumps(rows[-1]), flush=True)
    write(sorted(rows, key=lambda row: (row["task"], [*rooms_of].index(row["name"]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
