"""Heat maps of what a classifier looks at: Grad-CAM for networks with feature maps, attention rollout for ViTs.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017,
equations 1 and 2. Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, section 3 (attention
rollout). Both from ``lab.inspection.capture``.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lab.compat.torch import in_backward
from lab.errors import ConfigError
from lab.inspection.capture import capture
from lab.inspection.names import named_modules, select

Method = Literal["grad_cam", "rollout"]


def method_for(model: nn.Module) -> Method:
    """Return what suits a network: ``rollout`` if its tokens attend to all others, else ``grad_cam``."""
    return "rollout" if attentions_of(model) else "grad_cam"


def heat_maps(model: nn.Module, images: Tensor, labels: Tensor, method: Method, layer: str | None = None) -> Tensor:
    """Return what each image was looked at for, from 0 to 1.

    Args:
        model: a classifier in evaluation mode.
        images: (B, C, H, W), normalised.
        labels: (B,) int64, the classes to explain; a rollout is the same for every class.
        method: ``grad_cam`` or ``rollout``.
        layer: the module whose output Grad-CAM weighs; None for the last feature map.

    Returns:
        (B, h, w) float32, in the resolution of the feature map or of the patches; the largest value of an image is 1,
        or all are 0.

    Raises:
        ConfigError: the method does not suit the network, the layer gives no feature map, or a rollout is given one.
    """
    if method == "rollout" and layer is not None:
        raise ConfigError(f"a rollout goes through all blocks and takes no layer ({layer!r}): that is for grad_cam")
    maps = rollout(model, images) if method == "rollout" else grad_cam(model, images, labels, layer)
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)


def grad_cam(model: nn.Module, images: Tensor, labels: Tensor, layer: str | None = None) -> Tensor:
    """Return (B, h, w): the feature maps, each weighted by the mean of its gradient, summed, negative ones cut off.

    The maps are what the rest of the network sees, after the activation, and the gradient is of the class's logit.

    Args:
        model: a classifier in evaluation mode; it may stand under ``no_grad`` or ``inference_mode``.
        images: (B, C, H, W), normalised.
        labels: (B,) int64, the classes to explain.
        layer: the module whose output is weighed; None for the last feature map.

    Raises:
        ConfigError: there is no feature map; a ViT has tokens.
    """
    if layer is None:
        if attentions_of(model):
            raise ConfigError(f"{type(model).__name__} has tokens instead of feature maps: explain it by rollout")
        layer = last_map(model, images[:1])
    elif list(select(model, layer)) != [layer]:
        raise ConfigError(f"{layer!r} names several modules of {type(model).__name__}; Grad-CAM takes one")
    with torch.inference_mode(False), torch.enable_grad():
        inputs = images.detach().clone().requires_grad_()  # so that frozen networks have a graph too
        with capture(model, layer, detach=False) as seen:
            logits = model(inputs)
        output = seen[layer]
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise ConfigError(f"{layer!r} gives no feature map (B, C, h, w); Grad-CAM needs one")
        (gradient,) = torch.autograd.grad(logits.gather(1, labels.clone()[:, None]).sum(), output)
    maps = output
    if _is_channels_last(output, images, model):
        maps, gradient = output.permute(0, 3, 1, 2), gradient.permute(0, 3, 1, 2)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return (weights * maps.detach()).sum(1).relu().float()


def last_map(model: nn.Module, images: Tensor) -> str:
    """Return the name of the module that gives the last feature map of more than one place.

    Args:
        model: the network.
        images: (1, C, H, W).

    Raises:
        ConfigError: there is none.
    """
    found: list[str] = []

    def note(name: str) -> Any:
        def after(module: nn.Module, arguments: Any, output: Any) -> None:
            if (
                isinstance(output, Tensor)
                and output.ndim == 4
                and _places(output, images, model) > 1
                and not in_backward()
            ):
                found.append(name)

        return after

    handles = [module.register_forward_hook(note(name)) for name, module in named_modules(model).items()]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise ConfigError(f"{type(model).__name__} has no feature map of more than one place for Grad-CAM")
    return found[-1]


def rollout(model: nn.Module, images: Tensor) -> Tensor:
    """Return (B, h, w): how much of each patch flows into what the head reads, over all blocks and heads.

    Each block passes on half of its tokens and half of what they attend to (the mean of the heads); the product over
    the blocks, and of it the row of the class token, or the mean of the patches' rows where the head reads their mean.

    Args:
        model: a ViT in evaluation mode, ``lab.models.vit`` or one whose attention has ``qkv`` and ``num_heads`` alike.
        images: (B, C, H, W), normalised.

    Raises:
        ConfigError: the network has no attention from every token to every other, or further tokens.
    """
    attentions = attentions_of(model)
    patch = getattr(model, "patch_size", None)
    if not attentions or not isinstance(patch, int):
        raise ConfigError(
            f"{type(model).__name__} has no attention from every token to every other, as a ViT has: explain it by "
            "grad_cam"
        )
    with torch.no_grad(), capture(model, [f"{name}.qkv" for name in attentions]) as seen:
        model(images)
    whole: Tensor | None = None
    for name, attention in attentions.items():
        mixed = 0.5 * attention_weights(seen[f"{name}.qkv"], attention.num_heads).mean(1)
        mixed.diagonal(dim1=1, dim2=2).add_(0.5)
        whole = mixed if whole is None else mixed @ whole
    assert whole is not None
    rows = whole[:, 1:].mean(1) if getattr(model, "global_pool", "token") == "avg" else whole[:, 0]
    height, width = (-(-length // patch) for length in images.shape[2:])
    if rows.shape[1] != 1 + height * width:
        raise ConfigError(f"{type(model).__name__} has {rows.shape[1]} tokens, not one and {height} x {width} patches")
    return rows[:, 1:].unflatten(1, (height, width))


def attention_weights(qkv: Tensor, num_heads: int) -> Tensor:
    """Return the weights (B, heads, N, N) that fused attention does not give, from its projections (B, N, 3 * C)."""
    query, key = (part.unflatten(-1, (num_heads, -1)).transpose(1, 2).float() for part in qkv.chunk(3, dim=-1)[:2])
    return (query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)).softmax(-1)


def attentions_of(model: nn.Module) -> dict[str, Any]:
    """Return the modules in which every token attends to every other, from one fused projection, by name."""
    return {
        name: module
        for name, module in named_modules(model).items()
        if isinstance(getattr(module, "qkv", None), nn.Linear)
        and isinstance(getattr(module, "num_heads", None), int)
        and not hasattr(module, "relative_position_bias_table")  # of windows
    }


def _is_channels_last(output: Tensor, images: Tensor, model: nn.Module) -> bool:
    """Whether a map is (B, h, w, C), as Swin has it: then the image has the ratio of h to w, not of the last two sizes.

    If it has both, the network's number of features decides.
    """
    wanted = math.log(images.shape[2] / images.shape[3])
    first, last = (abs(math.log(height / width) - wanted) for height, width in (output.shape[2:], output.shape[1:3]))
    if math.isclose(first, last, abs_tol=1e-6):
        return output.shape[3] == getattr(model, "num_features", None) != output.shape[1]
    return last < first


def _places(output: Tensor, images: Tensor, model: nn.Module) -> int:
    height, width = output.shape[1:3] if _is_channels_last(output, images, model) else output.shape[2:]
    return height * width
