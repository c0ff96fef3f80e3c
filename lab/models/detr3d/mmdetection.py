"""Reads the nested config of MMDetection3D's DETR3D (``dict(type="Detr3D", img_backbone=dict(type="ResNet", ...))``).

Each part has a table: the names of its arguments there and here, the values that an argument must have because nothing
else is built, and the parts within it. The result is a tree as that of ``lab.models.detr3d.nested``. Every error names
the dotted path in the config that was read. What MMDetection3D itself does not use is said once and left out.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lab.config.arguments import join_path
from lab.errors import ConfigError, LabError, closest
from lab.models.detr3d.mmdetection_parts import ALIASES, MODULES, PARTS, SPELLED, MmdetConfig, MmdetPart
from lab.registry.models import is_model

logger = logging.getLogger(__name__)


def read_tree(config: MmdetConfig) -> dict[str, Any]:
    """Return the nested config that ``lab.build`` builds.

    Args:
        config: the ``model`` of a config of MMDetection3D: plain mappings with ``type``.

    Raises:
        ConfigError: a type or an argument is unknown, or has a value that is not supported; with its dotted path.
    """
    config = dict(config)
    pixels = _pixels(config.pop("data_preprocessor", None))
    matching = _matching(config.pop("train_cfg", None))
    if config.pop("use_grid_mask", False):
        logger.info("model.use_grid_mask: pictures are masked in training by model.learning.grid_mask")
    found = read_part(config, "model")
    if found["_target_"] != PARTS["Detr3D"].target:
        raise ConfigError(f"model.type={config['type']!r}: expected 'Detr3D'; its parts may be of your own")
    head = found["pts_bbox_head"]
    head.update({**matching, **head})
    return {**found, **pixels}


def with_sizes(
    tree: dict[str, Any], num_classes: int, num_cameras: int, point_range: Sequence[float]
) -> dict[str, Any]:
    """Return a tree with the sizes that the data and the neck decide.

    Raises:
        ConfigError: the config has other ones.
    """
    tree = copy.deepcopy(tree)
    head = tree["pts_bbox_head"]
    _fit(head, "num_classes", num_classes, "num_classes")
    attention: Any = head
    for name in ("transformer", "decoder", "layer", "cross_attention"):  # a part of the user's own may have others
        attention = attention.get(name) or {}
    if head.get("bbox_coder", {}).get("_target_") == PARTS["NMSFreeCoder"].target:
        _fit(head["bbox_coder"], "point_range", list(point_range), "bbox_coder.pc_range")
    if attention.get("_target_") == PARTS["Detr3DCrossAtten"].target:
        at = "transformer.decoder.transformerlayers.attn_cfgs.1"
        _fit(attention, "num_cameras", num_cameras, f"{at}.num_cams")
        attention.setdefault("num_levels", tree["img_neck"].get("num_outs", 4))
    return tree


def in_their_words(error: LabError) -> ConfigError:
    """Return an error of building a tree, with the path in the config that the tree was read from."""
    text = str(error)
    for ours, theirs in SPELLED:
        if text.startswith(ours):
            return ConfigError(theirs + text[len(ours) :])
    return ConfigError(text)


def _fit(node: dict[str, Any], key: str, value: Any, name: str) -> None:
    """Set an argument that is not given, and refuse another value."""
    given = node.setdefault(key, value)
    if (list(given) if isinstance(given, list | tuple) else given) != value:
        raise ConfigError(f"model.pts_bbox_head.{name}={given}: the data has {value}")


def read_part(config: Any, path: str) -> dict[str, Any]:
    """Return a part as ``lab.build`` takes it, and the parts within it."""
    if not isinstance(config, Mapping) or not isinstance(config.get("type"), str):
        raise ConfigError(f"{path or 'config'}: expected a mapping with 'type'")
    given = dict(config)
    written = given.pop("type")
    name = written.removeprefix("mmdet.").removeprefix("mmdet3d.")
    name = ALIASES.get(name, name)
    if name in _SPECIAL:
        return _SPECIAL[name](given, path)
    if name not in PARTS:
        if "." in name or is_model(name):  # one of lab's, or of the user's own
            return {"_target_": name, **given}
        known = closest(name, [*PARTS, *_SPECIAL])
        raise ConfigError(f"{join_path(path, 'type')}: unknown {written!r}{known}")
    part = PARTS[name]
    losses = _losses(given, path) if name == "Detr3DHead" else {}
    _check(given, part, name, path)
    made: dict[str, Any] = {"_target_": part.target, **losses}
    for key, value in given.items():
        if key in part.names:
            made[part.names[key]] = value
        elif key in part.parts:
            made[part.parts[key]] = read_part(value, join_path(path, key))
    return made


def _check(given: MmdetConfig, part: MmdetPart, name: str, path: str) -> None:
    """Refuse unknown arguments and unsupported values, say which are not used."""
    known = {*part.names, *part.only, *part.parts, *part.unused}
    for key, value in given.items():
        at = join_path(path, key)
        if key not in known:
            raise ConfigError(f"{at}: {name} has no argument {key!r}{closest(key, known)}")
        if key in part.only and value != part.only[key]:
            raise ConfigError(f"{at}={value!r}: only {part.only[key]!r} is supported")
        if key in part.unused and value is not None:
            logger.info("%s: not used, as in MMDetection3D", at)
    for key in part.parts:
        if key not in given:
            raise ConfigError(f"{join_path(path, key)}: missing; {name} needs it")


def _layer(given: dict[str, Any], path: str) -> dict[str, Any]:
    """Read a layer of the decoder: two attentions and a feed-forward network."""
    order = ["self_attn", "norm", "cross_attn", "norm", "ffn", "norm"]
    part = MmdetPart("", only={"operation_order": order}, unused=())
    attentions = given.pop("attn_cfgs", None)
    at = join_path(path, "attn_cfgs")
    if not isinstance(attentions, list | tuple) or len(attentions) != 2:
        raise ConfigError(f"{at}: expected a list of two, MultiheadAttention and Detr3DCrossAtten")
    hidden, dropout = given.pop("feedforward_channels", 1024), given.pop("ffn_dropout", 0.0)
    given["operation_order"] = list(given.get("operation_order", order))
    _check(given, part, "DetrTransformerDecoderLayer", path)
    made = [read_part(item, join_path(at, index)) for index, item in enumerate(attentions)]
    width = made[0].get("embed_dim", 256)
    feed_forward = {
        "_target_": f"{MODULES}.QueryFeedForward",
        "embed_dim": width,
        "hidden_dim": hidden,
        "dropout": dropout,
    }
    return {
        "_target_": f"{MODULES}.Detr3dDecoderLayer",
        "self_attention": made[0],
        "cross_attention": made[1],
        "feed_forward": feed_forward,
    }


def _resnet(given: dict[str, Any], path: str) -> dict[str, Any]:
    """Read a ResNet that returns the maps of its stages, counted from 0 there and from 1 here."""
    names = {name: name for name in ("frozen_stages", "style", "deep_stem", "avg_down", "with_cp", "stage_with_dcn")}
    part = MmdetPart("", names, {"num_stages": 4, "init_cfg": None, "pretrained": None})
    depth, norm = given.pop("depth", None), dict(given.pop("norm_cfg", {"type": "BN"}))
    norm_eval, deform = given.pop("norm_eval", True), given.pop("dcn", None)
    indices = given.pop("out_indices", (0, 1, 2, 3))
    if not is_model(f"resnet{depth}"):
        raise ConfigError(f"{join_path(path, 'depth')}={depth!r}: expected 18, 34, 50, 101 or 152")
    if norm.get("type") not in ("BN", "BN2d"):
        raise ConfigError(f"{join_path(path, 'norm_cfg.type')}={norm.get('type')!r}: only 'BN' is supported")
    _check(given, part, "ResNet", path)
    frozen = norm_eval and not norm.get("requires_grad", True)
    made = {"_target_": f"resnet{depth}", "features_only": True, "out_indices": [index + 1 for index in indices]}
    made |= {"norm": "frozen_batch_norm"} if frozen else {"norm": "batch_norm", "norm_eval": norm_eval}
    if deform is None:
        given.pop("stage_with_dcn", None)
    else:
        at = join_path(path, "dcn")
        only = MmdetPart("", {"deform_groups": ""}, {"type": "DCNv2", "fallback_on_stride": False})
        _check(deform, only, "DCNv2", at)
        made["deform_groups"] = deform.get("deform_groups", 1)
    return {**made, **{key: value for key, value in given.items() if key in names}}


_SPECIAL: Mapping[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
    "ResNet": _resnet,
    "DetrTransformerDecoderLayer": _layer,
}


def _losses(given: dict[str, Any], path: str) -> dict[str, Any]:
    """Take the losses out of a head's config."""
    found: dict[str, Any] = {}
    if "code_weights" in given:
        found["code_weights"] = given.pop("code_weights")
    tables: Mapping[str, tuple[Mapping[str, str], MmdetConfig]] = {
        "loss_cls": (
            {"gamma": "focal_gamma", "alpha": "focal_alpha", "loss_weight": "class_loss_weight"},
            {"type": "FocalLoss", "use_sigmoid": True},
        ),
        "loss_bbox": ({"loss_weight": "box_loss_weight"}, {"type": "L1Loss"}),
        "loss_iou": ({}, {"type": "GIoULoss", "loss_weight": 0.0}),
    }
    for key, (names, only) in tables.items():
        if key in given:
            found |= _numbers(given.pop(key), names, only, join_path(path, key))
    return found


