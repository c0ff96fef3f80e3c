"""The kernel of layer norm, run by Triton's interpreter on the CPU, against float64.

``test_layer_norm.py`` runs this file in a process of its own, since Triton decides when it is imported whether it
interprets. Worst errors (2026-11-28), of values of about 1: 1.6e-7 forward, 2.6e-7 in gradients, float32; at a mean of
1,000 1.1e-7 and 1.6e-5 (the stored mean is float32), where PyTorch's own norm is off by 5e-5.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lab.layers.norm import LayerNorm
from lab.models.bert.network import Bert
from lab.models.bloom.network import Bloom
from lab.models.vit.network import VisionTransformer
from lab.ops import kernels
from lab.ops import layer_norm as norms
from lab.ops.layer_norm import fused

KERNELS = "lab.ops.kernels.layer_norm"
SOURCE = Path(kernels.__file__).with_name("layer_norm.py").read_text()


def load(edit: Callable[[str], str] = str) -> ModuleType:
    """Return the kernels' module anew; its text may be edited."""
    with tempfile.TemporaryDirectory() as folder:  # Triton reads the source of a kernel from its file
        file = Path(folder) / "edited.py"
        file.write_text(edit(SOURCE))
        spec = importlib.util.spec_from_file_location("edited", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the operators run by the interpreter, on the CPU; a call replaces a piece of the kernels."""
    monkeypatch.setattr(norms, "DEVICES", {"cuda", "cpu"})
    monkeypatch.setitem(sys.modules, KERNELS, load())

    def edit(old: str = "", new: str = "") -> None:
        def changed(source: str) -> str:
            assert old in source
            return source.replace(old, new)

        monkeypatch.setitem(sys.modules, KERNELS, load(changed))

    return edit


def double(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().double().requires_grad_(tensor.requires_grad)


def worst(found: Tensor | None, true: Tensor | None) -> float:
    """Return the largest error, relative to the largest value if that is above 1."""
    assert found is not None
    assert true is not None
    if not found.numel():
        return 0.0
    found, true = found.detach(), true.detach()
    return float((found.double() - true).abs().max() / max(1.0, float(true.abs().max())))


def errors(
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    offset: float = 0.0,
    added: bool = True,
    shifted: bool = True,
    weighted: bool = True,
    scale: float = 1.0,
) -> dict[str, float]:
    """Return the worst errors of outputs and gradients against float64."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    x = (scale * draw(*shape) + offset).to(dtype).requires_grad_()
    residual = draw(*shape).to(dtype).requires_grad_() if added else None
    shift = draw(shape[-1]).to(dtype).requires_grad_() if shifted else None
    weight, bias = (draw(shape[-1]).requires_grad_() if weighted else None for _ in range(2))
    out, total = fused(x, residual, shift, weight, bias, 1e-5)
    grads = draw(*shape).to(dtype), draw(*shape).to(dtype)
    loss = (out * grads[0]).sum() + ((total * grads[1]).sum() if added or shifted else 0)
    inputs = [part for part in (x, residual, shift, weight, bias) if part is not None]
    found = torch.autograd.grad(loss, inputs)

    x64, residual64, shift64, weight64, bias64 = (double(part) for part in (x, residual, shift, weight, bias))
    assert x64 is not None
    sums = [part for part in (residual64, shift64) if part is not None]
    total64 = x64 + sum(sums) if sums else x64
    rounded = total64 + (total.detach().double() - total64.detach())  # the norm is that of the total as it is returned
    out64 = F.layer_norm(rounded, shape[-1:], weight64, bias64, 1e-5)
    loss64 = (out64 * grads[0].double()).sum() + ((total64 * grads[1].double()).sum() if sums else 0)
    true = torch.autograd.grad(loss64, [p for p in (x64, residual64, shift64, weight64, bias64) if p is not None])
    names = [name for name, part in zip(("x", "residual", "shift", "weight", "bias"), (x, residual, shift, weight, bias), strict=True) if part is not None]  # fmt: skip  # noqa: E501
    worsts = {f"grad of {name}": worst(ours, theirs) for name, ours, theirs in zip(names, found, true, strict=True)}
    return {"out": worst(out, out64), "total": worst(total, total64), **worsts}


@pytest.mark.parametrize("width", [1, 2, 5, 33, 98, 768, 1000, 8192, 8193, 65_536])
def test_any_width(interpreted: Callable[..., None], width: int) -> None:
    rows = 700 if width < 10 else 7 if width < 2000 else 2
    assert max(errors((rows, width)).values()) < (3e-6 if width < 10 else 5e-7)  # sums over 700 rows, one by one


@pytest.mark.parametrize(
    "options",
    [
        {"added": False, "shifted": False},
        {"added": False},
        {"shifted": False},
        {"weighted": False},
        {"added": False, "shifted": False, "weighted": False},
    ],
    ids=["norm alone", "shift", "residual", "no weight", "nothing else"],
)
@pytest.mark.parametrize("width", [96, 9000])
def test_what_may_be_left_out(interpreted: Callable[..., None], options: dict[str, Any], width: int) -> None:
    assert max(errors((2, 3, width), **options).values()) < 5e-7


def test_far_from_zero(interpreted: Callable[..., None]) -> None:
    for width in (768, 10_000):
        found = errors((4, width), offset=1000.0, added=False, shifted=False)
        assert found.pop("grad of weight") < 5e-5  # the mean is stored as float32: 1,000 to 3e-5
        assert max(found.values()) < 2e-6


def test_half_precision_has_float32_statistics(interpreted: Callable[..., None]) -> None:
    for dtype, rounding in ((torch.bfloat16, 2.0**-8), (torch.float16, 2.0**-11)):
        found = errors((5, 768), dtype)
        vectors = [found.pop(f"grad of {name}") for name in ("weight", "bias")]
        assert max(vectors) < 5e-6
        assert max(found.values()) < 2 * rounding


def test_constant_rows_and_no_rows(interpreted: Callable[..., None]) -> None:
    weight, bias = torch.randn(2, 48)
    out, _ = fused(torch.full((3, 48), 7.25), None, None, weight, bias, 1e-5)
    assert torch.equal(out, bias.expand(3, 48))
    assert max(errors((0, 48)).values()) == 0
    assert max(errors((2, 0, 48)).values()) == 0


def test_mutants_are_seen(interpreted: Callable[..., None]) -> None:
    """Statistics without the subtraction of a first value, no merge of blocks, a missing term of the gradient."""
    interpreted(
        "first = tl.sum(tl.where(cols == 0, first, 0.0), 1)[:, None]", "first = tl.zeros([ROWS, 1], tl.float32)"
    )
    assert errors((4, 768), offset=1000.0, added=False, shifted=False)["out"] > 2e-6
    interpreted(" + apart * apart * (start * count / (start + count))", "")
    assert errors((2, 20_000), scale=3.0)["out"] > 5e-7
    interpreted(" - tl.sum(scaled, 1)[:, None] / N) * scale", ") * scale")
    assert errors((4, 768))["grad of x"] > 1e-3
    interpreted("found += tl.load(grad_total + rows", "found += 0 * tl.load(grad_total + rows")
    assert errors((4, 768))["grad of residual"] > 1e-3


def test_the_operators_tell_torch_what_they_do(interpreted: Callable[..., None]) -> None:
    """Schema, fake tensors, autograd and tracing: what ``torch.compile`` and FSDP rely on."""
    x, residual = torch.randn(2, 6, 32)
    vectors = [torch.randn(32, requires_grad=True) for _ in range(3)]
    arguments = (x.requires_grad_(), residual.requires_grad_(), *vectors, 1e-5, torch.float32, torch.float32)
    torch.library.opcheck(norms.add_layer_norm_op, arguments)
    _, total, means, scales = norms.add_layer_norm_op(*arguments)
    grad = torch.randn(6, 32)
    weight = vectors[1].detach()
    plain = (total.detach(), grad, None, weight, means.detach(), scales.detach(), True, False)
    torch.library.opcheck(norms.layer_norm_backward_op, plain, test_utils=("test_schema", "test_faketensor"))


def test_autocast_gives_float32(interpreted: Callable[..., None]) -> None:
    x, residual = torch.randn(2, 4, 32)
    weight, bias = torch.randn(2, 32)
    with torch.autocast("cpu", torch.bfloat16):
        out, total = fused(x.bfloat16(), residual, None, weight, bias, 1e-5)
    assert out.dtype == total.dtype == torch.float32
    assert worst(out, F.layer_norm((x.bfloat16() + residual).double(), (32,), weight.double(), bias.double())) < 5e-7


def test_a_hook_sees_the_sum(interpreted: Callable[..., None]) -> None:
    norm = LayerNorm(24)
    x, residual = torch.randn(2, 5, 24)
    plain = norm.add(x, residual)
    seen: list[Tensor] = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    out, total = norm.add(x, residual)
    assert torch.equal(seen[0], total)
    assert worst(plain[0], out.double()) < 5e-7


def networks() -> dict[str, tuple[torch.nn.Module, Tensor]]:
    """Return small networks that use the norm, and an input for each."""
    ids = torch.arange(14).view(2, 7) % 11
    return {
        "vit": (VisionTransformer(24, 2, 2, 8, 16, 5, 3, "token", 4.0, 0.0, 0.0, "timm"), torch.randn(2, 3, 16, 16)),
        "bert": (Bert(11, 24, 2, 2, 48, 8, 0.0, 0.0), ids),
        "bloom": (Bloom(11, 24, 2, 2), ids),
    }


@pytest.mark.parametrize("name", ["vit", "bert", "bloom"])
def test_networks_are_the_same_with_the_kernel(interpreted: Callable[..., None], monkeypatch: Any, name: str) -> None:
    torch.manual_seed(0)
    net, given = networks()[name]
    found = {}
    launched: list[int] = []
    monkeypatch.setattr(norms, "fused", lambda *given: (launched.append(1), fused(*given))[1])
    for devices in ({"cuda", "cpu"}, {"cuda"}):
        monkeypatch.setattr(norms, "DEVICES", devices)
        launched.clear()
        out = net(given)
        states = out if isinstance(out, Tensor) else out.last_hidden_state
        generator = torch.Generator().manual_seed(1)
        (states * torch.randn(states.shape, generator=generator)).sum().backward()
        found[len(devices)] = [states.detach(), *(p.grad for p in net.parameters() if p.grad is not None)]
        assert (len(launched) >= 4) == (len(devices) == 2)
        net.zero_grad()
    for ours, plain in zip(*found.values(), strict=True):
        assert worst(ours, plain.double()) < 2e-6
