"""A bar on the terminal while text is read; nothing where there is no terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lab.data.text.documents import Documents, TextPiece


def shown(documents: Documents, what: str) -> Iterator[TextPiece]:
    """Yield the pieces of documents, and show how many bytes of them were read.

    Args:
        documents: the corpus.
        what: what is done with them, in words.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield from documents.pieces()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(f"{what} {documents.name}", total=documents.size or None)
        for text, ends in documents.pieces():
            yield text, ends
            bar.advance(task, len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")))


class ShownTexts(Iterable[str]):
    """The texts of documents in pieces, with a bar; they can be read several times.

    Args:
        documents: the corpus.
        what: what is done with them, in words.
    """

    def __init__(self, documents: Documents, what: str) -> None:
        self.documents, self.what = documents, what

    def __iter__(self) -> Iterator[str]:
        """Yield the pieces."""
        return (text for text, _ in shown(self.documents, self.what))
