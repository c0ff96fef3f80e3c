"""Where a registered model belongs, and the input on which ``scripts/zoo.py`` counts its multiplications."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.config.defaults import group_options
from lab.registry.models import model_entry

BACKBONE = "backbone"
NUM_ITEMS = 3416
"""Items of the data of recommenders: as many as MovieLens-1M has. Their tables grow with it."""
SIZES = {
    "detr": (800, 1066),
    "wide_resnet": (32, 32),
    "conv_stem": (64, 64),
    "vit_mini_patch4_32": (32, 32),
    **dict.fromkeys(("resnet20", "resnet32", "resnet44", "resnet56", "resnet110"), (32, 32)),
    **dict.fromkeys(("swin_base_window12", "swin_large_window12"), (384, 384)),
}
"""Images of rooms and models whose size neither a YAML nor the published weights tell; all others are 224 x 224."""
CAMERAS = {"detr3d": (928, 1600), "detr3d_vovnet": (928, 1600), "detr3d_tiny": (96, 160)}
EVENTS = 50


@dataclass(frozen=True)
class Example:
    """How a network is made, and what it is given.

    Attributes:
        shown: one sample of its input, in a few words.
        run: runs the network once, on that sample.
        arguments: of ``lab.create_model``.
        device: where it is built: ``meta`` unless values of the input decide what is computed.
    """

    shown: str
    run: Callable[[Any], Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    device: str = "meta"


@functools.cache
def options_of() -> dict[str, list[dict[str, Any]]]:
    """Return the part ``model`` of all YAMLs in conf/model, by the registered model that they name."""
    found: dict[str, list[dict[str, Any]]] = {}
    for content in group_options("model").values():
        model = content.get("model") or {}
        found.setdefault(model.get("net", {}).get("_target_", ""), []).append(model)
    return found


def room_of(name: str) -> str:
    """Return the folder of lab/models in which a model stands."""
    return model_entry(name).module.split(".")[2]


def kind_of(name: str) -> str:
    """Return the kind of problem of a model: that of its YAML, else of another of its room, else ``backbone``."""
    beside = [models for other, models in options_of().items() if other and room_of(other) == room_of(name)]
    models = options_of().get(name) or next(iter(beside), [])
    return str(models[0]["task"]) if models else BACKBONE


def example_of(name: str) -> Example | None:
    """Return the input of a registered model; None for one that has nothing to multiply (it counts, or is fitted)."""
    made = _SPECIAL.get(name) or _OF_ROOM.get(room_of(name)) or _image
    return made(name)


def _asked(name: str, key: str) -> int:
    """Return the number that the first YAML of a model asks of the data; 0 if none asks for it."""
    return next((int(asked) for model in options_of().get(name, []) if (asked := model.get("asks", {}).get(key))), 0)


def _image(name: str) -> Example:
    weights = model_entry(name).pretrained.values()
    published = next((source.preprocessing.image_size for source in weights if source.preprocessing), 0)
    side = published or _asked(name, "image_size")
    size = (side, side) if side else SIZES.get(name) or SIZES.get(room_of(name)) or (224, 224)
    return _of_shape((3, *size))


def _of_shape(shape: tuple[int, ...], arguments: Mapping[str, Any] | None = None) -> Example:
    import torch

    shown = " x ".join(map(str, shape))
    return Example(shown, lambda net: net(torch.zeros(1, *shape, device="meta")), arguments or {})


def _field(name: str) -> Example:
    sizes: dict[str, Any] = {
        "afno_tiny": {"image_size": (64, 64)},
        "afno_small": {"image_size": (128, 128)},
        "afno1d": {"image_size": (256,)},
    }
    if name not in sizes:
        return _of_shape((20, 720, 1440))
    channels = {"in_channels": 1, "out_channels": 1}
    return _of_shape((1, *sizes[name]["image_size"]), {**sizes[name], **channels})


def _text(name: str) -> Example:
    import torch

    length = _asked(name, "max_length")
    few = {"vocab_size": 512} if name == "bloom_tiny" else {}
    shown = f"{length} tokens" + (f" of {few['vocab_size']}" if few else "")
    return Example(shown, lambda net: net(torch.zeros(1, length, dtype=torch.int64, device="meta")), few)


def _sound(name: str) -> Example:
    import torch

    return Example("96 frames x 64 bands", lambda net: net.embed(torch.zeros(1, 96, 64, device="meta")))


def _cameras(name: str) -> Example | None:
    import torch

    if name not in CAMERAS:
        return None
    size = CAMERAS[name]

    def run(net: Any) -> Any:
        return net(torch.zeros(1, 6, 3, *size, device="meta"), torch.zeros(1, 6, 4, 4, device="meta"))

    return Example(f"6 x 3 x {size[0]} x {size[1]}", run)


def _events(name: str) -> Example | None:
    import torch

    from lab.structures.recommendation import SequenceBatch, SequenceTargets

    if room_of(name) == "baselines":
        return None
    items = torch.ones(1, EVENTS, dtype=torch.int64)
    one = torch.zeros(1, dtype=torch.int64)
    batch = SequenceBatch(items, one + EVENTS, SequenceTargets(torch.zeros_like(items), (0,)), one, one == 0)

    def run(net: Any) -> Any:
        return net.score(net.encode(batch, torch.tensor([[0, EVENTS - 1]])), slice(1, NUM_ITEMS + 1))

    sizes = {"num_items": NUM_ITEMS}
    return Example(f"{EVENTS} events, {NUM_ITEMS:,} items", run, sizes, device="cpu")


_SPECIAL: dict[str, Callable[[str], Example | None]] = {"afno_imagenet": _image}
_OF_ROOM: dict[str, Callable[[str], Example | None]] = {
    "afno": _field,
    "bert": _text,
    "bloom": _text,
    "text_heads": _text,
    "vggish": _sound,
    "detr3d": _cameras,
    "gru4rec": _events,
    "sasrec": _events,
    "baselines": _events,
}
