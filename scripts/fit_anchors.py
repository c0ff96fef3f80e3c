"""Fit anchors to the training boxes of a dataset for detection, and print a table of recall by number of anchors.

    python scripts/fit_anchors.py data=shapes
    python scripts/fit_anchors.py data=yolo_txt data.root=photos --anchors 6 --size 352
    python scripts/fit_anchors.py data=voc --size 320 512 --letterbox --seed 1

WORDS are those of run.py. The last line can be given to run.py as it is. Anchors are in pixels of the network's input.
Columns: iou is the mean IoU of a box with its best anchor; recall the share of boxes with an IoU of 0.5 or more; ratio
2 and 4 the share of boxes whose sides are within this factor of an anchor's, which is how YOLO-Fastest (2) and YOLOv5
(4) match.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lab.errors import ConfigError, LabError

if TYPE_CHECKING:
    from lab.tasks.detection.anchors import BoxSizes


def read_sizes(words: Sequence[str], size: tuple[int, int], letterbox: bool) -> BoxSizes:
    """Return (N, 2), width and height of the training boxes that the words compose, in pixels of the input.

    Raises:
        LabError: the words or the data are wrong.
    """
    import lab
    from lab.experiment.assembly import build_data, prepare
    from lab.tasks.detection.anchors import sizes_of

    config = lab.compose(*words).to_dict()
    if config["model"]["task"] != "detection":
        raise ConfigError(f"data={config['data']['name']} is for {config['model']['task']}: anchors are for detection")
    prepare(config)
    return sizes_of(build_data(config).dataset("train"), size, letterbox)


def table(sizes: BoxSizes, counts: Sequence[int], seed: int) -> str:
    """Return a row for each number of anchors."""
    from lab.tasks.detection.anchors import fit_anchors

    rows = [f"{'anchors':>7}  {'iou':>6}  {'recall':>6}  ratio 2  ratio 4"]
    for count in counts:
        fit = fit_anchors(sizes, count, seed)
        rows.append(f"{count:7d}  {fit.mean_iou:6.4f}  {fit.recall:6.4f}  {fit.matched[0]:7.4f}  {fit.matched[1]:7.4f}")
    return "\n".join(rows)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="words of run.py, data=... among them")
    parser.add_argument("--anchors", type=int, default=6, help="how many to print (default: 6)")
    parser.add_argument(
        "--size", type=int, nargs="+", default=[352], help="of the input: one side, or height and width"
    )
    parser.add_argument("--letterbox", action="store_true", help="images keep their aspect ratio; default: stretched")
    parser.add_argument("--seed", type=int, default=0, help="of the first anchors (default: 0)")
    parser.add_argument("--most", type=int, default=9, help="the table goes up to so many anchors (default: 9)")
    given = parser.parse_intermixed_args(arguments)
    if len(given.size) > 2 or min(given.size) < 1 or given.most < 1 or given.seed < 0:
        parser.error("--size takes one or two lengths above 0, --most a number above 0, --seed a number from 0")
    try:
        print(report(given.words, (given.size[0], given.size[-1]), given))
    except LabError as error:
        print(f"fit_anchors: {error}", file=sys.stderr)
        return 2
    return 0


def report(words: Sequence[str], size: tuple[int, int], given: argparse.Namespace) -> str:
    """Return the table and the anchors."""
    import numpy as np

    from lab.tasks.detection.anchors import fit_anchors

    sizes = read_sizes(words, size, given.letterbox)
    chosen = fit_anchors(sizes, given.anchors, given.seed)
    most = min(given.most, len(np.unique(sizes, axis=0)))
    pairs = [f"{width:.2f},{height:.2f}" for width, height in chosen.anchors.tolist()]
    how = "letterbox" if given.letterbox else "stretched"
    head = f"{len(sizes)} boxes, input {size[0]}x{size[1]} {how}, seed {given.seed}"
    shown = f"{given.anchors} anchors: {' '.join(pairs)}\nmodel.net.anchors=[{','.join(pairs)}]"
    return f"{head}\n{table(sizes, range(1, most + 1), given.seed)}\n{shown}"


if __name__ == "__main__":
    sys.exit(main())