def _numbers(config: MmdetConfig, names: Mapping[str, str], only: MmdetConfig, path: str) -> dict[str, Any]:
    """Return the numbers of a loss or a cost by our names."""
    config = {key: value.removeprefix("mmdet.") if key == "type" else value for key, value in config.items()}
    _check(config, MmdetPart("", names, only), str(config.get("type")), path)
    return {ours: config[theirs] for theirs, ours in names.items() if theirs in config}


def _matching(config: MmdetConfig | None) -> dict[str, Any]:
    """Return the weights of the matching from ``train_cfg``."""
    assigner = ((config or {}).get("pts") or {}).get("assigner") or {}
    path, costs = "model.train_cfg.pts.assigner", dict.fromkeys(("cls_cost", "reg_cost", "iou_cost"), "")
    part = MmdetPart("", costs, {"type": "HungarianAssigner3D"}, {}, ("pc_range",))
    _check(assigner, part, "HungarianAssigner3D", path)
    tables: Mapping[str, tuple[Mapping[str, str], MmdetConfig]] = {
        "cls_cost": ({"weight": "cost_class"}, {"type": "FocalLossCost"}),
        "reg_cost": ({"weight": "cost_box"}, {"type": "BBox3DL1Cost"}),
        "iou_cost": ({}, {"type": "IoUCost", "weight": 0.0}),
    }
    found: dict[str, Any] = {}
    for key, (names, only) in tables.items():
        if key in assigner:
            found |= _numbers(assigner[key], names, only, join_path(path, key))
    return found


def _pixels(config: MmdetConfig | None) -> dict[str, Any]:
    """Return how pictures are normalised, from ``data_preprocessor``."""
    if config is None:
        return {}
    config = {key: value for key, value in config.items() if key != "type"}
    part = MmdetPart("", {"mean": "", "std": "", "bgr_to_rgb": ""}, {"pad_size_divisor": 32})
    _check(config, part, "Det3DDataPreprocessor", "model.data_preprocessor")
    bgr = not config.get("bgr_to_rgb", False)
    ordered = {key: list(reversed(config[key]) if bgr else config[key]) for key in ("mean", "std") if key in config}
    return {"bgr": bgr, **{f"pixel_{key}": value for key, value in ordered.items()}}
