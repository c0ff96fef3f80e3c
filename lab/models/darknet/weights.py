"""darknet's ``.weights``: a header, then the values of each convolution in the file's order, float32, little-endian.

The header is three int32 (major, minor, revision) and the number of images seen, 4 bytes wide before version 0.2 and 8
from there on. A convolution has its biases, with batch normalisation then scales, means and variances, then its
weights. Nothing in the file says where a layer begins, so every length is checked against the ``.cfg``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lab.errors import CheckpointError
from lab.models.darknet.cfg import written
from lab.models.darknet.layers import ConvolutionLayer
from lab.models.darknet.network import Darknet
from lab.models.darknet.plan import MOST_VALUES, make_plan, values_of
from lab.system.files import replacing

_VERSION = struct.Struct("<3i")
SUFFIX = ".weights"


def convert(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict as it is: lab's own names are the only ones; see ``read_file`` for darknet's files."""
    return dict(state_dict)


def read_file(path: Path, net: nn.Module) -> dict[str, Tensor] | None:
    """Return what a ``.weights`` file holds for a network by the network's names; None for a file of another kind.

    A file for another number of classes K is told by its length: only the convolutions before ``[yolo]`` layers depend
    on K. Their values then have shapes of that K.

    Raises:
        CheckpointError: see ``load_darknet``.
    """
    if path.suffix != SUFFIX or not isinstance(net, Darknet):
        return None
    header, values = _read(path)
    parts, heads = _parts(net), _heads(net)
    classes = _classes(parts, heads, len(values), net) or net.num_classes
    if classes == net.num_classes:
        _check_length(parts, len(values), path)
    names = {id(tensor): name for name, tensor in net.state_dict(keep_vars=True).items()}
    state, start = {"header": torch.tensor(header)}, 0
    for place, name, tensor in parts:
        shape = list(tensor.shape)
        if place in heads:
            shape[0] = heads[place] * (classes + 5)
        part = values[start : start + math.prod(shape)]
        start += len(part)
        _check_values(part, place, name, path)
        state[names[id(tensor)]] = torch.from_numpy(part.copy()).view(shape)
    return state


def load_darknet(net: Darknet, path: str | Path) -> None:
    """Fill a network from a ``.weights`` file; it stays as it was where the file is refused.

    Args:
        net: built from the file's ``.cfg``.
        path: the file.

    Raises:
        CheckpointError: the file is missing, of an unknown version, too short or too long, or a value is not finite.
    """
    header, values = _read(Path(path))
    parts = _parts(net)
    _check_length(parts, len(values), path)
    found = []
    for place, name, tensor in parts:
        part, values = values[: tensor.numel()], values[tensor.numel() :]
        _check_values(part, place, name, path)
        found.append(torch.from_numpy(part.copy()).view(tensor.shape))
    with torch.no_grad():
        for (_, _, tensor), read in zip(parts, found, strict=True):
            tensor.copy_(read)
        net.header.copy_(torch.tensor(header))


def save_cfg(net: Darknet, path: str | Path, size: tuple[int, int] | None = None) -> None:
    """Write a network's description as a ``.cfg``, which darknet and converters of its networks read.

    Args:
        net: the network.
        path: the file.
        size: (height, width) of the images that it is to run on; None: as it says itself.

    Raises:
        ConfigError: the network cannot have images of this size.
    """
    sections = [(section.kind, section.values) for section in net.sections]
    if size is not None:
        make_plan(net.sections, size)
        sections[0] = ("net", {**net.sections[0].values, "height": str(size[0]), "width": str(size[1])})
    with replacing(Path(path)) as file:
        file.write(written(sections))


def save_darknet(net: Darknet, path: str | Path) -> None:
    """Write a ``.weights`` file; of a network that was read from one, the same bytes."""
    major, minor, revision, seen = net.header.tolist()
    with replacing(Path(path), binary=True) as file:
        file.write(_VERSION.pack(major, minor, revision))
        file.write(struct.pack(_seen(major, minor), seen))
        for _, _, tensor in _parts(net):
            file.write(tensor.detach().cpu().numpy().astype("<f4").tobytes())


