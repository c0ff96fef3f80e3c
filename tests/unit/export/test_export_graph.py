"""Slices that skip channels, rewritten for other engines: onnxruntime computes the same from both graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lab.export.graph import as_gathers, as_shuffles, strided

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def sliced(*cuts: tuple[int, int, int], channels: int = 6) -> Any:
    """Return a model that returns the slices (first, axis, step) of ``x`` (1, channels, 4, 5), and its double."""
    numbers = {
        f"{word}{place}": [value] for place, cut in enumerate(cuts) for word, value in zip("sat", cut, strict=True)
    }
    arrays = {**numbers, "end": [2**31 - 1]}
    held = [onnx.numpy_helper.from_array(np.array(value, np.int64), name) for name, value in arrays.items()]
    make = onnx.helper.make_node
    nodes = [make("Add", ["x", "x"], ["y"], "double")]
    for place in range(len(cuts)):
        given = ["y", f"s{place}", "end", f"a{place}", f"t{place}"]
        nodes.append(make("Slice", given, [f"out{place}"], f"slice{place}"))
    outputs = [onnx.helper.make_tensor_value_info(f"out{place}", 1, (None,) * 4) for place in range(len(cuts))]
    taken = onnx.helper.make_tensor_value_info("x", 1, (1, channels, 4, 5))
    graph = onnx.helper.make_graph(nodes, "g", [taken], outputs, held)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def run(model: Any) -> list[np.ndarray]:
    import onnxruntime

    onnx.checker.check_model(model)
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    x = np.arange(channels * 20, dtype=np.float32).reshape(1, channels, 4, 5)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})


def kinds(model: Any) -> list[str]:
    return sorted(node.op_type for node in model.graph.node)


PAIR = ((1, 1, 2), (0, 1, 2))


def test_gathers_take_the_channels_that_slices_take() -> None:
    model = sliced(*PAIR, (2, 1, 3), (0, 2, 2))
    wanted = run(model)
    assert [step for _, _, step in strided(model)] == [2, 2, 3]
    assert as_gathers(model) == 3
    assert kinds(model) == ["Add", "Gather", "Gather", "Gather", "Slice"]
    for found, want in zip(run(model), wanted, strict=True):
        np.testing.assert_array_equal(found, want)


def test_a_shuffle_splits_channels_as_two_slices_do() -> None:
    model = sliced(*PAIR)
    wanted = run(model)
    assert as_shuffles(model) == 1
    assert kinds(model) == ["Add", "Reshape", "Reshape", "Split", "Transpose"]
    for found, want in zip(run(model), wanted, strict=True):
        np.testing.assert_array_equal(found, want)
    model.graph.node[-1].output[:] = reversed(model.graph.node[-1].output)  # a mutant: odd before even
    assert not np.array_equal(run(model)[0], wanted[0])


@pytest.mark.parametrize(
    ("cuts", "channels"),
    [(((1, 1, 2),), 6), (((0, 1, 3), (1, 1, 3)), 6), (((0, 2, 2), (1, 2, 2)), 6), (PAIR, 5)],
    ids=["half", "thirds", "rows", "odd"],
)
def test_other_slices_stay(cuts: tuple[tuple[int, int, int], ...], channels: int) -> None:
    model = sliced(*cuts, channels=channels)
    before = model.SerializeToString()
    assert as_shuffles(model) == 0
    assert model.SerializeToString() == before
