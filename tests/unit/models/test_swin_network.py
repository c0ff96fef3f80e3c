from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from lab import create_model
from lab.errors import CheckpointError, ConfigError
from lab.models.swin.network import SwinFeatures, SwinTransformer
from lab.models.swin.parallel import blocks
from lab.models.swin.weights import from_transformers, to_transformers
from lab.models.swin.windows import (
    Partitions,
    WindowAttention,
    _FromWindows,
    _ToWindows,
    attend,
    make_partition,
    region_mask,
)
from lab.registry.pretrained import load_pretrained

SMALL: dict[str, Any] = {"embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2), "window_size": 3}


def images(height: int = 40, width: int = 52) -> torch.Tensor:
    return torch.sin(torch.arange(2 * 3 * height * width * 1.0) * 0.37).reshape(2, 3, height, width)


def test_the_bias_is_the_entry_of_query_minus_key() -> None:
    attention = WindowAttention(4, 2, 3)
    table = torch.arange(50.0).view(25, 2)
    with torch.no_grad():
        attention.relative_position_bias_table.copy_(table)
    bias = attention.relative_position_bias()
    for query in range(9):
        for key in range(9):
            rows, columns = query // 3 - key // 3, query % 3 - key % 3
            assert torch.equal(bias[:, query, key], table[(rows + 2) * 5 + columns + 2])


def test_regions_are_those_of_figure_4() -> None:
    mask = region_mask(4, 4, window=2, shift=1, like=torch.zeros(1))
    apart = mask != 0
    assert mask.unique().tolist() == [-100.0, 0.0]
    assert apart.sum(dim=(1, 2)).tolist() == [0, 8, 8, 12]  # whole; left | right; top | bottom; four corners
    assert torch.equal(apart[1, 0], torch.tensor([False, True, False, True]))
    assert torch.equal(apart[2, 0], torch.tensor([False, False, True, True]))


def test_the_two_ways_of_attention_are_one() -> None:
    query, key, value = torch.randn(3, 2, 5, 3, 9, 4, dtype=torch.float64)
    for shape in ((3, 9, 9), (5, 3, 9, 9)):
        for images in (1, 2):
            parts = [part[:images] for part in (query, key, value)]
            bias = torch.randn(shape, dtype=torch.float64)
            expected = torch.nn.functional.scaled_dot_product_attention(
                *parts, attn_mask=bias.expand(images, 5, 3, 9, 9)
            )
            for learned in (False, True):
                bias.requires_grad_(learned)
                torch.testing.assert_close(attend(*parts, bias), expected, rtol=1e-12, atol=1e-12)


def test_partitions_are_padding_rolling_and_cutting() -> None:
    """Against the official way: pad the tokens with zeros, roll them, cut them, project; and gradients through it."""
    attention = WindowAttention(6, 2, 3).double()
    x = torch.randn(2, 5, 8, 6, dtype=torch.float64, requires_grad=True)
    for shift in (0, 1):
        found = make_partition(5, 8, 3, shift, x)
        where = (found.tokens, found.places, found.padding)
        ours = _ToWindows.apply(attention.qkv(x).flatten(1, 2), attention.qkv.bias, *where)
        rolled = torch.nn.functional.pad(x, (0, 0, 0, 1, 0, 1)).roll((-shift, -shift), (1, 2))
        cut = rolled.view(2, 2, 3, 3, 3, 6).transpose(2, 3).reshape(2, 54, 6)
        expected = attention.qkv(cut)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-14)
        weight = torch.randn_like(expected)
        leaves = (x, attention.qkv.weight, attention.qkv.bias)
        grads = [torch.autograd.grad((value * weight).sum(), leaves, retain_graph=True) for value in (ours, expected)]
        for mine, theirs in zip(*grads, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
        back = _FromWindows.apply(cut, *where)
        assert torch.equal(back.view(x.shape), x)
        weight = torch.randn_like(back)
        torch.testing.assert_close(torch.autograd.grad((back * weight).sum(), x)[0].flatten(1, 2), weight)


def test_partitions_are_made_once_for_a_size_and_not_piled_up() -> None:
    partitions, like = Partitions(), torch.zeros(1)
    with torch.inference_mode():
        first = partitions(6, 6, 3, 1, like)
    assert first.mask is not None
    assert not first.mask.is_inference()
    assert partitions(6, 6, 3, 1, like) is first
    assert partitions(6, 9, 3, 1, like) is not first
    assert partitions(6, 6, 3, 0, like).mask is None
    double = partitions(6, 6, 3, 1, like.double()).mask
    assert double is not None
    assert double.dtype == torch.float64
    for width in range(9, 90, 3):
        partitions(6, width, 3, 1, like)
    assert len(partitions._kept) <= 8


def test_inference_then_training_then_another_size() -> None:
    model = SwinTransformer(**SMALL, num_classes=3, drop_path_rate=0.0)
    with torch.inference_mode():
        before = model(images()).clone()
    model(images()).sum().backward()
    assert all(value.grad is not None for value in model.parameters())
    model(images(24, 80))
    torch.testing.assert_close(model(images()), before)
    twin = copy.deepcopy(model).double()
    assert twin(images().double()).dtype == torch.float64
    assert model.state_dict().keys() == SwinTransformer(**SMALL, num_classes=3).state_dict().keys()


def test_what_a_hook_has_seen_is_not_written_over() -> None:
    model = SwinTransformer(**SMALL, num_classes=3).eval()
    attention, seen = model.get_submodule("layers.0.blocks.1.attn"), []
    handle = attention.register_forward_hook(lambda module, inputs, output: seen.append((inputs, output)))
    with torch.no_grad():
        hooked = model(images())
        handle.remove()
        shifted = make_partition(10, 13, 3, 1, images())
        torch.testing.assert_close(seen[0][1], attention(seen[0][0][0], shifted))
        torch.testing.assert_close(model(images()), hooked)
    torch.testing.assert_close(model(images()), hooked, rtol=1e-5, atol=1e-6)


def test_images_of_a_batch_do_not_meet() -> None:
    model = SwinFeatures(**SMALL, out_indices=(2,)).eval()
    torch.testing.assert_close(model(images())[0][:1], model(images()[:1])[0], rtol=1e-5, atol=1e-6)


def test_low_precision_and_the_meta_device() -> None:
    model = SwinTransformer(**SMALL, num_classes=3).eval()
    expected = model(images())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(images()).float(), expected, rtol=0.05, atol=0.02)
    assert model.to("meta")(images().to("meta")).shape == (2, 3)


