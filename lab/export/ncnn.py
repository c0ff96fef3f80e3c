"""ncnn (Tencent), for phones and small boards: a detector's maps, which whoever runs the file decodes. By pnnx.

pnnx (PyTorch Neural Network Exchange, of ncnn's authors) reads an ONNX file of a fixed size and writes ncnn's two
files: a text with the layers, and their weights. An operator that ncnn lacks becomes a layer of a name that ncnn does
not know; such a network is refused here. The Python programs that pnnx writes beside are neither kept nor run.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lab.checking import check_choice
from lab.errors import ExportError
from lab.export.capture import capture
from lab.export.description import ExportDescription
from lab.export.formats import EngineRunner, ExportFormat, ExportOrder
from lab.export.graph import as_shuffles
from lab.export.network import NamedOutputs
from lab.export.onnx import OPSET, translated
from lab.structures.maps import HasMaps
from lab.text import one_line

if TYPE_CHECKING:
    from onnx import ModelProto

LAYOUTS = ("maps", "published")
PARAM, WEIGHTS = "model.param", "model.bin"
"""The two files in the folder."""
LARGEST = "3.402823e+38"
"""In place of infinity, which pads before a maximum is taken; ncnn reads finite numbers alone."""
SECONDS = 600
"""After which pnnx is ended."""


class MapsNetwork(NamedOutputs):
    """A detector up to its maps.

    Args:
        net: the detector.
        layout: one of ``LAYOUTS``.

    Raises:
        ExportError: it has no maps, or not that layout.
    """

    def __init__(self, net: nn.Module, layout: str) -> None:
        super().__init__()
        if not isinstance(net, HasMaps):
            raise ExportError(
                f"ncnn: {type(net).__name__} has no maps that are decoded outside of it, as yolo_fastest_v2 has; "
                "take format onnx"
            )
        layouts = net.map_layouts()
        check_choice("layout", layout, tuple(layouts))
        self.net, self.layout_name, self.layout = net, layout, layouts[layout]

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the maps."""
        return tuple(self.layout.maps)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of images (B, 3, H, W), in the layout's colours from 0 to 1."""
        return self.net.maps_as(self.layout_name, images)


class NcnnFormat(ExportFormat):
    """Writes a folder with ``model.param`` and ``model.bin``. Options ``layout`` and ``half``."""

    suffix = ".ncnn"
    engine = "ncnn"
    needs = ("onnx", "onnxscript", "pnnx", "ncnn")

    def adapt(self, order: ExportOrder) -> ExportOrder:
        """Return an order for the detector's maps, of images in the layout's colours."""
        layout = order.options.get("layout") or LAYOUTS[0]
        net = MapsNetwork(getattr(order.net, "net", order.net), layout).eval()
        images = order.images.flip(1) if net.layout.colours == "BGR" else order.images
        dynamic = tuple(axis for axis in order.dynamic if axis != "batch")
        return replace(order, net=net, images=images, dynamic=dynamic)

    def is_exact(self, order: ExportOrder) -> bool:
        """Whether weights are stored as they are."""
        return not order.options.get("half")

    def write(self, order: ExportOrder, path: Path) -> ExportDescription:
        """Write the folder."""
        assert isinstance(order.net, MapsNetwork)
        half, layout = bool(order.options.get("half")), order.net.layout
        captured = capture(order.net, order.images[:1])
        model = translated(order.net.output_names, captured, OPSET)
        as_shuffles(model)
        text, weights = converted(model, tuple(order.images.shape[-2:]), half)
        names = {"in0": layout.image, **{f"out{place}": name for place, name in enumerate(layout.maps)}}
        path.mkdir(exist_ok=True)
        (path / PARAM).write_text(renamed(text, names), encoding="utf-8")
        (path / WEIGHTS).write_bytes(weights)
        batch = {"batch": "1, ncnn takes one image at a time"}
        about = {"layout": order.net.layout_name, "colours": layout.colours, **layout.decoding}
        found = order.description.with_format(
            "ncnn", order.dynamic, batch, **about, weights="float16" if half else "float32"
        )
        taken = {layout.image: f"float32 (3, h, w), {layout.colours} from 0 to 1"}
        return replace(found, input=taken, outputs=dict(layout.maps))

    def load(self, path: Path, description: ExportDescription) -> EngineRunner:
        """Return ncnn's network, computing in float32."""
        run = load_network(path)
        (image,), maps = description.input, description.outputs

        def runner(images: Tensor) -> Sequence[Tensor]:
            found = [run({image: each}, tuple(maps)) for each in images]
            return [torch.stack([each[name] for each in found]) for name in maps]

        return runner


