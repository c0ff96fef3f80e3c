"""darknet's ``.weights``: a header, then the values of each convolution in the file's order, float32, little-endian.

The header is three int32 (major, minor, revision) and the number of images seen, 4 bytes wide before version 0.2 and 8
from there on. A convolution has its biases, with batch normalisation then scales, means and variances, then its
weights. Nothing in the file says where a layer begins, so every length is checked against the ``.cfg``.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lab.errors import CheckpointError
from lab.models.darknet.layers import ConvolutionLayer
from lab.models.darknet.network import Darknet
from lab.models.darknet.plan import values_of
from lab.system.files import replacing

_VERSION = struct.Struct("<3i")


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
    start = 0
    found = []
    for place, name, tensor in parts:
        part = values[start : start + tensor.numel()]
        start += tensor.numel()
        if not np.isfinite(part).all() or (name == "variances" and (part < 0).any()):
            raise CheckpointError(f"{path}: {place}: {name} are not finite, or negative variances; the file is damaged")
        found.append(torch.from_numpy(part.copy()).view(tensor.shape))
    with torch.no_grad():
        for (_, _, tensor), read in zip(parts, found, strict=True):
            tensor.copy_(read)
        net.header.copy_(torch.tensor(header))


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


def _seen(major: int, minor: int) -> str:
    """Return the form of the number of images seen, which is 64 bits wide from version 0.2 on."""
    return "<q" if major * 10 + minor >= 2 else "<i"


def _read(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    try:
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