def test_fake_tensors_leave_no_mask_behind() -> None:
    """The planner counts memory with them, of a network that then trains."""
    model = SwinTransformer(**SMALL, num_classes=3, drop_path_rate=0.0)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        SwinTransformer(**SMALL)(torch.empty(2, 3, 40, 52)).sum().backward()
        assert isinstance(model(mode.from_tensor(images())), FakeTensor)
    expected = model(images())
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        model(mode.from_tensor(images()))
    assert torch.equal(model(images()), expected)


def test_the_graph_is_one() -> None:
    model = SwinTransformer(**SMALL, num_classes=3, drop_path_rate=0.1)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    compiled(images()).sum().backward()
    model.eval()
    torch.testing.assert_close(compiled(images()), model(images()), rtol=1e-6, atol=1e-6)


def test_later_blocks_are_dropped_more_often() -> None:
    model = SwinTransformer(**SMALL, drop_path_rate=0.3)
    assert [block.drop_path_rate for block in blocks(model)] == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_units_for_sharding_are_all_blocks() -> None:
    model = create_model("swin_tiny", features_only=True, out_indices=(1, 3))
    assert isinstance(model, SwinFeatures)
    assert (model.num_channels, model.strides) == ((96, 384), (4, 16))
    assert len(blocks(model)) == 2 + 2 + 6
    assert not any(key.startswith(("layers.3", "layers.2.downsample", "norm1")) for key in model.state_dict())


def test_a_classifiers_file_loads_into_a_backbone(tmp_path: Path) -> None:
    model = create_model("swin_tiny", num_classes=7)
    torch.save({"model": model.state_dict()}, tmp_path / "official.pth")
    backbone = create_model("swin_tiny", features_only=True, pretrained=str(tmp_path / "official.pth"))
    state = backbone.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items() if key in state)
    assert torch.equal(state["norm2.weight"], torch.ones(384))
    torch.save(to_transformers(model.state_dict()), tmp_path / "transformers.pth")
    other = create_model("swin_tiny", num_classes=3, pretrained=str(tmp_path / "transformers.pth"))
    assert torch.equal(other.get_parameter("norm.weight"), model.get_parameter("norm.weight"))
    assert other.get_parameter("head.weight").shape == (3, 768)
    wide = SwinTransformer(window_size=12, num_classes=7)
    with pytest.raises(CheckpointError, match=r"relative_position_bias_table \(169, 3\) -> \(529, 3\)"):
        load_pretrained(wide, tmp_path / "official.pth")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": (3, 2)}, "width of a stage=8: should be a multiple of its num_heads=3"),
        ({"num_heads": (1,)}, r"depths=\(2, 2\) and num_heads=\(1,\): expected one positive number for each stage"),
        ({"depths": (2, 0)}, r"depths=\(2, 0\)"),
        ({"window_size": 0}, "window_size=0"),
        ({"drop_path_rate": 1.5}, "drop_path_rate=1.5: should be at least 0 and at most 1"),
        ({"out_indices": (0, 1)}, r"out_indices=\(0, 1\): expected some of 1, 2 \(stages\)"),
        ({"out_indices": (3,)}, r"out_indices=\(3,\): expected some of 1, 2 \(stages\)"),
        ({"out_indices": ()}, r"out_indices=\(\)"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        SwinFeatures(**{"out_indices": (1, 2), **SMALL, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 1, 32, 32), (2, 3, 0, 32)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"expected \(B, 3, H, W\)"):
        SwinTransformer(**SMALL)(torch.zeros(shape))


def test_foreign_keys_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"'encoder\.block\.0' belongs to no Swin"):
        from_transformers({"encoder.block.0": torch.zeros(1)})
    incomplete = {f"swin.encoder.layers.0.blocks.0.attention.{part}_proj.bias": torch.zeros(2) for part in "qk"}
    with pytest.raises(CheckpointError, match="expected the parts q, k, v, found k, q"):
        from_transformers(incomplete)
    with pytest.raises(CheckpointError, match="'absolute_pos_embed' belongs to no Swin"):
        to_transformers({"absolute_pos_embed": torch.zeros(1)})
