"""Networks of darknet's .cfg and .weights against a slow form that reads both by itself, and against darknet's program.

The slow form walks through the sections' own text and the file's own bytes with NumPy; nothing of lab is in it. The
program is Debian's `darknet` (LAB_DARKNET names another place); where it is absent, those tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lab import create_model
from lab.models.darknet import layers
from lab.models.darknet.network import Darknet
from lab.models.darknet.weights import load_darknet, save_cfg, save_darknet
from lab.structures import DetectionTargets
from lab.training.terms import batch_terms
from scripts.benchmarks.darknet_peer import sections_of
from tests.agreement import Compared

SIDE, CLASSES = 64, 3
ANCHORS = [(6, 9), (18, 24), (26, 66), (58, 36), (60, 100), (121, 119)]
CFG = f"""
[net]
batch=1
width={SIDE}
height = {SIDE}
channels=3
learning_rate=0.001
# 0, the stem
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=8
batch_normalize=1
groups=8
size=3
stride=2
pad=1
activation=relu
[convolutional]
filters=12
activation=linear
batch_normalize=1
[convolutional]
filters=12
size=5
pad=1
groups=4
activation=leaky
[dropout]
probability=.15
[shortcut]
from=-3
activation=linear
; 6
[maxpool]
size=2
stride=2
[maxpool]
size=3
stride=1
[route]
layers=-2
[maxpool]
size=5
stride=1
[route]
layers=-1,-3,6
[convolutional]
filters={2 * (CLASSES + 5)}
size=3
stride=2
padding=1
activation=linear
[yolo]
mask=4,5
anchors={", ".join(f"{w},{h}" for w, h in ANCHORS)}
classes={CLASSES}
num=6
[route]
layers=11
[convolutional]
filters=8
batch_normalize=1
activation=logistic
[upsample]
stride=2
[route]
layers=-1,6
[convolutional]
filters={3 * (CLASSES + 5)}
activation=linear
[yolo]
mask=0,1,3
anchors={",".join(f"{w},{h}" for w, h in ANCHORS)}
classes={CLASSES}
num=6
"""


PEER = Compared("darknet", "a slow form in numpy")
PROGRAM = Compared("darknet", "darknet itself")


def generated_weights(text: str, seed: int, version: tuple[int, int, int] = (0, 2, 0), spread: float = 1.0) -> bytes:
    """Values for each convolution; variances are about 25, where darknet's two ways of adding a small number agree."""
    random = np.random.default_rng(seed)
    channels, parts = [3], []
    for kind, keys in sections_of(text)[1:]:
        if kind == "convolutional":
            filters, size = int(keys["filters"]), int(keys.get("size", 1))
            fan = channels[-1] // int(keys.get("groups", 1)) * size * size
            parts.append(random.normal(0, 0.5, filters))
            gain = 1.4
            if keys.get("batch_normalize") == "1":
                parts += [
                    random.uniform(4, 6, filters),
                    random.normal(0, 0.3, filters),
                    random.uniform(24, 26, filters),
                ]
            elif keys["activation"] == "linear":
                gain = spread
            parts.append(random.normal(0, gain / fan**0.5, filters * fan))
            channels.append(filters)
        elif kind == "route":
            named = [int(each) for each in keys["layers"].split(",")]
            channels.append(sum(channels[each if each < 0 else each + 1] for each in named))
        else:
            channels.append(channels[-1])
    seen = struct.pack("<q" if version[1] >= 2 else "<i", 12345)
    return struct.pack("<3i", *version) + seen + np.concatenate(parts).astype("<f4").tobytes()


