"""Write a classifier or a detector for another engine, run it there at once, and compare.

    python scripts/export.py runs/NAME                                    # a run: its best checkpoint, to NAME.onnx
    python scripts/export.py model=yolo_fastest_v2 model.pretrained=FILE  # a model by the words of run.py
    python scripts/export.py runs/NAME --format torch_export --out net.pt2
    python scripts/export.py runs/NAME --size 320 320 --batch 1           # fixed, which some engines need
    python scripts/export.py runs/NAME --size 320 320 dynamic             # made with this size, others run as well

The file takes images (B, 3, H, W), float32, RGB from 0 to 1, and normalises them itself. It gives logits (B, K), or
boxes (B, N, 4) in pixels of the input, scores and labels (B, N), before suppression. Beside it stands FILE.json with
the class names, the way to resize and more. A file that computes something else than the network is not kept. Without
``data=`` among the words, a model has the classes that it has by default. See docs/export.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.errors import ConfigError, LabError
from lab.export.names import FORMATS
from lab.text import printable

if TYPE_CHECKING:
    from lab.experiment.exporting import ExportSubject
    from lab.export.exporting import ExportReport


def read_subject(words: Sequence[str]) -> ExportSubject:
    """Return the network of a run, of a checkpoint, or of the words of run.py.

    Raises:
        LabError: there is none.
    """
    import lab
    from lab.config.words import word_key
    from lab.experiment.exporting import task_subject, words_subject

    if words and "=" not in words[0]:
        if len(words) > 1:
            raise ConfigError(f"{words[1]}: no words beside {words[0]}, which is exported as it is")
        path = Path(words[0])
        if not path.exists():
            raise ConfigError(f"{path}: there is no such run or checkpoint; words are written KEY=VALUE")
        task: Any = lab.load(path)
        return task_subject(task, str(path))
    config = lab.compose(*words).to_dict()
    with_data = any(word_key(word).partition(".")[0] in ("data", "experiments") for word in words)
    return words_subject(config, with_data, " ".join(words))


def show(report: ExportReport, images: str) -> None:
    """Print what was written as a table."""
    from rich.console import Console
    from rich.table import Table

    found = report.description
    table = Table(show_header=False, title=f"{printable(found.name)} as {found.format}")
    rows = {
        "file": f"{report.num_bytes / 1e6:.2f} MB, written in {report.seconds:.1f} s",
        "open": ", ".join(found.dynamic) or "nothing",
        **{f"fixed {axis}": reason for axis, reason in found.fixed.items()},
        **{key: str(value) for key, value in found.details.items()},
        "compared": f"{images}: " + ", ".join("x".join(map(str, shape)) for shape in report.compared),
        **{f"worst error of {name}": f"{value:.1e}" for name, value in report.difference.worst.items()},
        **{f"ms an image, {name}": f"{value:.2f}" for name, value in report.milliseconds.items()},
    }
    if report.difference.moved:
        rows["boxes in another order"] = str(report.difference.moved)
    for name, value in rows.items():
        table.add_row(name, printable(value))
    Console(highlight=False).print(table)
    print(f"written   {report.path} and {report.path.name}.json")


def size_of(words: Sequence[str] | None, default: tuple[int, int]) -> tuple[tuple[int, int], bool]:
    """Return (height, width) of ``--size`` and whether other sizes shall be possible.

    Raises:
        ConfigError: it is neither H W, nor dynamic, nor both.
    """
    given = [] if words is None else list(words)
    dynamic = words is None or given[-1:] == ["dynamic"]
    sides = given[:-1] if given[-1:] == ["dynamic"] else given
    if sides and not (len(sides) == 2 and all(side.isdecimal() and int(side) > 0 for side in sides)):
        raise ConfigError(f"--size {' '.join(given)}: give H W, or H W dynamic, or dynamic")
    return (int(sides[0]), int(sides[1])) if sides else default, dynamic


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", metavar="RUN|WORDS", help="a run, a checkpoint, or model=... and more")
    parser.add_argument("--format", default="onnx", choices=list(FORMATS))
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: the run's or model's name in this folder")
    parser.add_argument("--size", nargs="+", metavar="H W", help="a fixed size; default: dynamic, at that of the data")
    parser.add_argument("--batch", default="dynamic", metavar="N", help="a fixed number of images; default: dynamic")
    parser.add_argument("--opset", type=int, metavar="N", help="of ONNX, 18 to 23; default 20")
    parser.add_argument("--images", metavar="DIR", help="images to compare on; default: of the data, or generated")
    given = parser.parse_args(arguments)
    try:
        run(given)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(given: argparse.Namespace) -> None:
    """Export as the parsed arguments say.

    Raises:
        LabError: something is wrong with the arguments, the network or the written file.
    """
    if given.batch != "dynamic" and not (given.batch.isdecimal() and int(given.batch)):
        raise ConfigError(f"--batch {given.batch}: give a number above 0, or dynamic")
    from lab.export.formats import make_format

    made = make_format(given.format)  # before the network is built
    from lab.experiment.exporting import images_for
    from lab.export.exporting import export
    from lab.export.formats import ExportOrder
    from lab.export.network import export_network

    subject = read_subject(given.words)
    size, open_size = size_of(given.size, subject.description.size)
    batch = 2 if given.batch == "dynamic" else int(given.batch)
    images, what = images_for(subject, size, batch, given.images)
    description = replace(subject.description, size=size)
    dynamic = (*(("batch",) if given.batch == "dynamic" else ()), *(("height", "width") if open_size else ()))
    name = Path(given.words[0]).name if "=" not in given.words[0] else description.name
    out = given.out or Path(f"{name}{made.suffix}")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}")
    net = export_network(subject.net, subject.kind, subject.inputs.statistics, size)
    options = {"opset": given.opset}
    show(export(ExportOrder(net, images, dynamic, description, options), given.format, out), what)


if __name__ == "__main__":
    sys.exit(main())
