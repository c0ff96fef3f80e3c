"""What is said of .cfg and .weights files of darknet that cannot be used; damaged ones never pass unseen."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.errors import CheckpointError, ConfigError, LabError
from lab.models.darknet.cfg import parse_cfg
from lab.models.darknet.network import Darknet
from lab.models.darknet.parallel import blocks
from lab.models.darknet.plan import make_plan
from lab.models.darknet.weights import load_darknet
from lab.structures import Detector

CFG = """[net]
width=32
height=32
[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=6
activation=linear
[yolo]
mask=0
anchors=10,12
classes=1
num=1
"""
VALUES = 4 * 4 + 4 * 27 + 6 + 24


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[yolo]", "[region]", r"cfg:14: section \[region\] is not known; known are \[net\], \[convolutional\]"),
        ("filters=4", "filter=4", r"cfg:6: \[convolutional\] has no key 'filter'; did you mean 'filters'"),
        ("filters=4", "filters=0", r"cfg:4: \[convolutional\] filters='0': takes an integer from 1 to 100000"),
        ("filters=4", "filters=4\nfilters=5", r"cfg:7: filters stands twice in \[convolutional\]"),
        ("size=3", "size", r"cfg:7: 'size' in \[convolutional\] is no key=value"),
        ("=leaky", "=leeky", r"cfg:4: \[convolutional\] activation=leeky: takes one of linear, .*'leaky'"),
        ("filters=6", "filters=7", r"cfg:14: \[yolo\] reads 7 channels; 1 anchors x \(1 classes \+ 5\) = 6"),
        ("filters=6", "filters=6\ngroups=4", r"groups=4: divides not both its 4 channels and 6 filters"),
        ("[yolo]", "[shortcut]\nfrom=-9\n[yolo]", r"from=-9: there is no such layer before layer 2"),
        ("[yolo]", "[shortcut]\nfrom=0\n[yolo]", r"adds layer 0 of shape \(4, 16, 16\) to \(6, 16, 16\)"),
        ("10,12", "10", r"anchors: 1 numbers, but num=1 asks for 2"),
        ("[net]\n", "", r"cfg:1: 'width=32' stands before the first section; a .cfg begins with \[net\]"),
    ],
)
def test_what_is_said_of_a_wrong_cfg(old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_plan(parse_cfg(CFG.replace(old, new, 1)))


def written(folder: Path, count: int, tail: bytes = b"") -> tuple[Darknet, Path]:
    (folder / "net.cfg").write_text(CFG)
    content = struct.pack("<3iq", 0, 2, 5, 7) + np.full(count, 0.5, "<f4").tobytes() + tail
    (folder / "net.weights").write_bytes(content)
    return Darknet(1, str(folder / "net.cfg")), folder / "net.weights"


@pytest.mark.parametrize(
    ("count", "tail", "said"),
    [
        (VALUES + 1, b"", r"155 values, 1 more than the 154 of its cfg, which end with layer 1 \[convolutional\]"),
        (VALUES - 1, b"", r"ends in layer 1 \[convolutional\] \(.*:11\) after 23 of 24 weights: 153 values of 154"),
        (13, b"", r"ends in layer 0 \[convolutional\] \(.*:4\) after 1 of 4 variances: 13 values of 154"),
        (VALUES, b"abc", "ends inside a value: 3 bytes after 154 float32"),
        (VALUES - 1, struct.pack("<f", float("nan")), "layer 1 .*: weights are not finite"),
    ],
)
def test_what_is_said_of_wrong_weights(tmp_path: Path, count: int, tail: bytes, said: str) -> None:
    net, path = written(tmp_path, count, tail)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(CheckpointError, match=said):
        load_darknet(net, path)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_damaged_files_are_answered_in_one_line(tmp_path: Path) -> None:
    draw, said = random.Random(0), []
    for _ in range(300):
        text = list(CFG)
        for _ in range(draw.randint(1, 4)):
            text[draw.randrange(len(text))] = draw.choice("=[]-,09\n #x.\0")
        try:
            make_plan(parse_cfg("".join(text)))
        except LabError as error:
            said.append(str(error))
    assert len(said) > 100
    assert not any("\n" in line for line in said)
    net, path = written(tmp_path, VALUES)
    content = path.read_bytes()
    for length in [*range(0, 24), *range(24, len(content), 37)]:
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            load_darknet(net, path)


def test_it_is_a_detector_of_any_size(tmp_path: Path) -> None:
    net, path = written(tmp_path, VALUES)
    load_darknet(net, path)
    assert isinstance(net, Detector)
    assert blocks(net) == list(net.layers)[:2]
    assert net.stride == 2
    assert net.eval()(torch.zeros(1, 3, 33, 30)).size == (34, 30)
    with pytest.raises(ConfigError, match="have classes=1, not 2"):
        Darknet(2, str(tmp_path / "net.cfg"))
    with pytest.raises(ConfigError, match=r"anchors: cfg=.* has its own"):
        Darknet(1, str(tmp_path / "net.cfg"), anchors=(1.0,) * 12)
    with pytest.raises(ConfigError, match="anchors: 4 numbers; expected 12"):
        Darknet(1, anchors=(1.0, 2.0, 3.0, 4.0))
    with pytest.raises(ConfigError, match=r"images of 16x48 pixels: .*\[route\] layers=-1,80: their sizes differ"):
        Darknet(1).raw_maps(torch.zeros(1, 3, 16, 48))
