"""Print the tree of a network: parameters, buffers, shapes, multiplications, memory, share of time.

    python scripts/inspect_model.py model=resnet50 data=shapes --depth 2
    python scripts/inspect_model.py model=detr_tiny --json tree.json
    python scripts/inspect_model.py model=resnet18 data=shapes --diff model=resnet34

WORDS are those of run.py. The network is sized by the data and run on its first batch, of one sample unless
``data.batch_size`` says otherwise. Columns: MACs are multiplications with addition; kept is the memory that a backward
pass would need; time is the share of the forward pass's processor time, own the share without the modules inside.
``--diff`` takes further words, with which the network is built a second time, and lists the modules that differ.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.cli.refusing import refusing
from lab.errors import ConfigError
from lab.text import printable


def inspect(words: Sequence[str]) -> tuple[str, Any]:
    """Return the name of the model that the words compose, and its tree (``lab.inspection.costs.Node``).

    Raises:
        LabError: the words or the data are wrong.
    """
    import lab
    from lab.config.words import word_key
    from lab.experiment.assembly import build_data, build_task, give_plan, load_plan, prepare
    from lab.inspection.costs import measure
    from lab.system.ranks import Place

    given = {word_key(word) for word in words}
    few = [word for word in ("data.batch_size=1",) if word_key(word) not in given]
    config = lab.compose(*few, *words).to_dict()
    prepare(config)
    data = build_data(config)
    give_plan(data, load_plan(config, Place()))
    task = build_task(config, data, 1)
    if not list(task.net.parameters()):
        raise ConfigError(f"model={config['model']['name']} has no parameters and no modules to look at")
    batch = data.first_batch()
    return config["model"]["name"], measure(task.net, lambda: task.terms(batch))


def count(number: float) -> str:
    """Return a number in four digits at most, with its unit."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}" if number else "-"


def memory(number: int) -> str:
    """Return bytes in a readable unit."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} B" if number else "-"


def shapes(found: Sequence[Sequence[int]]) -> str:
    """Return the first shapes of a list, in a few characters."""
    return " ".join("x".join(map(str, shape)) or "()" for shape in found[:2]) + (" ..." if found[2:] else "")


def show(name: str, tree: Any, depth: int) -> None:
    """Print a tree as a table.

    Args:
        name: of the model.
        tree: of ``lab.inspection.costs.measure``.
        depth: levels below the network itself.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{printable(name)}: {tree.parameters:,} parameters, {tree.trainable:,} of them trained")
    for column in ("module", "class"):
        table.add_column(column, no_wrap=True)
    for column in ("params", "buffers", "in", "out", "MACs", "kept", "time", "own"):
        table.add_column(column, justify="right", no_wrap=True)
    whole = tree.seconds or 1.0
    for node in tree.walk():
        level = node.name.count(".") + 1 if node.name else 0
        if level > depth:
            continue
        label = "  " * level + (node.name.rpartition(".")[2] or "(network)")
        if node.same_as:
            table.add_row(label, node.kind, f"= {node.same_as}")
            continue
        row = [label, node.kind + (f" x{node.calls}" if node.calls > 1 else ""), count(node.parameters)]
        given = shapes(node.outputs) if node.calls or node.seconds else "not called"
        row += [count(node.buffers), shapes(node.inputs), given, count(node.macs)]
        row += [memory(node.kept_bytes), *(f"{100 * part / whole:.1f} %" for part in (node.seconds, node.own_seconds))]
        table.add_row(*row)
    console = Console(highlight=False)
    console.width = max(console.width, 160)
    console.print(table)
    print(f"forward {1e3 * tree.seconds:.1f} ms of processor time, modules called one by one")


def show_difference(names: Sequence[str], trees: Sequence[Any]) -> None:
    """Print the modules that differ, and the totals of both."""
    from rich.console import Console
    from rich.table import Table

    from lab.inspection.difference import differences

    marks = {"added": "+", "removed": "-", "changed": "~"}
    table = Table()
    for column in ("", "module", *map(printable, names)):
        table.add_column(column)
    for each in differences(*trees):
        table.add_row(marks[each.change], each.name or "(network)", each.left, each.right)
    for what, values in {
        "parameters": [f"{tree.parameters:,}" for tree in trees],
        "MACs": [count(tree.macs) for tree in trees],
        "kept": [memory(tree.kept_bytes) for tree in trees],
    }.items():
        table.add_row("", what, *values, style="bold")
    console = Console(highlight=False)
    console.width = max(console.width, 120)
    console.print(table)


def write(path: Path, names: Sequence[str], trees: Sequence[Any]) -> None:
    """Write the tree, or both and their differences, as JSON.

    Raises:
        ConfigError: the file cannot be written.
    """
    from lab.inspection.difference import differences

    content: dict[str, Any] = {"model": names[0], "tree": trees[0].to_plain()}
    if len(trees) == 2:
        content |= {"other_model": names[1], "other_tree": trees[1].to_plain()}
        content["differences"] = [vars(each) for each in differences(*trees)]
    try:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--json {path}: cannot be written ({error.strerror})") from None


@refusing
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORDS", help="as of run.py: model=resnet50 data=shapes")
    parser.add_argument("--depth", type=int, default=3, help="levels of modules in the table")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole tree")
    parser.add_argument("--diff", nargs="+", metavar="WORDS", help="words of a second network")
    given = parser.parse_args(arguments)
    built = [inspect(given.words)]
    if given.diff:
        built.append(inspect([*given.words, *given.diff]))
    names, trees = zip(*built, strict=True)
    if given.diff:
        show_difference(names, trees)
    else:
        show(names[0], trees[0], given.depth)
    if given.json is not None:
        write(given.json, names, trees)
        print(f"written   {given.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
