"""Train a tokenizer on texts: WordPiece, byte-level BPE, or the characters that occur.

    python scripts/train_tokenizer.py corpus/ --kind wordpiece --vocab-size 30522 --out pieces
    python scripts/train_tokenizer.py a.txt 'rows/*.jsonl' --kind bpe --vocab-size 8192 --out bpe

Texts are read piece by piece (WordPiece reads them twice), so a corpus may be larger than memory; what is held are its
distinct words. The folder ``--out`` then has ``tokenizer.json``, and of WordPiece ``vocab.txt`` too, with the same ids;
``data.tokenizer=FOLDER`` trains with it. The same texts give the same files.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from lab.data.text.documents import FileDocuments, find_texts
from lab.data.text.progress import ShownTexts
from lab.data.text.tokenizer import TextTokenizer
from lab.data.text.training import BERT_TOKENS, STREAM_TOKENS, train_bpe, train_characters, train_wordpiece
from lab.errors import DataError, LabError
from lab.system.files import write_text

KINDS = ("wordpiece", "bpe", "characters")


def write_tokenizer(tokenizer: TextTokenizer, folder: Path) -> list[Path]:
    """Write a tokenizer's files; each appears whole or not at all.

    Args:
        tokenizer: any.
        folder: where to; it is made if it does not exist.

    Returns:
        The files.

    Raises:
        DataError: the folder cannot be written to.
    """
    written = [folder / "tokenizer.json"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(written[0], tokenizer.to_text())
        if tokenizer.kind == "wordpiece":
            tokens = [tokenizer.id_to_token(number) or "" for number in range(tokenizer.vocab_size)]
            write_text(folder / "vocab.txt", "\n".join(tokens) + "\n")
            written.append(folder / "vocab.txt")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written to: {error.strerror or error}") from error
    return written


def train(arguments: argparse.Namespace) -> TextTokenizer:
    """Return the tokenizer that the command line asks for.

    Raises:
        LabError: there is no text, or the vocabulary is too small.
    """
    documents = FileDocuments(find_texts(arguments.texts, key="texts"), arguments.column)
    special = arguments.special
    if arguments.kind == "characters":
        return train_characters(ShownTexts(documents, "characters of"), special or ())
    texts = ShownTexts(documents, "vocabulary of")
    if arguments.kind == "bpe":
        return train_bpe(texts, arguments.vocab_size, special or STREAM_TOKENS, arguments.min_frequency)
    return train_wordpiece(
        texts, arguments.vocab_size, not arguments.cased, special or BERT_TOKENS, arguments.min_frequency
    )


def main() -> None:
    """Train, write, and say what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", help="files, folders and patterns of .txt and .jsonl, also packed by gzip")
    parser.add_argument("--kind", choices=KINDS, default="wordpiece")
    parser.add_argument("--vocab-size", type=int, default=30522, help="the most tokens (not of characters)")
    parser.add_argument("--cased", action="store_true", help="WordPiece: keep capital letters and accents")
    parser.add_argument("--special", nargs="+", metavar="TOKEN", help="special tokens, the first ids")
    parser.add_argument("--min-frequency", type=int, default=2, help="the fewest occurrences of a pair that is joined")
    parser.add_argument("--column", default="text", help="the column of JSON lines with the text")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the files")
    arguments = parser.parse_args()
    start = time.monotonic()
    try:
        tokenizer = train(arguments)
        written = write_tokenizer(tokenizer, arguments.out)
    except LabError as error:
        sys.exit(f"error: {error}")
    print(f"{tokenizer.kind} of {tokenizer.vocab_size} tokens in {time.monotonic() - start:.1f} s")
    if arguments.kind != "characters" and tokenizer.vocab_size < arguments.vocab_size:
        print(f"fewer than --vocab-size={arguments.vocab_size}: no other pair occurs {arguments.min_frequency} times")
    for path in written:
        print(f"written   {path}")


if __name__ == "__main__":
    main()