def _parts(net: Darknet) -> list[tuple[str, str, Tensor]]:
    """Return layer, name and tensor of all values in the order of the file."""
    parts = []
    for layer, module in zip(net.plan.layers, net.layers, strict=True):
        if isinstance(module, ConvolutionLayer):
            tensors = _tensors(module)
            for name, count in values_of(layer):
                assert tensors[name].numel() == count
                parts.append((layer.name, name, tensors[name]))
    return parts


def _tensors(module: ConvolutionLayer) -> dict[str, Tensor]:
    norm, conv = module.norm, module.conv
    if not isinstance(norm, nn.BatchNorm2d):
        assert conv.bias is not None
        return {"biases": conv.bias, "weights": conv.weight}
    assert norm.running_mean is not None
    assert norm.running_var is not None
    known = {"biases": norm.bias, "scales": norm.weight, "means": norm.running_mean, "variances": norm.running_var}
    return {**known, "weights": conv.weight}


def _heads(net: Darknet) -> dict[str, int]:
    """Return the number of anchors by the convolution's name, of those that ``[yolo]`` layers read directly."""
    layers = net.plan.layers
    read = [(layers[layer.inputs[0]], len(layer.anchors)) for layer in layers if layer.kind == "yolo"]
    return {layer.name: anchors for layer, anchors in read if layer.kind == "convolutional"}


def _classes(
    parts: Sequence[tuple[str, str, Tensor]], heads: Mapping[str, int], given: int, net: Darknet
) -> int | None:
    """Return the K with which a file of so many values would be whole; None if there is no other than the network's."""
    per_class = sum(heads[place] * tensor[0].numel() for place, _, tensor in parts if place in heads)
    surplus = given - sum(tensor.numel() for _, _, tensor in parts)
    if not per_class or surplus % per_class or not surplus:
        return None
    found = net.num_classes + surplus // per_class
    return found if found >= 1 else None


def _check_values(part: np.ndarray, place: str, name: str, path: str | Path) -> None:
    if not np.isfinite(part).all() or (name == "variances" and (part < 0).any()):
        raise CheckpointError(f"{path}: {place}: {name} are not finite, or negative variances; the file is damaged")


def _seen(major: int, minor: int) -> str:
    """Return the form of the number of images seen, which is 64 bits wide from version 0.2 on."""
    return "<q" if major * 10 + minor >= 2 else "<i"


def _read(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path}: is no plain file; give a .weights file of darknet")
        if path.stat().st_size > 4 * MOST_VALUES:
            raise CheckpointError(
                f"{path}: {path.stat().st_size} bytes; networks of at most {MOST_VALUES} values are read"
            )
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}; give a .weights file of darknet") from error
    if len(content) < _VERSION.size:
        raise CheckpointError(f"{path}: ends in the header, after {len(content)} bytes")
    major, minor, revision = _VERSION.unpack_from(content)
    if not (0 <= major <= 1000 and 0 <= minor <= 1000 and 0 <= revision <= 1000):
        raise CheckpointError(
            f"{path}: version {major}.{minor}.{revision} in the header: no .weights file of darknet, or transposed"
        )
    form = struct.Struct(_seen(major, minor))
    start = _VERSION.size + form.size
    if len(content) < start:
        raise CheckpointError(f"{path}: ends in the header, after {len(content)} of {start} bytes")
    if (len(content) - start) % 4:
        whole = (len(content) - start) // 4
        raise CheckpointError(f"{path}: ends inside a value: {(len(content) - start) % 4} bytes after {whole} float32")
    header = (major, minor, revision, *form.unpack_from(content, _VERSION.size))
    return header, np.frombuffer(content, "<f4", offset=start)


def _check_length(parts: list[tuple[str, str, Tensor]], given: int, path: str | Path) -> None:
    needed = sum(tensor.numel() for _, _, tensor in parts)
    if given > needed:
        last = parts[-1][0] if parts else "there are no convolutions"
        raise CheckpointError(
            f"{path}: {given} values, {given - needed} more than the {needed} of its cfg, which end with {last}; "
            "is it of another cfg?"
        )
    start = 0
    for place, name, tensor in parts:
        if given < start + tensor.numel():
            raise CheckpointError(
                f"{path}: ends in {place} after {given - start} of {tensor.numel()} {name}: "
                f"{given} values of {needed}; is it cut off, or of another cfg?"
            )
        start += tensor.numel()
