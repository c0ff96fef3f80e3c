"""Layer norm: what is computed where, and its kernel: interpreted in another process, and compiled without a GPU."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from lab.layers.norm import LayerNorm
from lab.ops import layer_norm as norms
from lab.ops.layer_norm import add_layer_norm, fused, layer_norm

triton = pytest.importorskip("triton", reason="triton is not installed: torch brings it on Linux with an x86 processor")
KERNELS = "lab.ops.kernels.layer_norm"


def test_by_the_interpreter() -> None:
    """Triton interprets what it compiles elsewhere if this variable is set before it is imported."""
    file = Path(__file__).with_name("interpreted_layer_norm.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    ended = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-1000:]
    assert " passed" in ended.stdout
    assert "skipped" not in ended.stdout


def test_inputs_that_do_not_fit() -> None:
    x = torch.randn(4, 8)
    with pytest.raises(ValueError, match=r"residual \(3, 8\) is not of the shape \(4, 8\)"):
        fused(x, x[:3], None, None, None, 1e-5)
    with pytest.raises(ValueError, match=r"weight \(7,\) is not of the width \(8,\)"):
        fused(x, None, None, torch.ones(7), None, 1e-5)
    with pytest.raises(ValueError, match="rows of 65537 values"):
        fused(torch.empty(1, 65_537), None, None, None, None, 1e-5)
    with pytest.raises(RuntimeError, match="has no vmap"):
        torch.vmap(lambda row: norms.add_layer_norm_op(row, *[None] * 4, 1e-5, x.dtype, x.dtype)[0])(x.expand(2, 4, 8))


def test_a_cpu_gets_pytorchs_own() -> None:
    norm = LayerNorm(24)
    torch.nn.init.normal_(norm.weight)
    x, residual = torch.randn(2, 5, 24, requires_grad=True)
    assert torch.equal(norm(x), F.layer_norm(x, (24,), norm.weight, norm.bias))
    out, total = norm.add(x, residual, norm.bias)
    assert torch.equal(total, residual + (x + norm.bias))
    assert torch.equal(out, norm(total))
    again = add_layer_norm(x, residual, norm.bias, norm.weight, norm.bias, norm.eps)
    assert torch.equal(again[0], out)
    assert torch.equal(layer_norm(x, None, None, 1e-6), F.layer_norm(x, (24,), eps=1e-6))


def compiled(name: str, width: int, dtype: str, architecture: int) -> Any:
    """Compile a kernel for a GPU, with everything that may be left out."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    module = importlib.import_module(KERNELS)
    kernel = getattr(module, name)
    tiles = module.tiling(width)
    warps = tiles.pop("num_warps")
    flags = {flag: True for flag in kernel.arg_names if flag.startswith("HAS_")}
    constants = {"N": width, **tiles, **flags}
    floats = {"means", "scales", "weight", "bias", "grad_weight", "grad_bias", "grad_shift"}
    kinds = {
        "num_rows": "i32",
        "eps": "fp32",
        **dict.fromkeys(constants, "constexpr"),
        **dict.fromkeys(floats, "*fp32"),
    }
    signature = {argument: kinds.get(argument, f"*{dtype}") for argument in kernel.arg_names}
    aligned = {
        (place,): [["tt.divisibility", 16]] for place, kind in enumerate(signature.values()) if kind.startswith("*")
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TRITON_DEFAULT_FP_FUSION is unset")
        source = ASTSource(kernel, signature, constexprs=constants, attrs=aligned)
        return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options={"num_warps": warps})


@pytest.mark.parametrize(
    ("architecture", "dtype", "widths"),
    [(80, "fp32", (98, 1024)), (90, "bf16", (33, 98, 768, 4096, 20_000))],
)
def test_compiled_ahead_of_time(architecture: int, dtype: str, widths: tuple[int, ...], tmp_path: Path) -> None:
    """Even widths are loaded in packs, odd ones value by value; registers do not spill."""
    for width in widths:
        for name in ("forward_kernel", "backward_kernel"):
            made = compiled(name, width, dtype, architecture)
            file = tmp_path / "kernel.cubin"
            file.write_bytes(made.asm["cubin"])
            assert spilled(file) == 0, (name, width)
            packs = set(re.findall(r"ld\.global\S*\.(v\d)\.", made.asm["ptx"]))
            assert packs == ({"v4"} if width % 8 == 0 else {"v2"} if width % 2 == 0 else set()), (name, width)


def spilled(file: Path) -> int:
    """Return the bytes of local memory for each thread, where Triton brings the tool that reads it."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    if not tool.exists():
        return 0
    said = subprocess.run([tool, "-res-usage", file], capture_output=True, text=True, check=True).stdout
    return sum(int(number) for number in re.findall(r"(?:STACK|LOCAL):(\d+)", said))