def slow_convolution(x: np.ndarray, weight: np.ndarray, groups: int, stride: int, padding: int) -> np.ndarray:
    filters, depth, size, _ = weight.shape
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    rows, columns = ((side - size) // stride + 1 for side in x.shape[1:])
    out = np.zeros((filters, rows, columns))
    for f in range(filters):
        first = f // (filters // groups) * depth
        for i in range(rows):
            for j in range(columns):
                window = x[first : first + depth, i * stride : i * stride + size, j * stride : j * stride + size]
                out[f, i, j] = (window * weight[f]).sum()
    return out


def slow_pool(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    rows, columns = ((side - 1) // stride + 1 for side in x.shape[1:])
    out = np.zeros((len(x), rows, columns))
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride - (size - 1) // 2, j * stride - (size - 1) // 2
            window = x[:, max(top, 0) : top + size, max(left, 0) : left + size]
            out[:, i, j] = window.max((1, 2))
    return out


def slow_boxes(x: np.ndarray, keys: dict[str, str]) -> list[list[float]]:
    anchors = [float(each) for each in keys["anchors"].split(",")]
    found = []
    for a, mask in enumerate(int(each) for each in keys["mask"].split(",")):
        for i in range(x.shape[1]):
            for j in range(x.shape[2]):
                v = x[a * (CLASSES + 5) : (a + 1) * (CLASSES + 5), i, j]
                s = 1 / (1 + np.exp(-v))
                cx, cy = (s[0] + j) / x.shape[2] * SIDE, (s[1] + i) / x.shape[1] * SIDE
                w, h = np.exp(v[2]) * anchors[2 * mask], np.exp(v[3]) * anchors[2 * mask + 1]
                found.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, *s[4:]])
    return found


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda x: x,
    "leaky": lambda x: np.where(x > 0, x, 0.1 * x),
    "relu": lambda x: np.maximum(x, 0),
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
}


