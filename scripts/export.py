"""Write a classifier or a detector for another engine, run it there at once, and compare.

    python scripts/export.py runs/NAME                                    # a run: its best checkpoint, to NAME.onnx
    python scripts/export.py model=yolo_fastest_v2 model.pretrained=FILE  # a model by the words of run.py
    python scripts/export.py runs/NAME --format torch_export --out net.pt2
    python scripts/export.py runs/NAME --size 320 320 --batch 1           # fixed, which some engines need
    python scripts/export.py runs/NAME --size 320 320 dynamic             # made with this size, others run as well
    python scripts/export.py runs/NAME --int8 --calibrate 200 --evaluate test
    python scripts/export.py runs/NAME --format ncnn --layout published --half

The file takes images (B, 3, H, W), float32, RGB from 0 to 1, and normalises them itself. It gives logits (B, K), or
boxes (B, N, 4) in pixels of the input, scores and labels (B, N), before suppression or with ``--nms`` after it; for
ncnn a detector's maps. Beside it stands FILE.json with the class names, the way to resize and more. A file that
computes something else than the network is not kept. ``--int8`` writes a second file, NAME.int8.onnx; ``--evaluate``
measures network and files by the metrics of the task. Without ``data=`` among the words, a model has the classes that
it has by default. See docs/export.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.cli.refusing import refusing
from lab.errors import ConfigError, LabError
from lab.export.names import FORMATS
from lab.system.files import write_text
from lab.text import printable

if TYPE_CHECKING:
    from torch import Tensor

    from lab.data.datamodule import DataModule
    from lab.experiment.exporting import ExportSubject
    from lab.export.description import ExportDescription
    from lab.export.exporting import ExportReport
    from lab.training.task import Task

    Parts = tuple[Task, DataModule]
    Written = tuple[Path, ExportDescription]


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
        return task_subject(task, str(path), images_of(path))
    config = lab.compose(*words).to_dict()
    with_data = any(word_key(word).partition(".")[0] in ("data", "experiments") for word in words)
    return words_subject(config, with_data, " ".join(words))


def images_of(path: Path) -> Tensor | None:
    """Return images of the data of a run; None, after a line that says why, where there are none at hand."""
    import lab
    from lab.experiment.exporting import data_images

    if not (path / "run.json").exists():
        return None
    try:
        config = lab.compose("stage=test", ckpt=str(lab.read_run(path).best))
        return data_images(config.to_dict())
    except LabError as error:
        print(f"note: compared on other images than those of the run, whose data is not at hand: {error}")
        return None


def show(report: ExportReport, images: str) -> None:
    """Print what was written as a table."""
    found = report.description
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
    show_rows(f"{found.name} as {found.format}", rows)
    print(f"written   {report.path} and {report.path.name}.json")


def read_data(words: Sequence[str]) -> tuple[Task, DataModule]:
    """Return the task and the data of a run, of a checkpoint with its run, or of the words of run.py.

    Raises:
        LabError: there is no data.
    """
    import lab
    from lab.config.words import word_key
    from lab.experiment.measuring import measured_parts

    if "=" not in words[0]:
        path = Path(words[0])
        found = lab.read_run(path).best if (path / "run.json").exists() else path
        return measured_parts(lab.compose("stage=test", ckpt=str(found)).to_dict())
    if not any(word_key(word).partition(".")[0] in ("data", "experiments") for word in words):
        raise ConfigError("no data: add data=NAME to the words")
    return measured_parts(lab.compose(*words).to_dict())


def write_int8(given: argparse.Namespace, report: ExportReport, parts: Parts | None) -> tuple[Path, ExportDescription]:
    """Write a file of 8-bit integers beside a file of ONNX, and print what it is.

    Raises:
        LabError: there are no images, or nothing to quantise.
    """
    from lab.experiment.exporting import images_in
    from lab.experiment.measuring import training_images
    from lab.export.exporting import interleaved
    from lab.export.formats import make_format
    from lab.export.int8 import quantize

    about, target = report.description, report.path.with_suffix(".int8.onnx")
    if given.calibrate.isdecimal():
        assert parts is not None
        images, what = training_images(parts[1], int(given.calibrate), about.size), "images of the training set"
    else:
        images, what = images_in(given.calibrate, about.size), f"images of {given.calibrate}"
    found = quantize(report.path, target, images)
    about = replace(about, details={**about.details, "int8": {"calibrated_on": found.images, "floats": found.floats}})
    write_text(target.with_name(f"{target.name}.json"), about.to_json())
    engine = make_format("onnx")
    runners = {name: engine.load(path, about) for name, path in (("float32", report.path), ("int8", target))}
    times = interleaved(runners, images[: report.batch])
    rows = {
        "file": f"{found.num_bytes / 1e6:.2f} MB, {report.num_bytes / found.num_bytes:.1f} times smaller",
        "calibrated on": f"{found.images} {what}, in {found.seconds:.1f} s",
        "operators with weights": f"{found.quantized} of integers, {len(found.floats)} of float32",
        **{f"ms an image, {name}": f"{value:.2f}" for name, value in times.items()},
    }
    show_rows(f"{about.name} with 8-bit integers", rows)
    print(f"written   {target} and {target.name}.json")
    return target, about


def evaluate(given: argparse.Namespace, parts: Parts, subject: ExportSubject, files: Mapping[str, Written]) -> None:
    """Measure the network and its files on the data, and print the metrics beside one another."""
    from lab.experiment.measuring import measure
    from lab.export.formats import make_format

    task, data = parts
    engine = make_format(given.format)
    nets = {"network": task.net}
    for name, (path, about) in files.items():
        nets[name] = subject.kind.engine(engine.load(path, about), subject.inputs.statistics, about)
    found = {name: measure(task, data, given.evaluate, net) for name, net in nets.items()}
    shown = [metric for metric in (*task.shown, "map_75") if metric in found["network"]]
    rows = {metric: "  ".join(f"{name} {values[metric]:.4f}" for name, values in found.items()) for metric in shown}
    show_rows(f"{len(data.dataset(given.evaluate))} images of the {given.evaluate} set", rows)


def show_rows(title: str, rows: Mapping[str, str]) -> None:
    """Print a table of two columns."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, title=printable(title))
    for name, value in rows.items():
        table.add_row(printable(name), printable(value))
    Console(highlight=False).print(table)


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


