"""The anchor decoder against transformers' DAB-DETR decoder, tiny random weights.

Departure (README of lab/models/detr): our refinement reads the states after the shared norm, as the heads do; the
peer's box head is wrapped so that it does the same. Everything else is the peer's own code.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lab.layers.mlp import MLP
from lab.layers.position import SinePositionEncoding
from lab.models.detr.anchor import AnchorDecoder

pytest.importorskip("transformers")
from transformers import DabDetrConfig
from transformers.models.dab_detr.modeling_dab_detr import DabDetrDecoder, inverse_sigmoid

from tests.agreement import Compared

LAYERS, DIM, HEADS, FEEDFORWARD, QUERIES = 3, 32, 4, 48, 7
TOLERANCE = 1e-5  # worst measured: 1.4e-6


PEER = Compared("detr", "transformers' DAB-DETR decoder")


def fill(module: nn.Module, seed: int = 0) -> None:
    """Fill all parameters, norm affines included, from numpy's frozen generator."""
    random = np.random.RandomState(seed)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            scale = 1.2 / parameter.shape[-1] ** 0.5 if parameter.dim() > 1 else 0.3
            values = torch.from_numpy(random.standard_normal(tuple(parameter.shape)) * scale)
            parameter.copy_(values + (1.0 if "norm" in name and name.endswith("weight") else 0.0))


