"""Prints what ``lab new`` has written: a tree of the files and the next commands."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from lab.scaffold.making import Made
from lab.text import printable


def show(made: Made, dry_run: bool = False) -> None:
    """Print the files as a tree, and the commands that come next.

    Args:
        made: what is shown.
        dry_run: say that nothing was written.
    """
    console = Console(highlight=False, soft_wrap=True)
    console.print(tree_of(made))
    if dry_run:
        console.print(f"{len(made.files)} files would be written; nothing was (--dry-run)")
        return
    console.print(f"{len(made.files)} files written. Next:")
    width = max(len(command) for command, _ in made.next)
    for command, purpose in made.next:
        console.print(Text(f"  {printable(command):<{width}}  ").append(f"# {purpose}", style="dim"))


def tree_of(made: Made) -> Tree:
    """Return the files as a tree, each with its number of lines."""
    tree = Tree(Text(printable(made.root), style="bold"))
    folders = {"": tree}
    for path, text in sorted(made.files.items()):
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder not in folders:
                folders[folder] = folders["/".join(parts[: depth - 1])].add(Text(f"{parts[depth - 1]}/", style="bold"))
        lines = text.count("\n")
        folders["/".join(parts[:-1])].add(
            Text(parts[-1]).append(f"  {lines} lines" if lines else "  empty", style="dim")
        )
    return tree