@refusing
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", metavar="RUN|WORDS", help="a run, a checkpoint, or model=... and more")
    parser.add_argument("--format", default="onnx", choices=list(FORMATS))
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: the run's or model's name in this folder")
    parser.add_argument("--size", nargs="+", metavar="H W", help="a fixed size; default: dynamic, at that of the data")
    parser.add_argument("--batch", default="dynamic", metavar="N", help="a fixed number of images; default: dynamic")
    parser.add_argument("--opset", type=int, metavar="N", help="of ONNX, 18 to 23; default 20")
    parser.add_argument("--nms", action="store_true", help="of ONNX: suppress inside of the file, with a fixed maximum")
    parser.add_argument("--images", metavar="DIR", help="images to compare on; default: of the data, or generated")
    parser.add_argument("--int8", action="store_true", help="of ONNX: write NAME.int8.onnx too")
    parser.add_argument("--calibrate", default="100", metavar="DIR|N", help="images for that; N of the training set")
    parser.add_argument("--layout", choices=("maps", "published"), help="of ncnn: what the maps hold")
    parser.add_argument("--half", action="store_true", help="of ncnn: weights as float16")
    parser.add_argument("--evaluate", choices=("test", "val"), help="measure network and files on a set of the data")
    given = parser.parse_args(arguments)
    check_flags(given)
    run(given)
    return 0


def check_flags(given: argparse.Namespace) -> None:
    """Refuse flags of another format.

    Raises:
        ConfigError: the first one.
    """
    formats = {"int8": ("onnx",), "nms": ("onnx",), "opset": ("onnx",), "layout": ("ncnn",), "half": ("ncnn",)}
    formats["evaluate"] = tuple(name for name in FORMATS if name != "ncnn")
    for flag, names in formats.items():
        if getattr(given, flag) and given.format not in names:
            raise ConfigError(f"--{flag} is of format {' and '.join(names)}, not of {given.format}")
    if given.nms and (given.int8 or given.evaluate):
        raise ConfigError("--nms: --int8 and --evaluate take a file with all boxes; leave --nms out")


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
    description = replace(subject.description, size=size, batch=batch)
    dynamic = (*(("batch",) if given.batch == "dynamic" else ()), *(("height", "width") if open_size else ()))
    name = Path(given.words[0]).name if "=" not in given.words[0] else description.name
    out = given.out or Path(f"{name}{made.suffix}")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}")
    net = export_network(subject.net, subject.kind, subject.inputs.statistics, size)
    options = {"opset": given.opset, "nms": given.nms, "layout": given.layout, "half": given.half}
    needs_data = given.evaluate or (given.int8 and given.calibrate.isdecimal())
    parts = read_data(given.words) if needs_data else None
    report = export(ExportOrder(net, images, dynamic, description, options), given.format, out)
    show(report, what)
    files = {given.format: (report.path, report.description)}
    if given.int8:
        files["int8"] = write_int8(given, report, parts)
    if given.evaluate and parts is not None:
        evaluate(given, parts, subject, files)


if __name__ == "__main__":
    sys.exit(main())
