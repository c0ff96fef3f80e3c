"""Embree's C interface, version 4: what its Python package embreex carries along, called directly.

embreex itself has no instances (each scene would be copied triangle by triangle in Python: 32 ms for 45 000 of them)
and casts one ray after the other. Here a mesh's tree is built once, a scene is a tree over placed meshes (below a
millisecond), and rays are cast in packets of 16. The device has one thread: trees, and so pictures, are the same on any
number of processes, and a fork leaves no thread behind.

Reference: embree.github.io/api.html (embree4/rtcore_*.h).
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lab.errors import GeometryError

PACKET = 16
_RAY, _FIELDS = 12, 24  # of RTCRay16 and RTCRayHit16; of the latter 21 are used, a newer Embree may write more
_POINTER, _UINT, _SIZE = ctypes.c_void_p, ctypes.c_uint, ctypes.c_size_t
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "rtcNewDevice": (_POINTER, [ctypes.c_char_p]),
    "rtcGetDeviceError": (ctypes.c_int, [_POINTER]),
    "rtcNewScene": (_POINTER, [_POINTER]),
    "rtcReleaseScene": (None, [_POINTER]),
    "rtcSetSceneFlags": (None, [_POINTER, ctypes.c_int]),
    "rtcCommitScene": (None, [_POINTER]),
    "rtcNewGeometry": (_POINTER, [_POINTER, ctypes.c_int]),
    "rtcReleaseGeometry": (None, [_POINTER]),
    "rtcCommitGeometry": (None, [_POINTER]),
    "rtcAttachGeometryByID": (None, [_POINTER, _POINTER, _UINT]),
    "rtcSetSharedGeometryBuffer": (
        None,
        [_POINTER, ctypes.c_int, _UINT, ctypes.c_int, _POINTER, _SIZE, _SIZE, _SIZE],
    ),
    "rtcSetGeometryInstancedScene": (None, [_POINTER, _POINTER]),
    "rtcSetGeometryTransform": (None, [_POINTER, _UINT, ctypes.c_int, _POINTER]),
    "rtcIntersect16": (None, [_POINTER, _POINTER, _POINTER, _POINTER]),
    "rtcOccluded16": (None, [_POINTER, _POINTER, _POINTER, _POINTER]),
}
_TRIANGLES, _INSTANCE = 0, 121  # RTCGeometryType
_INDEX, _VERTEX = 0, 1  # RTCBufferType
_UINT3, _FLOAT3, _ROWS_OF_3X4 = 0x5003, 0x9003, 0x9134  # RTCFormat
_ROBUST = 4  # RTCSceneFlags: no ray passes between two triangles that share an edge
_NONE = -1  # RTC_INVALID_GEOMETRY_ID as a signed number


class _Arguments(ctypes.Structure):
    """RTCIntersectArguments and RTCOccludedArguments: rays are coherent, all features are on."""

    _fields_ = (
        ("flags", ctypes.c_int),
        ("features", _UINT),
        ("context", _POINTER),
        ("filter", _POINTER),
        ("function", _POINTER),
        ("more", ctypes.c_float * 8),
    )


class _Library:
    """The functions, and the device of this process."""

    def __init__(self) -> None:
        try:
            from embreex import rtcore_scene
        except ImportError as error:
            raise GeometryError(f"pictures need the package embreex ({error}): pip install 'lab[geometry]'") from error
        # The symbols of a module's own dependencies are found through it. Calls keep the GIL: they are short.
        library = ctypes.PyDLL(rtcore_scene.__file__)
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name, None)
            if function is None:
                raise GeometryError(
                    f"the embreex that is installed has no {name} of Embree 4: pip install 'lab[geometry]'"
                )
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)
        self.device = self.rtcNewDevice(b"threads=1")
        self.check()
        self.arguments = _Arguments(flags=1 << 16, features=0xFFFFFFFF)
        self.all_valid = aligned((PACKET,), np.int32)
        self.all_valid[:] = -1

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def check(self) -> None:
        """Raise what went wrong since the last call, if anything did."""
        code = self.rtcGetDeviceError(self.device)
        if code:
            raise GeometryError(f"Embree reports error {code} ({'out of memory' if code == 4 else 'see RTCError'})")

    def cast(self, function: str, tree: int, packets: NDArray[np.float32]) -> None:
        """Cast packets of rays."""
        call, arguments = getattr(self, function), ctypes.addressof(self.arguments)
        valid, first, step = self.all_valid.ctypes.data, packets.ctypes.data, packets.strides[0]
        for place in range(first, first + step * len(packets), step):
            call(valid, tree, place, arguments)


@cache
def library() -> _Library:
    """Return Embree.

    Raises:
        GeometryError: it is not installed.
    """
    return _Library()


def aligned(shape: tuple[int, ...], dtype: type) -> NDArray:
    """Return an array, not filled, that begins at a multiple of 64 bytes, as packets must."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


class Hits(NamedTuple):
    """What rays met first, R of them.

    Attributes:
        distance: (R,) float32 in lengths of the direction; infinite where nothing was met.
        instance: (R,) int32 number of the placed mesh, -1 for nothing.
        triangle: (R,) int32 of its mesh, -1 for nothing.
        u: (R,) float32 barycentric weight of the triangle's second corner.
        v: (R,) float32 of its third.
    """

    distance: NDArray[np.float32]
    instance: NDArray[np.int32]
    triangle: NDArray[np.int32]
    u: NDArray[np.float32]
    v: NDArray[np.float32]


