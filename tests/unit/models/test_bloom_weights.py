"""Weights of BLOOM in shards and in Megatron's layer files: loaded piece by piece, split, merged, refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lab import create_model
from lab.errors import CheckpointError, ConfigError
from lab.models.bloom.megatron import find_layers, merge, split_megatron
from lab.models.bloom.network import Bloom
from lab.models.bloom.weights import to_transformers
from lab.registry.create import load_weights
from scripts import convert_weights

SHAPE = {"vocab_size": 40, "embed_dim": 24, "num_layers": 2, "num_heads": 4}
INDEX = "model.safetensors.index.json"


def tiny(seed: int = 0, **changes: object) -> Bloom:
    torch.manual_seed(seed)
    net: Bloom = create_model("bloom_tiny", **{**SHAPE, **changes})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
    return net


def write_shards(folder: Path, state: dict[str, Tensor], count: int = 3) -> None:
    """Write safetensors with an index, tensors dealt out in turn."""
    keys = [key for key in state if key != "lm_head.weight"]
    files = {key: f"model-{number % count + 1:05d}-of-{count:05d}.safetensors" for number, key in enumerate(keys)}
    for name in set(files.values()):
        save_file({key: state[key].contiguous() for key in keys if files[key] == name}, folder / name)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": files}))


def write_layers(folder: Path, net: Bloom, ranks: int) -> None:
    for name, tensors in split_megatron(net.state_dict(), ranks):
        torch.save(tensors, folder / name)


def same(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )


@pytest.mark.parametrize("prefixed", [False, True])
def test_shards_load_whatever_prefix_they_have(tmp_path: Path, prefixed: bool) -> None:
    net = tiny()
    write_shards(tmp_path, to_transformers(net.state_dict()) if prefixed else net.state_dict())
    assert same(create_model("bloom_tiny", pretrained=tmp_path, **SHAPE), net)
    assert same(create_model("bloom_tiny", pretrained=tmp_path / INDEX, **SHAPE), net)


def test_one_shard_is_loaded_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, other = tiny(), tiny(1)
    write_shards(tmp_path, net.state_dict())
    loaded: list[set[str]] = []
    load = nn.Module.load_state_dict

    def watched(module: nn.Module, state: dict[str, Tensor], strict: bool = True) -> object:
        loaded.append(set(state))
        return load(module, state, strict)

    monkeypatch.setattr(nn.Module, "load_state_dict", watched)

    load_weights(other, "bloom_tiny", tmp_path)
    assert same(other, net)
    tried, *files = loaded  # the names are tried with the network's own values
    assert tried == net.state_dict().keys()
    assert len(files) == 3
    assert set().union(*files) == net.state_dict().keys()
    assert sum(map(len, files)) == len(net.state_dict())


def test_damaged_shards_change_nothing(tmp_path: Path) -> None:
    net, other = tiny(), tiny(1)
    before = tiny(1)

    def refused(message: str) -> None:
        with pytest.raises(CheckpointError, match=message) as caught:
            load_weights(other, "bloom_tiny", tmp_path)
        assert "\n" not in str(caught.value)
        assert same(other, before)

    write_shards(tmp_path, net.state_dict())
    last = tmp_path / "model-00003-of-00003.safetensors"
    whole = last.read_bytes()
    last.write_bytes(whole[:-100])
    refused("model-00003-of-00003.safetensors are damaged or incomplete")
    last.unlink()
    refused("1 of 3 shards are missing: model-00003-of-00003.safetensors")
    save_file({"h.0.mlp.dense_h_to_4h.bias": torch.zeros(96)}, last)
    refused("is not in it, but model.safetensors.index.json says so")
    write_shards(tmp_path, {key: value for key, value in net.state_dict().items() if "ln_f.b" not in key})
    refused("missing 1 [(]ln_f.bias[)]")
    write_shards(tmp_path, {**net.state_dict(), "ln_f.bias": torch.zeros(7)})
    refused("shape of 1 [(]ln_f.bias [(]7,[)] -> [(]24,[)][)]")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"ln_f.bias": "../x.safetensors"}}))
    refused("x.safetensors., no shard beside it")
    (tmp_path / INDEX).write_text("{")
    refused("expected JSON with a 'weight_map'")


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_layer_files_go_both_ways(tmp_path: Path, ranks: int) -> None:
    net = tiny()
    write_layers(tmp_path, net, ranks)
    names = sorted(file.name for file in tmp_path.iterdir() if "model_00" in file.name)
    assert names == [f"layer_{layer:02d}-model_00-model_states.pt" for layer in (1, 3, 4, 6)]
    assert same(create_model("bloom_tiny", pretrained=tmp_path, **SHAPE), net)


def test_parts_are_those_of_the_reference(tmp_path: Path) -> None:
    """Columns of a row-parallel matrix, rows of others; what drifted apart on the ranks is averaged."""
    net = tiny()
    write_layers(tmp_path, net, 2)
    files = [tmp_path / f"layer_03-model_{rank:02d}-model_states.pt" for rank in range(2)]
    parts = [torch.load(file, weights_only=True) for file in files]
    block = net.h[0]
    assert torch.equal(
        parts[1]["self_attention.query_key_value.weight"], block.self_attention.query_key_value.weight[36:]
    )
    assert torch.equal(parts[1]["self_attention.query_key_value.bias"], block.self_attention.query_key_value.bias[36:])
    assert torch.equal(parts[1]["self_attention.dense.weight"], block.self_attention.dense.weight[:, 12:])
    assert torch.equal(parts[1]["self_attention.dense.bias"], block.self_attention.dense.bias)
    assert torch.equal(parts[1]["mlp.dense_h_to_4h.weight"], block.mlp.dense_h_to_4h.weight[48:])
    assert torch.equal(parts[1]["mlp.dense_4h_to_h.weight"], block.mlp.dense_4h_to_h.weight[:, 48:])
    drifted = {**parts[1], "input_layernorm.weight": parts[1]["input_layernorm.weight"] + 1}
    torch.save({**drifted, "mlp.dense_4h_to_h.bias": drifted["mlp.dense_4h_to_h.bias"] - 3}, files[1])
    loaded = create_model("bloom_tiny", pretrained=tmp_path, **SHAPE)
    assert torch.allclose(loaded.h[0].input_layernorm.weight, block.input_layernorm.weight + 0.5)
    assert torch.allclose(loaded.h[0].mlp.dense_4h_to_h.bias, block.mlp.dense_4h_to_h.bias - 1.5)
    assert torch.equal(loaded.h[1].input_layernorm.weight, net.h[1].input_layernorm.weight)


def test_the_script_converts_between_them(tmp_path: Path) -> None:
    net = tiny()
    save_file(net.state_dict(), tmp_path / "ours.safetensors")
    assert convert_weights.convert(tmp_path / "ours.safetensors", tmp_path / "layers", "bloom", "megatron", 2) == 58
    assert len(list((tmp_path / "layers").iterdir())) == 8
    theirs = tmp_path / "hf.safetensors"
    assert convert_weights.convert(tmp_path / "layers", theirs, "bloom", "transformers") == 30
    assert same(create_model("bloom_tiny", pretrained=theirs, **SHAPE), net)
    with pytest.raises(CheckpointError, match="an empty folder, or one that does not exist yet"):
        convert_weights.convert(theirs, tmp_path / "layers", "bloom", "megatron")
    with pytest.raises(ConfigError, match="which no ranks share"):
        convert_weights.convert(theirs, tmp_path / "x.safetensors", "bloom", "lab", 2)


def test_merging_by_hand() -> None:
    parts = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])]
    assert merge("self_attention.dense.weight", parts).tolist() == [[1, 2, 3, 4]]
    assert merge("mlp.dense_h_to_4h.weight", parts).tolist() == [[1, 2], [3, 4]]
    assert merge("word_embeddings.norm.weight", parts).tolist() == [[2, 3]]
    assert merge("bias", parts).tolist() == [[2, 3]]


def test_missing_parts_are_named(tmp_path: Path) -> None:
    write_layers(tmp_path, tiny(), 2)
    assert find_layers(tmp_path) is not None
    (tmp_path / "layer_04-model_01-model_states.pt").unlink()
    with pytest.raises(
        CheckpointError, match=r"layer_04-model_01-model_states[.]pt is missing; other layers have the parts"
    ):
        create_model("bloom_tiny", pretrained=tmp_path, **SHAPE)
    (tmp_path / "layer_04-model_00-model_states.pt").unlink()
    with pytest.raises(CheckpointError, match="layer_04 is missing between layers 1 and 6"):
        create_model("bloom_tiny", pretrained=tmp_path, **SHAPE)
    (tmp_path / "layer_03-model_00-model_states.pt").write_bytes(b"no weights")
    write_layers(tmp_path, tiny(), 2)
    (tmp_path / "layer_03-model_00-model_states.pt").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"layer_03-model_00-model_states[.]pt cannot be read"):
        create_model("bloom_tiny", pretrained=tmp_path, **SHAPE)


def test_vocabularies(tmp_path: Path) -> None:
    """Rows that pad a vocabulary are left out; another vocabulary is refused."""
    net = tiny(vocab_multiple=64)
    save_file(net.state_dict(), tmp_path / "padded.safetensors")
    found = create_model("bloom_tiny", pretrained=tmp_path / "padded.safetensors", **SHAPE)
    assert torch.equal(found.word_embeddings.weight, net.word_embeddings.weight[:40])
    write_shards(tmp_path, net.state_dict())
    assert same(create_model("bloom_tiny", pretrained=tmp_path, **SHAPE), found)
    with pytest.raises(CheckpointError, match="vocabulary of 64 tokens, and the network has 90: take the tokenizer"):
        create_model("bloom_tiny", pretrained=tmp_path, **{**SHAPE, "vocab_size": 90})


def test_a_head_of_its_own_is_refused(tmp_path: Path) -> None:
    state = to_transformers(tiny().state_dict())
    file = tmp_path / "untied.pth"
    torch.save(state, file)
    load_weights(tiny(1), "bloom_tiny", str(file), str(tmp_path))
    torch.save({**state, "lm_head.weight": state["lm_head.weight"] + 1}, file)
    with pytest.raises(CheckpointError, match=r"lm_head\.weight is another matrix than the embeddings"):
        load_weights(tiny(1), "bloom_tiny", str(file), str(tmp_path))
