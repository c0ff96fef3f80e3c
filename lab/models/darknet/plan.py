"""What the sections of a ``.cfg`` amount to: layers with inputs, channels and sizes, all checked."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from lab.errors import ConfigError
from lab.models.darknet.cfg import ACTIVATIONS, Section
from lab.models.darknet.learning import YoloLearning, read_learning

MapShape = tuple[int, int, int]
"""Channels, height, width."""
MOST_VALUES = 1 << 28
"""The limit of a network's values, 1 GiB, and four times that of a map's: a larger number is a typing error."""
MOST_LAYERS = 10_000


@dataclass(frozen=True)
class Layer:
    """A layer, ready to be built.

    Attributes:
        kind: as in ``Section``.
        name: ``layer 3 [convolutional] (file:line)``, for messages.
        inputs: the layers whose outputs it reads, counted from 0; -1 is the image.
        shape: of its output at the size in ``[net]``.
        entering: the channels of its (first) input.
        options: integers, by the key of the cfg.
        activation: of a convolution or shortcut.
        number: the probability of a dropout, the factor of an upsample, ``scale_x_y`` of a yolo layer.
        anchors: of a yolo layer: (width, height) in pixels of the network's input, those of its mask.
        learning: of a yolo layer: what the section says about training.
    """

    kind: str
    name: str
    inputs: tuple[int, ...]
    shape: MapShape
    entering: int
    options: dict[str, int] = field(default_factory=dict)
    activation: str = "linear"
    number: float = 1.0
    anchors: tuple[tuple[float, float], ...] = ()
    learning: YoloLearning | None = None


@dataclass(frozen=True)
class CfgPlan:
    """A whole network.

    Attributes:
        height: of its input, in pixels, as the file gives it.
        width: see ``height``.
        layers: in the file's order.
        num_classes: of its yolo layers, the same in all.
    """

    height: int
    width: int
    layers: tuple[Layer, ...]
    num_classes: int


def make_plan(sections: list[Section], size: tuple[int, int] | None = None) -> CfgPlan:
    """Check the sections against each other.

    Args:
        sections: of a ``.cfg``.
        size: (height, width) of the images; None: as ``[net]`` says.

    Raises:
        ConfigError: a value is out of range, shapes do not fit, or there is no ``[yolo]`` layer.
    """
    net = sections[0]
    height, width = size or (net.integer("height", 0, 1, 65535), net.integer("width", 0, 1, 65535))
    if net.integer("channels", 3, 1) != 3:
        raise net.fail(f"channels={net.values['channels'][:40]}: images have 3")
    if len(sections) > MOST_LAYERS:
        raise sections[MOST_LAYERS].fail(f"is layer {MOST_LAYERS}, one more than the limit")
    image = (3, height, width)
    layers: list[Layer] = []
    shapes: list[MapShape] = []
    values = 0
    for index, section in enumerate(sections[1:]):
        layer = _MAKERS[section.kind](section, index, shapes, shapes[-1] if shapes else image)
        layers.append(layer)
        shapes.append(layer.shape)
        if layer.kind == "convolutional":
            values += sum(count for _, count in values_of(layer))
        if values > MOST_VALUES:
            raise section.fail(f"brings the network to {values} values; the limit is {MOST_VALUES}")
        if math.prod(layer.shape) > 4 * MOST_VALUES:
            raise section.fail(f"makes a map of shape {layer.shape}; the limit is {4 * MOST_VALUES} values")
    heads = [layer for layer in layers if layer.kind == "yolo"]
    if not heads:
        raise ConfigError(f"{net.place.rpartition(':')[0]}: has no [yolo] layer, so it is no detector")
    classes = {layer.options["classes"] for layer in heads}
    if len(classes) > 1:
        raise ConfigError(f"{heads[0].name}: the [yolo] layers disagree about classes: {sorted(classes)}")
    return CfgPlan(height, width, tuple(layers), classes.pop())


def values_of(layer: Layer) -> list[tuple[str, int]]:
    """Return names and numbers of a convolution's values in the order in which ``.weights`` holds them."""
    filters, size = layer.options["filters"], layer.options["size"]
    norm = ["scales", "means", "variances"] if layer.options["batch_normalize"] else []
    weights = filters * (layer.entering // layer.options["groups"]) * size * size
    return [(name, filters) for name in ("biases", *norm)] + [("weights", weights)]


def _name(section: Section, index: int) -> str:
    return f"layer {index} [{section.kind}] ({section.place})"


def _out(section: Section, side: int, padding: int, size: int, stride: int) -> int:
    if side + padding < size:
        raise section.fail(f"size={size}: larger than its padded input of {side + padding} pixels")
    return (side + padding - size) // stride + 1


def _convolution(section: Section, index: int, _: list[MapShape], shape: MapShape) -> Layer:
    options = {
        "filters": section.integer("filters", 1, 1),
        "size": section.integer("size", 1, 1, 255),
        "stride": section.integer("stride", 1, 1, 255),
        "padding": section.integer("padding", 0, 0, 255),
        "groups": section.integer("groups", 1, 1),
        "batch_normalize": section.integer("batch_normalize", 0, 0, 1),
    }
    if section.integer("pad", 0, 0, 1):
        options["padding"] = options["size"] // 2
    channels, groups = shape[0], options["groups"]
    if channels % groups or options["filters"] % groups:
        raise section.fail(
            f"groups={groups}: divides not both its {channels} channels and {options['filters']} filters"
        )
    sides = [_out(section, side, 2 * options["padding"], options["size"], options["stride"]) for side in shape[1:]]
    activation = section.word("activation", "logistic", ACTIVATIONS)
    out = (options["filters"], sides[0], sides[1])
    return Layer("convolutional", _name(section, index), (index - 1,), out, channels, options, activation)


def _earlier(section: Section, key: str, index: int) -> tuple[int, ...]:
    """Return the layers that a key names: negative numbers count back from this one."""
    named = section.integers(key, -100_000, 100_000)
    found = tuple(index + number if number < 0 else number for number in named)
    for number, layer in zip(named, found, strict=True):
        if not 0 <= layer < index:
            raise section.fail(f"{key}={number}: there is no such layer before layer {index}")
    return found


def _shortcut(section: Section, index: int, shapes: list[MapShape], shape: MapShape) -> Layer:
    source = _earlier(section, "from", index)
    if len(source) != 1:
        raise section.fail(f"from={section.values['from'][:40]}: takes one layer")
    if shapes[source[0]] != shape:
        raise section.fail(f"adds layer {source[0]} of shape {shapes[source[0]]} to {shape}; they must be equal")
    activation = section.word("activation", "linear", ACTIVATIONS)
    return Layer("shortcut", _name(section, index), (index - 1, *source), shape, shape[0], {}, activation)


def _route(section: Section, index: int, shapes: list[MapShape], _: MapShape) -> Layer:
    sources = _earlier(section, "layers", index)
    sides = {shapes[source][1:] for source in sources}
    if len(sides) > 1:
        raise section.fail(f"layers={section.values['layers'][:40]}: their sizes differ: {sorted(sides)[:8]}")
    groups = section.integer("groups", 1, 1)
    group = section.integer("group_id", 0, 0, groups - 1)
    for source in sources:
        if shapes[source][0] % groups:
            raise section.fail(f"groups={groups}: does not divide the {shapes[source][0]} channels of layer {source}")
    channels = sum(shapes[source][0] for source in sources) // groups
    options = {"groups": groups, "group_id": group}
    out = (channels, *shapes[sources[0]][1:])
    return Layer("route", _name(section, index), sources, out, shapes[sources[0]][0], options)


def _maxpool(section: Section, index: int, _: list[MapShape], shape: MapShape) -> Layer:
    stride = section.integer("stride", 1, 1, 255)
    size = section.integer("size", stride, 1, 255)
    padding = section.integer("padding", size - 1, 0, 255)
    if padding >= 2 * size:
        raise section.fail(f"padding={padding}: a window of {size} would see nothing but padding")
    out = (shape[0], _out(section, shape[1], padding, size, stride), _out(section, shape[2], padding, size, stride))
    options = {"size": size, "stride": stride, "padding": padding}
    return Layer("maxpool", _name(section, index), (index - 1,), out, shape[0], options)


def _upsample(section: Section, index: int, _: list[MapShape], shape: MapShape) -> Layer:
    stride = section.integer("stride", 2, 1, 64)
    scale = section.number("scale", 1.0, -1e6, 1e6)
    out = (shape[0], shape[1] * stride, shape[2] * stride)
    return Layer("upsample", _name(section, index), (index - 1,), out, shape[0], {"stride": stride}, number=scale)


def _dropout(section: Section, index: int, _: list[MapShape], shape: MapShape) -> Layer:
    probability = section.number("probability", 0.5, 0, 0.999999)
    return Layer("dropout", _name(section, index), (index - 1,), shape, shape[0], number=probability)


def _yolo(section: Section, index: int, _: list[MapShape], shape: MapShape) -> Layer:
    classes, num = section.integer("classes", 20, 1), section.integer("num", 1, 1, 1000)
    sides = section.numbers("anchors", 1e-6, 1e6)
    if len(sides) != 2 * num:
        raise section.fail(f"anchors: {len(sides)} numbers, but num={num} asks for {2 * num}")
    mask = section.integers("mask", 0, num - 1) if "mask" in section.values else tuple(range(num))
    if shape[0] != len(mask) * (classes + 5):
        wanted = f"{len(mask)} anchors x ({classes} classes + 5) = {len(mask) * (classes + 5)}"
        raise section.fail(f"reads {shape[0]} channels; {wanted} are needed")
    every = tuple(zip(sides[::2], sides[1::2], strict=True))
    return Layer(
        "yolo",
        _name(section, index),
        (index - 1,),
        shape,
        shape[0],
        {"classes": classes},
        number=section.number("scale_x_y", 1.0, 1, 100),
        anchors=tuple(every[each] for each in mask),
        learning=read_learning(section, every, mask),
    )


_MAKERS = {
    "convolutional": _convolution,
    "shortcut": _shortcut,
    "route": _route,
    "maxpool": _maxpool,
    "upsample": _upsample,
    "dropout": _dropout,
    "yolo": _yolo,
}
