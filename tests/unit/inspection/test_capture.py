"""Hooks take what modules give and its gradient, and leave nothing behind."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import lab
from lab.errors import ConfigError
from lab.inspection.names import named_modules, select
from tests.classifiers import fill, images


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.Linear(4, 4)
        self.mlp = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.attn(x))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def made(seed: int = 0) -> tuple[Net, Tensor]:
    net = Net()
    fill(net, seed)
    return net, torch.randn(5, 4, generator=torch.Generator().manual_seed(2))


def hooks(net: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in net.modules())


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("head", ["head"]),
        ("blocks.*.attn", ["blocks.0.attn", "blocks.1.attn"]),
        ("blocks.[1-9]", ["blocks.1"]),
        ("*", ["blocks", "head"]),
        ("**.mlp", ["blocks.0.mlp", "blocks.1.mlp"]),
        ("blocks.1.**", ["blocks.1", "blocks.1.attn", "blocks.1.mlp", "blocks.1.mlp.0", "blocks.1.mlp.1"]),
        ("blocks.1.**.0", ["blocks.1.mlp.0"]),
        ("", [""]),
        (["head", "bl*.0", "head"], ["blocks.0", "head"]),
    ],
)
def test_patterns(pattern: str | list[str], names: list[str]) -> None:
    assert list(select(Net(), pattern)) == names


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("haed", "Net has no module 'haed'; did you mean 'head'"),
        ("blocks.*.atn", "Net has no module 'blocks.*.atn'; did you mean 'blocks.1.attn'"),
        ("zzzzzzz", "Net has no module 'zzzzzzz'; it has blocks, head"),
        ([], "no module of Net is named"),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused(pattern: str | list[str], said: str) -> None:
    with pytest.raises(ConfigError, match="^" + said.replace("*", r"\*")):
        lab.capture(Net(), pattern)


def test_values_and_gradients_are_those_of_a_split_network() -> None:
    net, x = made()
    with lab.capture(net, ["blocks.0", "blocks.*.attn", "head"]) as seen:
        net(x)[:, 1].sum().backward()
    first = net.blocks[0](x)
    middle = net.blocks[1].attn(first)
    logits = net.head(net.blocks[1].mlp(middle))
    for name, value in {"blocks.0": first, "blocks.1.attn": middle, "head": logits}.items():
        (gradient,) = torch.autograd.grad(logits[:, 1].sum(), value, retain_graph=True)
        torch.testing.assert_close(seen[name], value.detach(), rtol=0, atol=0)
        torch.testing.assert_close(seen.gradient(name), gradient, rtol=0, atol=0)
        assert not seen[name].requires_grad
    assert hooks(net) == 0


def test_a_later_change_in_place_does_not_reach_what_was_captured() -> None:
    net, x = made()
    with lab.capture(net, "blocks.0.mlp.0") as seen:  # the ReLU behind it works in place
        net(x).sum().backward()
    assert float(seen["blocks.0.mlp.0"].min()) < 0
    torch.testing.assert_close(seen["blocks.0.mlp.0"], net.blocks[0].mlp[0](net.blocks[0].attn(x)))
    with lab.capture(net, "blocks.0.mlp.0", detach=False) as seen:
        net(x)
    torch.testing.assert_close(seen["blocks.0.mlp.0"], net.blocks[0](x))


def test_without_detaching_the_graph_goes_on() -> None:
    net, x = made()
    with lab.capture(net, "blocks.0.attn", detach=False) as seen:
        net(x)
    (found,) = torch.autograd.grad(seen["blocks.0.attn"].square().sum(), net.blocks[0].attn.bias)
    torch.testing.assert_close(found, 2 * net.blocks[0].attn(x).sum(0))


def test_stop_leaves_out_the_rest() -> None:
    net, x = made()
    ran = []
    net.head.register_forward_hook(lambda *_: ran.append("head"))
    with lab.capture(net, ["blocks.0.mlp", "blocks.0.attn"], stop=True) as seen:
        net(x)
        ran.append("body")
    assert ran == []
    torch.testing.assert_close(seen["blocks.0.mlp"], net.blocks[0](x).detach())
    net(x)
    assert ran == ["head"]


def test_nested_captures_stop_each_for_itself() -> None:
    net, x = made()
    with lab.capture(net, "head") as outer:
        with lab.capture(net, "blocks.0", stop=True) as inner:
            net(x)
        assert outer.activations["head"] == []
        net(x)
    assert len(inner.activations["blocks.0"]) == len(outer.activations["head"]) == 1
    with lab.capture(net, "blocks.1", stop=True) as outer, lab.capture(net, "blocks.0") as inner:
        net(x)
    assert outer["blocks.1"].shape == inner["blocks.0"].shape
    assert hooks(net) == 0


def test_hooks_are_removed_after_an_error() -> None:
    net, x = made()
    capture = lab.capture(net, "**")
    with pytest.raises(RuntimeError, match="mat1"), capture:
        net(x[:, :3])
    with pytest.raises(KeyError), capture:
        raise KeyError
    assert hooks(net) == 0
    with capture as seen:
        net(x)
    assert len(seen.activations["head"]) == 1


def test_calls_are_a_list() -> None:
    net, x = made()
    with lab.capture(net, "head") as seen:
        (net(x).sum() + 2 * net(x[:2]).sum()).backward()
        with pytest.raises(ConfigError, match=r"called 2 times: take .activations\['head'\]\[call\]"):
            _ = seen["head"]
    assert [len(value) for value in seen.activations["head"]] == [5, 2]
    assert [float(value.unique()) for value in seen.gradients["head"]] == [1.0, 2.0]
    with pytest.raises(ConfigError, match="'tail' is not captured; head are"):
        _ = seen["tail"]
    with lab.capture(net, "head") as seen, pytest.raises(ConfigError, match="'head' was not called"):
        _ = seen["head"]
    with lab.capture(net, "head") as seen:
        net(x)
    with pytest.raises(ConfigError, match="no gradient of 'head'"):
        seen.gradient("head")


class Pair(NamedTuple):
    left: Tensor
    right: dict[str, Tensor | int | None]


class Forms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Several()

    def forward(self, x: Tensor) -> Tensor:
        pair, more = self.inner(x)
        return pair.left.sum() + 3 * pair.right["a"].sum() + more[0].detach().sum()


class Several(nn.Module):
    def forward(self, x: Tensor) -> tuple[Pair, list[Tensor]]:
        return Pair(x + 1, {"a": x + 2, "count": 3, "none": None}), [x + 3]


def test_nested_outputs_keep_their_form() -> None:
    net, x = Forms(), torch.ones(2, 1, requires_grad=True)
    with lab.capture(net, "inner") as seen:
        net(x).backward()
    pair, more = seen["inner"]
    assert float(pair.left.sum()) == 4
    assert float(pair.right["a"].sum()) == 6
    assert pair.right["count"] == 3
    assert pair.right["none"] is None
    assert float(more[0].sum()) == 8
    grad, more = seen.gradient("inner")
    assert grad.left.tolist() == [[1], [1]]
    assert grad.right["a"].tolist() == [[3], [3]]
    assert more == [None]


def test_reductions_by_hand() -> None:
    net = nn.Sequential(nn.Identity(), nn.Flatten())
    x = torch.tensor([[[3.0, 4.0]], [[1.0, -1.0]]], requires_grad=True)
    for reduce, wanted in {"mean": [3.5, 0.0], "max": [4.0, 1.0], "norm": [5.0, 2**0.5]}.items():
        with lab.capture(net, "0", reduce=reduce) as seen:
            (net(x) * torch.tensor([6.0, 8.0])).sum().backward()
        torch.testing.assert_close(seen["0"], torch.tensor(wanted))
    torch.testing.assert_close(seen.gradient("0"), torch.tensor([10.0, 10.0]))
    with lab.capture(net, "0", reduce=lambda tensor: tensor.shape) as seen:
        net(x)
    assert seen["0"] == (2, 1, 2)
    with lab.capture(net, "0", device="meta") as seen:
        net(x)
    assert seen["0"].is_meta
    with pytest.raises(ConfigError, match="reduce='sum': should be one of mean, max, norm"):
        lab.capture(net, "0", reduce="sum")


def test_compiled_networks_are_refused() -> None:
    net, x = made()
    with pytest.raises(ConfigError, match="'head' cannot be captured: the whole network is compiled"):
        lab.capture(torch.compile(net, backend="eager"), "head")
    net.blocks[0] = torch.compile(net.blocks[0], backend="eager")
    with pytest.raises(ConfigError, match=r"'blocks.0.attn' cannot be captured: 'blocks.0' is compiled"):
        lab.capture(net, "blocks.0.attn")
    with lab.capture(net, "blocks.1.attn") as seen:
        net.blocks[1](x)
    assert seen["blocks.1.attn"].shape == x.shape
    net.head.compile(backend="eager")
    with pytest.raises(ConfigError, match="'head' cannot be captured: 'head' is compiled"):
        lab.capture(net, "head")


def test_wrappers_add_nothing_to_names() -> None:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    net, x = made()
    plain = list(named_modules(net))
    net.blocks[1] = checkpoint_wrapper(net.blocks[1])
    wrapped = nn.DataParallel(net)
    assert list(named_modules(wrapped)) == plain
    with lab.capture(wrapped, ["blocks.1.attn", "blocks.1"]) as seen:
        wrapped(x).sum().backward()
    assert len(seen.activations["blocks.1.attn"]) == 1, "the pass that checkpointing repeats must not count"
    torch.testing.assert_close(seen.gradient("blocks.1"), net.head.weight.detach().sum(0).expand(5, 4))


def test_distributed_data_parallel(tmp_path: object) -> None:
    net, x = made()
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(net)
        with lab.capture(wrapped, "blocks.*.attn") as seen:
            wrapped(x).sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert list(seen.activations) == ["blocks.0.attn", "blocks.1.attn"]
    assert seen.gradient("blocks.1.attn").shape == (5, 4)


def test_a_module_that_is_run_again_in_backward_counts_once() -> None:
    net, x = made()
    with lab.capture(net, "blocks.0.attn") as seen:
        checkpoint(net, x, use_reentrant=False).sum().backward()
    assert len(seen.activations["blocks.0.attn"]) == 1


def test_a_shared_module_stands_under_each_name() -> None:
    net = nn.Module()
    net.a = net.b = nn.Linear(2, 2)
    assert list(named_modules(net)) == ["", "a", "b"]
    with lab.capture(net, ["a", "b"]) as seen:
        net.a(torch.ones(1, 2))
    assert len(seen.activations["a"]) == len(seen.activations["b"]) == 1


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "shufflenet_v2_x0_5", "mobilenet_v2"])
def test_captured_networks_compute_what_they_do_unwatched(name: str) -> None:
    """Fused kernels give way to the watched modules. Worst relative difference: 1.0e-5, MobileNetV2 (2026-11-28)."""
    net = lab.create_model(name, num_classes=5).eval()
    fill(net)
    x = images(2, height=64, width=64)
    with torch.inference_mode():
        wanted = net(x)
        with lab.capture(net, "**") as seen:
            found = net(x)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 3e-5
    stem = {"resnet18": "conv1", "vit_tiny_patch16_224": "blocks.11.attn.qkv"}.get(name, "conv1.0")
    stem = "features.0.0" if name == "mobilenet_v2" else stem
    assert len(seen.activations[stem]) == 1