class _Tree:
    """What rays can be cast at."""

    handle: int

    def closest(self, origins: NDArray[np.float32], directions: NDArray[np.float32]) -> Hits:
        """Return what each of R rays meets first.

        Args:
            origins: (3, R), or (3, 1) for all.
            directions: (3, R) of any length, or (3, 1) for all.
        """
        packets = _packets(origins, directions, _FIELDS)
        whole = packets.view(np.int32)
        whole[:, 17:20] = _NONE
        library().cast("rtcIntersect16", self.handle, packets)
        count = _count(origins, directions)
        distance, u, v = (packets[:, place].reshape(-1)[:count] for place in (8, 15, 16))
        instance, triangle = (whole[:, place].reshape(-1)[:count] for place in (19, 17))
        return Hits(distance, instance, triangle, u, v)

    def blocked(self, origins: NDArray[np.float32], directions: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which rays (R,) meet anything; see ``closest``."""
        packets = _packets(origins, directions, _RAY)
        library().cast("rtcOccluded16", self.handle, packets)
        return (packets[:, 8] < 0).reshape(-1)[: _count(origins, directions)]


class MeshTree(_Tree):
    """The tree of one mesh; its hits name no instance.

    Args:
        positions: (V, 3) float32.
        triangles: (F, 3) int32 indices that are in range.
    """

    def __init__(self, positions: NDArray[np.float32], triangles: NDArray[np.int32]) -> None:
        embree = library()
        # Embree reads 16 bytes at each vertex.
        self._positions = np.concatenate([positions, np.zeros((1, 3), np.float32)])
        self._triangles = np.ascontiguousarray(triangles, np.uint32)
        self.handle = _new_scene(self)
        geometry = embree.rtcNewGeometry(embree.device, _TRIANGLES)
        for kind, layout, array, count in (
            (_VERTEX, _FLOAT3, self._positions, len(positions)),
            (_INDEX, _UINT3, self._triangles, len(triangles)),
        ):
            embree.rtcSetSharedGeometryBuffer(geometry, kind, 0, layout, array.ctypes.data, 0, 12, count)
        _attach(geometry, self.handle, 0)
        embree.rtcCommitScene(self.handle)
        embree.check()


class InstanceTree(_Tree):
    """The tree over placed meshes.

    Args:
        meshes: the tree of each instance, None for one that has no triangles.
        poses: (N, 4, 4) mesh to world.
    """

    def __init__(self, meshes: Sequence[MeshTree | None], poses: NDArray[np.float64]) -> None:
        embree = library()
        self._meshes = meshes
        self.handle = _new_scene(self)
        rows = np.ascontiguousarray(poses[:, :3], np.float32)
        for number, mesh in enumerate(meshes):
            if mesh is not None:
                geometry = embree.rtcNewGeometry(embree.device, _INSTANCE)
                embree.rtcSetGeometryInstancedScene(geometry, mesh.handle)
                embree.rtcSetGeometryTransform(geometry, 0, _ROWS_OF_3X4, rows[number].ctypes.data)
                _attach(geometry, self.handle, number)
        embree.rtcCommitScene(self.handle)
        embree.check()


def _new_scene(owner: _Tree) -> int:
    embree = library()
    handle: int = embree.rtcNewScene(embree.device)
    embree.rtcSetSceneFlags(handle, _ROBUST)
    weakref.finalize(owner, embree.rtcReleaseScene, handle).atexit = False
    return handle


def _attach(geometry: int, scene: int, number: int) -> None:
    embree = library()
    embree.rtcCommitGeometry(geometry)
    embree.rtcAttachGeometryByID(scene, geometry, number)
    embree.rtcReleaseGeometry(geometry)


def _count(origins: NDArray[np.float32], directions: NDArray[np.float32]) -> int:
    return int(np.broadcast_shapes(origins.shape[1:], directions.shape[1:])[0])


def _packets(origins: NDArray[np.float32], directions: NDArray[np.float32], fields: int) -> NDArray[np.float32]:
    """Return (P, fields, 16) float32 rays from 0 to infinity; the last one is repeated to fill up the last packet."""
    count = _count(origins, directions)
    full, rest = divmod(count, PACKET)
    packets = aligned((-(-count // PACKET), fields, PACKET), np.float32)
    for place, values in zip((0, 1, 2, 4, 5, 6), (*origins, *directions), strict=True):
        if len(values) == 1:
            packets[:, place] = values[0]
            continue
        packets[:full, place] = values[: full * PACKET].reshape(full, PACKET)
        if rest:
            packets[full, place, :rest] = values[full * PACKET :]
            packets[full, place, rest:] = values[-1]
    packets[:, 3] = 0.0  # where the ray starts
    packets[:, 7] = 0.0  # time
    packets[:, 8] = np.inf  # where it ends
    whole = packets.view(np.int32)
    whole[:, 9] = -1  # the mask: all bits
    whole[:, 10:12] = 0  # number and flags
    return packets