class NormedHead(nn.Module):
    def __init__(self, norm: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.norm, self.head = norm, head

    def forward(self, states: Tensor) -> Tensor:
        return self.head(self.norm(states))


def peer() -> tuple[DabDetrDecoder, MLP]:
    config = DabDetrConfig(
        hidden_size=DIM,
        decoder_layers=LAYERS,
        decoder_attention_heads=HEADS,
        decoder_ffn_dim=FEEDFORWARD,
        activation_function="relu",
        attn_implementation="eager",
        use_timm_backbone=False,
        backbone_config={"model_type": "resnet"},
    )
    decoder, head = DabDetrDecoder(config).eval(), MLP(DIM, DIM, 4, 3)
    fill(decoder)
    fill(head, seed=1)
    decoder.bbox_embed = NormedHead(decoder.layernorm, head)
    return decoder, head


def ours(source: DabDetrDecoder) -> AnchorDecoder:
    """Copy the peer's weights into our decoder."""
    state = {}

    def put(name: str, *linears: nn.Module) -> None:
        for kind in ("weight", "bias"):
            state[f"{name}.{kind}"] = torch.cat([getattr(linear, kind).detach() for linear in linears])

    for index, layer in enumerate(source.layers):
        prefix, own, cross, mlp = f"layers.{index}", layer.self_attn, layer.cross_attn, layer.mlp
        put(
            f"{prefix}.self_content",
            own.self_attn_query_content_proj,
            own.self_attn_key_content_proj,
            own.self_attn_value_proj,
        )
        put(f"{prefix}.self_place", own.self_attn_query_pos_proj, own.self_attn_key_pos_proj)
        put(f"{prefix}.self_out", own.self_attn.output_proj)
        put(f"{prefix}.cross_content", cross.cross_attn_query_content_proj)
        if index == 0:
            put(f"{prefix}.cross_first", cross.cross_attn_query_pos_proj)
        put(f"{prefix}.cross_place", cross.cross_attn_query_pos_sine_proj)
        put(f"{prefix}.cross_out", cross.cross_attn.output_proj)
        put(f"{prefix}.linear1", mlp.fc1)
        put(f"{prefix}.linear2", mlp.fc2)
        put(f"{prefix}.norm1", own.self_attn_layer_norm)
        put(f"{prefix}.norm2", cross.cross_attn_layer_norm)
        put(f"{prefix}.norm3", mlp.final_layer_norm)
    crosses = [layer.cross_attn for layer in source.layers]
    keys = [cross.cross_attn_key_content_proj for cross in crosses]
    put("memory_proj", *keys, *[cross.cross_attn_value_proj for cross in crosses])
    put("place_proj", *[cross.cross_attn_key_pos_proj for cross in crosses])
    put("norm", source.layernorm)
    heads = {
        "position_head": source.ref_point_head,
        "sine_scale": source.query_scale,
        "size_head": source.ref_anchor_head,
    }
    for name, head in heads.items():
        for index, linear in enumerate(head.layers):
            put(f"{name}.layers.{index}", linear)
    decoder = AnchorDecoder(LAYERS, DIM, HEADS, FEEDFORWARD, dropout=0.0)
    decoder.load_state_dict(state, strict=True)
    return decoder.eval()


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    random = np.random.RandomState(2)
    memory = torch.from_numpy(random.standard_normal((2, 24, DIM))).float()
    anchors = torch.from_numpy(random.standard_normal((QUERIES, 4))).float()
    padding_mask = torch.zeros(2, 4, 6, dtype=torch.bool)
    padding_mask[1, 3:] = True
    padding_mask[1, :, 4:] = True
    position = SinePositionEncoding(DIM)(4, 6, memory.device, padding_mask)
    return memory, anchors, padding_mask.flatten(1), position


def worst_error(mutate: Callable[[AnchorDecoder], None] | None = None, ignore_mask: bool = False) -> float:
    memory, anchors, padding_mask, position = inputs()
    source, head = peer()
    decoder = ours(source)
    if mutate is not None:
        with torch.no_grad():
            mutate(decoder)
    anchors = anchors.expand(2, -1, -1)
    with torch.no_grad():
        expected = source(
            inputs_embeds=torch.zeros(2, QUERIES, DIM),
            encoder_hidden_states=memory,
            memory_key_padding_mask=~padding_mask,
            object_queries=position,
            query_position_embeddings=anchors,
            return_dict=True,
        )
        references = inverse_sigmoid(expected.reference_points)
        expected_boxes = (head(expected.intermediate_hidden_states) + references).sigmoid()
        mask = None if ignore_mask else ~padding_mask[:, None, None]
        states, boxes = decoder(anchors, memory, position, head, mask)
    errors = [(states - expected.intermediate_hidden_states).abs().max(), (boxes - expected_boxes).abs().max()]
    return float(max(errors))


def test_equals_dab_detr() -> None:
    assert PEER.agrees("states and boxes of anchors", worst_error(), TOLERANCE)


MUTANTS: dict[str, Callable[[AnchorDecoder], None]] = {
    "zeroed place of a cross-attention": lambda decoder: decoder.layers[1].cross_place.weight.zero_(),
    "zeroed content of a cross-attention": lambda decoder: decoder.layers[2].cross_content.weight.zero_(),
    "no place in the self-attention": lambda decoder: decoder.layers[1].self_place.weight.zero_(),
    "no size modulation": lambda decoder: decoder.size_head.layers[1].weight.zero_(),
    "unscaled sines": lambda decoder: decoder.sine_scale.layers[1].weight.zero_(),
    "no place of the first layer": lambda decoder: decoder.layers[0].cross_first.weight.zero_(),
    "keys of another layer": lambda decoder: decoder.place_proj.weight.copy_(decoder.place_proj.weight.roll(DIM, 0)),
    "another temperature": lambda decoder: setattr(decoder, "temperature", 20.0),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_seen(name: str) -> None:
    assert worst_error(MUTANTS[name]) > 100 * TOLERANCE


def test_an_ignored_mask_is_seen() -> None:
    assert worst_error(ignore_mask=True) > 100 * TOLERANCE


def test_groups_do_not_see_each_other() -> None:
    memory, anchors, padding_mask, position = inputs()
    source, head = peer()
    decoder, mask = ours(source), ~padding_mask[:, None, None]
    both = torch.cat((anchors, anchors.flip(0) * 0.7)).expand(2, -1, -1)
    with torch.no_grad():
        states, boxes = decoder(both, memory, position, head, mask, num_groups=2)
        for group in range(2):
            part = slice(group * QUERIES, (group + 1) * QUERIES)
            alone_states, alone_boxes = decoder(both[:, part], memory, position, head, mask)
            torch.testing.assert_close(states[:, :, part], alone_states, rtol=0, atol=TOLERANCE)
            torch.testing.assert_close(boxes[:, :, part], alone_boxes, rtol=0, atol=TOLERANCE)