def slow_network(text: str, weights: bytes, image: np.ndarray) -> np.ndarray:
    """Return boxes, objectness and classes (N, 5 + K) of one image (3, h, w), in double."""
    values = np.frombuffer(weights, "<f4", offset=20).astype(float)
    outputs: list[np.ndarray] = []
    x, found = image.astype(float), []

    def take(count: int) -> np.ndarray:
        nonlocal values
        part, values = values[:count], values[count:]
        return part

    for index, (kind, keys) in enumerate(sections_of(text)[1:]):
        act = ACTIVATIONS[keys.get("activation", "linear")]
        if kind == "convolutional":
            filters, size, groups = int(keys["filters"]), int(keys.get("size", 1)), int(keys.get("groups", 1))
            padding = size // 2 if keys.get("pad") == "1" else int(keys.get("padding", 0))
            normed = keys.get("batch_normalize") == "1"
            bias = take(filters)[:, None, None]
            scale, mean, variance = (take(filters)[:, None, None] for _ in range(3)) if normed else (1, 0, 1 - 1e-5)
            weight = take(filters * len(x) // groups * size * size).reshape(filters, -1, size, size)
            x = slow_convolution(x, weight, groups, int(keys.get("stride", 1)), padding)
            x = act((x - mean) / np.sqrt(variance + 1e-5) * scale + bias)
        elif kind == "shortcut":
            x = act(x + outputs[index + int(keys["from"])])
        elif kind == "route":
            named = [int(each) for each in keys["layers"].split(",")]
            x = np.concatenate([outputs[each if each >= 0 else index + each] for each in named])
        elif kind == "maxpool":
            x = slow_pool(x, int(keys["size"]), int(keys["stride"]))
        elif kind == "upsample":
            x = x.repeat(2, 1).repeat(2, 2)
        elif kind == "yolo":
            found += slow_boxes(x, keys)
        outputs.append(x)
    assert len(values) == 0
    return np.array(found)


def built(folder: Path, weights: bytes, text: str = CFG, **options: float) -> Darknet:
    (folder / "net.cfg").write_text(text)
    (folder / "net.weights").write_bytes(weights)
    net: Any = create_model("yolo_fastest_v1_1", num_classes=CLASSES, cfg=str(folder / "net.cfg"), **options).eval()
    load_darknet(net, folder / "net.weights")
    return net


@pytest.fixture(scope="module")
def truth() -> tuple[bytes, Tensor, np.ndarray]:
    weights = generated_weights(CFG, 0)
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return weights, images, np.stack([slow_network(CFG, weights, image.numpy()) for image in images])


def worst(net: Darknet, images: Tensor, expected: np.ndarray) -> float:
    with torch.no_grad():
        boxes, objectness, classes = net.decode(net(images))
    ours = torch.cat([boxes / SIDE, objectness[..., None], classes], -1)
    theirs = torch.from_numpy(expected / np.array([SIDE] * 4 + [1] * (CLASSES + 1)))
    return float(((ours - theirs).abs() / (1 + theirs.abs())).max())


def test_outputs_equal_the_slow_form(truth: tuple[bytes, Tensor, np.ndarray], tmp_path: Path) -> None:
    weights, images, expected = truth
    assert expected[..., 4].std() > 0.1  # not saturated
    assert PEER.agrees("outputs", worst(built(tmp_path, weights), images, expected), 1e-5)  # measured: 8.2e-7


def test_mutants_are_seen(
    truth: tuple[bytes, Tensor, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, images, expected = truth
    for old, new in (("from=-3", "from=-1"), ("layers=-1,-3,6", "layers=-3,-1,6"), ("mask=4,5", "mask=3,5")):
        assert worst(built(tmp_path, weights, CFG.replace(old, new)), images, expected) > 1e-3, new
    net = built(tmp_path, weights)
    pool = net.layers[6]
    pool.before, pool.after = pool.after, pool.before
    assert worst(net, images, expected) > 1e-3
    monkeypatch.setitem(layers.FUSED, "leaky", "relu")
    assert worst(built(tmp_path, weights), images, expected) > 1e-3


@pytest.mark.parametrize("version", [(0, 1, 0), (0, 2, 5)])
def test_weights_are_written_back_byte_for_byte(tmp_path: Path, version: tuple[int, int, int]) -> None:
    weights = generated_weights(CFG, 3, version)
    net = built(tmp_path, weights)
    save_darknet(net, tmp_path / "again.weights")
    assert (tmp_path / "again.weights").read_bytes() == weights
    assert net.header.tolist() == [*version, 12345]


def slow_choice(found: np.ndarray, limit: float, overlap: float) -> list[tuple[int, float, tuple[float, ...]]]:
    """Darknet's choice: for each class the best box, then those that overlap none that was taken; cut at the edges."""
    result = []
    found = found[(found[:, 2:4] > 0).all(axis=1) & (found[:, :2] < SIDE).all(axis=1)]
    for label in range(CLASSES):
        scores = np.where(found[:, 4] > limit, found[:, 4] * found[:, 5 + label], 0)
        taken: list[int] = []
        for place in np.argsort(-scores):
            if scores[place] > limit and all(iou(found[place], found[other]) <= overlap for other in taken):
                taken.append(int(place))
        result += [(label, float(scores[each]), tuple(found[each, :4].clip(0, SIDE))) for each in taken]
    return sorted(result, key=lambda each: -each[1])


def iou(a: np.ndarray, b: np.ndarray) -> float:
    w, h = (min(a[k + 2], b[k + 2]) - max(a[k], b[k]) for k in (0, 1))
    both = max(w, 0) * max(h, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def test_predictions_equal_the_slow_choice(truth: tuple[bytes, Tensor, np.ndarray], tmp_path: Path) -> None:
    weights, images, expected = truth
    net = built(tmp_path, weights, score_threshold=0.3, max_detections=300)
    with torch.no_grad():
        predictions = net.predict(net(images), torch.tensor([[128, 64], [64, 192]]))
    for row, (across, down) in enumerate([(1, 2), (3, 1)]):
        chosen = slow_choice(expected[row], 0.3, 0.45)
        assert 5 < len(chosen) == int((predictions.scores[row] > 0).sum())
        for place, (label, score, box) in enumerate(chosen):
            assert predictions.labels[row, place] == label
            assert float(predictions.scores[row, place]) == pytest.approx(score, abs=1e-5)
            scaled = np.array(box) * [across, down, across, down]
            assert predictions.boxes[row, place].tolist() == pytest.approx(scaled, rel=1e-4, abs=1e-3)
        assert not predictions.boxes[row, len(chosen) :].any()


def test_padding_is_grey_and_does_not_count_as_size(truth: tuple[bytes, Tensor, np.ndarray], tmp_path: Path) -> None:
    weights, images, _ = truth
    net = built(tmp_path, weights)
    mask = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    mask[1, 48:], mask[1, :, 40:] = True, True
    grey = torch.where(mask[:, None], 0.5, images)
    with torch.no_grad():
        masked, plain, smaller = net(images, mask), net(grey), net(images[:, :, :48, :40])
    assert masked.sizes.tolist() == [[64, 64], [48, 40]]
    for ours, theirs in zip(masked.maps, plain.maps, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert (smaller.size, smaller.sizes[0].tolist()) == ((48, 48), [48, 40])  # padded to multiples of the stride, 16
    for row, (height, width) in enumerate([(64, 64), (48, 40)]):
        found = net.predict(masked, torch.tensor([[64, 64], [48, 40]]))
        boxes = found.boxes[row, found.scores[row] > 0]
        assert len(boxes) > 5
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([width, height, width, height])).all()


def program() -> tuple[str, Path]:
    """Return the program and its pictures: those of LAB_DARKNET, of the path, or beside LAB_PICTURES_DIR."""
    beside = Path(os.environ.get("LAB_PICTURES_DIR", "/usr/share/darknet/data"))
    found = shutil.which(os.environ.get("LAB_DARKNET", "darknet")) or shutil.which(beside.parents[2] / "bin/darknet")
    if found is None:
        pytest.skip("no program darknet: apt-get install darknet, or LAB_DARKNET=/path/to/darknet")
    return found, beside


def compared(found: str, folder: Path, net: Darknet, images: list[np.ndarray], least: int) -> None:
    """Compare what the program finds with net.cfg and net.weights in square images with what lab finds."""
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index}.png")
    theirs = run_program(found, folder, len(images))
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    side = batch.shape[-1]
    with torch.no_grad():
        predictions = net.predict(net(batch), torch.full((len(images), 2), side))
    for index in range(len(images)):
        for label in range(CLASSES):
            chosen = (predictions.labels[index] == label) & (predictions.scores[index] > 0)
            # Its form is Pascal VOC's: pixels count from 1, and boxes are cut at the picture's edge.
            boxes = (predictions.boxes[index, chosen] + 1).clamp(1, side + 1)
            boxes[:, 2:].clamp_(max=side)
            ours = torch.cat([predictions.scores[index, chosen, None], boxes], 1)
            listed = torch.tensor([row for (image, kind, row) in theirs if (image, kind) == (index, label)])
            listed = listed[listed[:, 0].argsort(descending=True)]
            assert len(ours) == len(listed) >= least
            # The program prints six digits.
            assert PROGRAM.agrees("scores of boxes", float((ours - listed)[:, 0].abs().max()), 1e-5)
            assert float((ours - listed)[:, 1:].abs().max()) < 1e-3


def pictures(folder: Path, side: int) -> list[np.ndarray]:
    """Return one photo, where it is there, and noise: four images, as many as the program wants."""
    noise = np.random.default_rng(4).integers(0, 256, (4, side, side, 3), dtype=np.uint8)
    if not (folder / "dog.jpg").exists():
        return [*noise]
    return [np.array(Image.open(folder / "dog.jpg").convert("RGB").resize((side, side))), *noise[1:]]


def test_darknets_own_program_finds_the_same(tmp_path: Path) -> None:
    found, folder = program()
    net = built(tmp_path, generated_weights(CFG, 0), max_detections=1000)
    compared(found, tmp_path, net, pictures(folder, SIDE), 6)


def test_darknets_own_program_reads_what_lab_writes(tmp_path: Path) -> None:
    """YOLO-Fastest 1.1, whole: its .cfg and .weights as lab writes them."""
    found, folder = program()
    net = Darknet(CLASSES, max_detections=1000).eval()
    save_cfg(net, tmp_path / "net.cfg", (96, 96))
    weights = generated_weights((tmp_path / "net.cfg").read_text(), 2, spread=3e-4)  # the sums grow with each block
    (tmp_path / "given.weights").write_bytes(weights)
    load_darknet(net, tmp_path / "given.weights")
    save_darknet(net, tmp_path / "net.weights")
    assert (tmp_path / "net.weights").read_bytes() == weights
    compared(found, tmp_path, net, pictures(folder, 96), 3)


TRAINED = f"""
[net]
batch=2
width={SIDE}
height={SIDE}
channels=3
learning_rate=0.01
momentum=0.9
decay=0.01
max_batches=1
saturation=1
exposure=1
hue=0
burn_in=0
[convolutional]
filters=6
size=3
stride=4
pad=1
activation=leaky
[convolutional]
filters=8
size=3
stride=2
pad=1
activation=leaky
[maxpool]
size=2
stride=2
[convolutional]
filters={2 * (CLASSES + 5)}
activation=linear
[yolo]
mask=1,2
anchors=10,12,20,18,40,44
classes={CLASSES}
num=3
jitter=0
ignore_thresh=.3
[route]
layers=1
[convolutional]
filters={CLASSES + 5}
activation=linear
[yolo]
mask=0
anchors=10,12,20,18,40,44
classes={CLASSES}
num=3
jitter=0
ignore_thresh=.3
"""
"""Without batch normalisation, of which darknet's derivative on CPUs is a little different."""
LABELS = ((1, 0.5, 0.4, 0.3, 0.25), (2, 0.5, 0.62, 0.6, 0.7), (0, 0.5, 0.2, 0.15, 0.2))
"""Class, centre and size as shares of the image, in its middle: darknet mirrors half of the images."""


def test_a_step_of_darknets_own_training_is_the_same(tmp_path: Path) -> None:
    """Its loss (that of YOLOv3, 2018), SGD and decay: the weights after one step, as it writes them."""
    found, _ = program()
    for folder in ("images", "labels", "backup"):
        (tmp_path / folder).mkdir()
    half = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE // 2, 3), dtype=np.uint8)
    picture = np.concatenate([half, half[:, ::-1]], axis=1)
    Image.fromarray(picture).save(tmp_path / "images/a.png")
    (tmp_path / "labels/a.txt").write_text("".join(" ".join(map(str, row)) + "\n" for row in LABELS))
    (tmp_path / "train.txt").write_text(f"{tmp_path}/images/a.png\n")
    (tmp_path / "net.data").write_text(f"classes={CLASSES}\ntrain={tmp_path}/train.txt\nbackup={tmp_path}/backup\n")
    weights = bytearray(generated_weights(TRAINED, 0, spread=0.3))
    weights[12:20] = bytes(8)  # no images seen yet
    net = built(tmp_path, bytes(weights), TRAINED, iou_normalizer=1.0, ignore_class_score=0.0)
    command = [found, "detector", "train", "net.data", "net.cfg", "net.weights"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    # Debian's program ends with a segmentation fault, after it has written the file.
    assert (tmp_path / "backup/net_final.weights").exists(), done.stdout + done.stderr
    before = flat(net)
    trained = built(tmp_path, (tmp_path / "backup/net_final.weights").read_bytes(), TRAINED)
    assert trained.header.tolist()[3] == 2
    assert float((flat(trained) - before).abs().max()) > 0.1
    step(net, picture)
    apart = float((flat(net) - flat(trained)).abs().max())
    assert PROGRAM.agrees("weights after a step of training", apart, 1e-6)  # measured: 9e-8 of changes up to 0.42
    for mutant in ({"ignore_thresh": 1.0}, {"iou_thresh": 0.3}, {"iou_normalizer": 0.75}, {"truth_thresh": 0.3}):
        options = {"iou_normalizer": 1.0, "ignore_class_score": 0.0, **mutant}
        other = built(tmp_path, bytes(weights), TRAINED, **options)
        step(other, picture)
        assert float((flat(other) - flat(trained)).abs().max()) > 1e-4, mutant


def flat(net: Darknet) -> Tensor:
    """Return all parameters in one tensor, without gradient."""
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def step(net: Darknet, picture: np.ndarray) -> None:
    """Take one step with two equal images, as darknet's section says."""
    images = torch.from_numpy(picture).permute(2, 0, 1).expand(2, -1, -1, -1) / 255
    rows = torch.tensor(LABELS * 2)
    boxes = torch.cat((rows[:, 1:3] - rows[:, 3:] / 2, rows[:, 1:3] + rows[:, 3:] / 2), dim=1) * SIDE
    targets = DetectionTargets(boxes, rows[:, 0].long(), (3, 3), torch.full((2, 2), float(SIDE)))
    weights, biases = (
        [each for name, each in net.named_parameters() if name.endswith(end)] for end in ("weight", "bias")
    )
    groups = [{"params": weights, "weight_decay": 0.01}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9)
    torch.stack([*batch_terms(net, net(images), targets).values()]).sum().backward()
    optimizer.step()


def run_program(found: str, folder: Path, count: int) -> list[tuple[int, int, list[float]]]:
    """Return picture, class and (score, box) of all that the program finds in 0.png, 1.png, ... (4 or more)."""
    (folder / "results").mkdir()
    (folder / "names").write_text("".join(f"class{label}\n" for label in range(CLASSES)))
    (folder / "valid.txt").write_text("".join(f"{folder}/{index}.png\n" for index in range(count)))
    (folder / "net.data").write_text(f"classes={CLASSES}\nvalid={folder}/valid.txt\nnames={folder}/names\n")
    command = [found, "detector", "valid", "net.data", "net.cfg", "net.weights"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = []
    for label in range(CLASSES):
        for line in (folder / f"results/comp4_det_test_class{label}.txt").read_text().splitlines():
            picture, *numbers = line.split()
            rows.append((int(picture), label, [float(number) for number in numbers]))
    return rows