def converted(model: ModelProto, size: tuple[int, ...], half: bool) -> tuple[str, bytes]:
    """Return ncnn's text of layers and their weights.

    Args:
        model: with one input, images, and weights within.
        size: (height, width) of the images.
        half: whether weights are stored as float16.

    Raises:
        ExportError: pnnx fails, or has left operators that ncnn does not know.
    """
    import pnnx

    height, width = size
    with TemporaryDirectory(prefix="lab-pnnx-") as folder:
        (Path(folder) / "net.onnx").write_bytes(model.SerializeToString())
        words = [pnnx.EXEC_PATH, "net.onnx", f"inputshape=[1,3,{height},{width}]f32", f"fp16={int(half)}"]
        try:
            done = subprocess.run(words, cwd=folder, capture_output=True, check=False, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            raise ExportError(f"pnnx has not ended after {SECONDS} s") from None
        except OSError as error:
            raise ExportError(f"pnnx cannot be started: {error}") from error
        text, weights = Path(folder) / "net.ncnn.param", Path(folder) / "net.ncnn.bin"
        if done.returncode or not text.is_file() or not weights.is_file():
            said = (done.stderr + done.stdout).decode(errors="replace").strip()
            raise ExportError(f"pnnx ended with {done.returncode}: {one_line(said[-500:]) or 'nothing was said'}")
        layers = text.read_text(encoding="utf-8")
        refuse_unknown(layers)
        return layers, weights.read_bytes()


def refuse_unknown(text: str) -> None:
    """Refuse a file with layers that ncnn lacks.

    Raises:
        ExportError: their operators are named.
    """
    import ncnn

    kinds = dict.fromkeys(line.split()[0] for line in _layers(text))
    unknown = [kind for kind in kinds if ncnn.create_layer(kind) is None]
    if unknown:
        raise ExportError(
            f"ncnn has no layer for {', '.join(unknown)} (pnnx's name of the operator): take format onnx, or write the "
            "network without"
        )


def renamed(text: str, names: Mapping[str, str]) -> str:
    """Return ncnn's text with other names of tensors ("blobs"), and finite numbers for what it cannot read."""
    head = text.splitlines()[:2]
    lines = []
    for line in _layers(text):
        kind, name, taken, given, *rest = line.split()
        blobs = int(taken) + int(given)
        rest[:blobs] = [names.get(blob, blob) for blob in rest[:blobs]]
        rest[blobs:] = [word.replace("=-inf", f"=-{LARGEST}").replace("=inf", f"={LARGEST}") for word in rest[blobs:]]
        lines.append(f"{kind:<24} {name:<24} {taken} {given} {' '.join(rest)}")
    return "\n".join((*head, *lines)) + "\n"


def _layers(text: str) -> list[str]:
    """Return the lines of the layers; before them stand a magic number and the numbers of layers and tensors."""
    return [line for line in text.splitlines()[2:] if line.strip()]


def load_network(path: Path) -> Any:
    """Return a function that runs a folder's files with ncnn, on as many threads as torch has.

    Args:
        path: the folder.

    Returns:
        A function of tensors (C, h, w) by the names of inputs, and the names of wanted outputs, that returns those.

    Raises:
        ExportError: ncnn cannot read the files.
    """
    import ncnn
    import numpy as np

    net = ncnn.Net()
    options = net.opt
    options.num_threads = torch.get_num_threads()
    options.use_vulkan_compute = False
    for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
        setattr(options, f"use_{name}", False)
    if net.load_param(str(path / PARAM)) or net.load_model(str(path / WEIGHTS)):
        raise ExportError(f"{path}: ncnn cannot read it")

    def run(inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
        extractor = net.create_extractor()
        for name, tensor in inputs.items():
            array = np.ascontiguousarray(tensor.numpy())  # held here: ncnn's view of an array does not hold it
            extractor.input(name, ncnn.Mat(array).clone())
        found = {}
        for name in outputs:
            failed, mat = extractor.extract(name)
            if failed:
                raise ExportError(f"{path}: ncnn cannot compute {name}")
            found[name] = torch.from_numpy(np.array(mat))
        return found

    return run
