"""VGGish against the port harritaylor/torchvggish, written of plain torch here, and its weights in every layout.

The widths are small; the layers and the order in which the map is flattened are those published.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import lab
from lab.errors import CheckpointError
from lab.models.vggish.network import VGGish
from lab.models.vggish.weights import convert, to_tensorflow, to_torchaudio
from lab.registry.pretrained import load_pretrained
from lab.tasks.audio.codes import EmbeddingCodes, read_pca
from tests.agreement import Compared
from tests.unit.registry.test_tensor_slices import write as write_version_1

WIDTHS = (3, 4, 5, 6)
CONVERTER = "lab.models.vggish.weights.convert"
WEIGHTS, PCA = "LAB_VGGISH_WEIGHTS", "LAB_VGGISH_PCA"


PEER = Compared("vggish", "torchvggish's form in plain torch")


def state(classes: int = 0) -> dict[str, Tensor]:
    """Return random weights by the port's names; of a trained network's size, so that every layer matters."""
    generator = torch.Generator().manual_seed(3)
    shapes: dict[str, tuple[int, ...]] = {}
    before = 1
    for place, width in zip((0, 3, 6, 8, 11, 13), (3, 4, 5, 5, 6, 6), strict=True):
        shapes[f"features.{place}"] = (width, before, 3, 3)
        before = width
    shapes |= {"embeddings.0": (10, 24 * before), "embeddings.2": (10, 10), "embeddings.4": (8, 10)}
    found = {}
    for name, shape in shapes.items():
        spread = (2 / np.prod(shape[1:])) ** 0.5
        found[f"{name}.weight"] = spread * torch.randn(shape, generator=generator)
        found[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
    return found


def published(weights: dict[str, Tensor], examples: Tensor, mutant: str = "") -> Tensor:
    """Return the embeddings (E, 8), after the last activation as the port has it."""
    x = examples[:, None]
    for place, pools in ((0, True), (3, True), (6, False), (8, True), (11, False), (13, True)):
        x = F.conv2d(x, weights[f"features.{place}.weight"], weights[f"features.{place}.bias"], padding=1)
        x = F.relu(x)
        if pools:
            x = F.avg_pool2d(x, 2) if mutant == "average pooling" and place == 3 else F.max_pool2d(x, 2)
    flat = x.flatten(1) if mutant == "channels first" else x.transpose(1, 3).transpose(1, 2).reshape(len(x), -1)
    if mutant == "bands before frames":
        flat = x.permute(0, 3, 2, 1).flatten(1)
    for place in (0, 2, 4):
        flat = F.linear(flat, weights[f"embeddings.{place}.weight"], weights[f"embeddings.{place}.bias"])
        if not (mutant == "no last activation" and place == 4):
            flat = F.relu(flat)
    return flat


def small(embedding: str = "post_activation", num_classes: int = 0) -> VGGish:
    net = VGGish(num_classes, WIDTHS, hidden_dim=10, embed_dim=8, embedding=embedding)
    return net.eval()


@pytest.fixture(scope="module")
def examples() -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return 2 * torch.randn(5, 96, 64, generator=generator) - 1


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@torch.inference_mode()
def test_embeddings_equal_the_port(examples: Tensor) -> None:
    net = small()
    net.load_state_dict(state())
    expected = published(state(), examples)
    assert PEER.agrees(
        "embeddings", relative(net.embed(examples), expected), 1e-5
    )  # measured: 0; at the published size 1.0e-6
    for mutant in ("channels first", "bands before frames", "average pooling", "no last activation"):
        assert relative(published(state(), examples, mutant), expected) > 0.01, mutant


@torch.inference_mode()
def test_embeddings_before_the_last_activation(examples: Tensor) -> None:
    net = small("pre_activation")
    net.load_state_dict(state())
    found = net.embed(examples)
    assert found.min() < 0
    assert relative(found, published(state(), examples, "no last activation")) < 1e-5
    assert relative(found.relu(), published(state(), examples)) < 1e-5


def test_gradients_equal_the_port(examples: Tensor) -> None:
    net = small("pre_activation")
    net.load_state_dict(state())
    net.embed(examples).square().sum().backward()
    theirs = {name: value.clone().requires_grad_() for name, value in state().items()}
    published(theirs, examples, "no last activation").square().sum().backward()
    for name, value in net.named_parameters():
        assert value.grad is not None
        assert theirs[name].grad is not None
        assert PEER.agrees("gradients", relative(value.grad, theirs[name].grad), 1e-5), name  # measured: 0


def layouts(folder: Path) -> Iterator[tuple[str, Path]]:
    """Write the weights in each layout; TensorFlow's with a variable of its optimizer and a step."""
    weights = state()
    torch.save(weights | {"pproc.pca_means": torch.zeros(8, 1)}, folder / "torchvggish.pth")
    yield "torchvggish", folder / "torchvggish.pth"
    renamed = {
        name.replace("features", "features_network").replace("embeddings", "embedding_network"): value
        for name, value in weights.items()
    }
    assert to_torchaudio(weights).keys() == renamed.keys()
    torch.save(renamed, folder / "torchaudio.pt")
    yield "torchaudio", folder / "torchaudio.pt"
    scopes = ("conv1", "conv2", "conv3/conv3_1", "conv3/conv3_2", "conv4/conv4_1", "conv4/conv4_2")
    places = (*(f"features.{n}" for n in (0, 3, 6, 8, 11, 13)), *(f"embeddings.{n}" for n in (0, 2, 4)))
    variables: dict[str, Tensor] = {}
    for scope, place in zip((*scopes, "fc1/fc1_1", "fc1/fc1_2", "fc2"), places, strict=True):
        kernel = weights[f"{place}.weight"]
        turned = kernel.permute(2, 3, 1, 0) if kernel.ndim == 4 else kernel.t()  # (h, w, in, out) and (in, out)
        variables |= {f"vggish/{scope}/weights": turned, f"vggish/{scope}/biases": weights[f"{place}.bias"]}
    ours = to_tensorflow(weights)
    assert ours.keys() == variables.keys()
    assert all(torch.equal(ours[name], value) for name, value in variables.items())
    more = {"vggish/fc2/weights/Adam_1": torch.ones(2), "global_step": torch.tensor(9)}
    yield "tensorflow", write_version_1(folder / "vggish_model.ckpt", variables | more)


def test_weights_load_strictly_from_every_layout_and_go_back(tmp_path: Path) -> None:
    expected = state()
    for name, file in layouts(tmp_path):
        net = small()
        report = load_pretrained(net, file, converter=CONVERTER)
        assert not report.missing, name
        assert not report.unexpected, name
        found = net.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], value) for key, value in expected.items()), name
    assert convert(expected).keys() == expected.keys()


def test_a_classifier_begins_on_published_embeddings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(state(), tmp_path / "embeddings.pth")
    net = small(num_classes=3)
    load_pretrained(net, tmp_path / "embeddings.pth", classifier="classifier", converter=CONVERTER)
    assert "classifier.* is new, to be trained" in caplog.text
    torch.save(net.state_dict(), tmp_path / "classifier.pth")
    load_pretrained(small(), tmp_path / "classifier.pth", classifier="classifier", converter=CONVERTER)


def codes_by_hand(embeddings: np.ndarray, vectors: np.ndarray, means: np.ndarray, cut: bool) -> np.ndarray:
    """Return the codes, a row of embeddings and a number of it at a time."""
    found = np.zeros(embeddings.shape, np.uint8)
    for row, embedding in enumerate(embeddings):
        for number, vector in enumerate(vectors):
            value = sum(vector[place] * (embedding[place] - means[place]) for place in range(len(means)))
            scaled = (min(max(value, -2.0), 2.0) + 2.0) * 255 / 4
            found[row, number] = int(scaled) if cut else int(np.rint(scaled))
    return found


def test_codes_are_those_of_both_implementations(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    vectors, means = random.normal(size=(8, 8)).astype(np.float32) / 2, random.normal(size=8).astype(np.float32)
    embeddings = random.normal(size=(40, 8)).astype(np.float32)
    np.savez(tmp_path / "pca.npz", pca_eigen_vectors=vectors, pca_means=means)
    tensors = {"pca_eigen_vectors": torch.from_numpy(vectors), "pca_means": torch.from_numpy(means)[:, None]}
    torch.save(tensors, tmp_path / "pca.pth")
    torch.save(state() | {f"pproc.{name}": value for name, value in tensors.items()}, tmp_path / "whole.pth")
    both = []
    for rounding in ("truncate", "round"):
        expected = codes_by_hand(embeddings, vectors, means, rounding == "truncate")
        for file in ("pca.npz", "pca.pth", "whole.pth"):
            codes = EmbeddingCodes(*read_pca(tmp_path / file), rounding)(torch.from_numpy(embeddings))
            assert codes.dtype == torch.uint8
            assert codes.numpy().tolist() == expected.tolist()
        both.append(expected.astype(int))
    assert {0, 255} <= set(both[0].flatten())
    assert 0.3 < (both[1] - both[0]).mean() < 0.7  # rounding adds one to about half of the codes
    one = EmbeddingCodes(*read_pca(tmp_path / "pca.npz"))(torch.from_numpy(embeddings[:1]))
    assert one.shape == (1, 8)  # torchvggish would drop the first axis
    with pytest.raises(CheckpointError, match="the PCA is of 8 numbers, and the network's embeddings have 128"):
        EmbeddingCodes(*read_pca(tmp_path / "pca.npz"))(torch.zeros(1, 128))
    torch.save(tensors | {"pca_means": torch.zeros(7)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"eigenvectors \(8, 8\) do not fit means \(7,\)"):
        read_pca(tmp_path / "other.pth")
    torch.save(state(), tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="holds no PCA: expected pca_eigen_vectors and pca_means, found features"):
        read_pca(tmp_path / "none.pth")


@torch.inference_mode()
def test_published_smoke_test() -> None:
    """A sine of 1 kHz, 3 s: mean and deviation of embeddings and codes that the authors publish (2023), within 10 %."""
    if WEIGHTS not in os.environ:
        pytest.skip(f"the published weights are not here: set {WEIGHTS} (and {PCA}) to vggish_model.ckpt and its PCA")
    net = lab.create_model("vggish", pretrained=os.environ[WEIGHTS]).eval()
    wave = torch.from_numpy(np.sin(2 * np.pi * 1000 * np.arange(3 * 16000) / 16000)).float()
    found = net.embed(net.front_end(wave[None], torch.tensor([len(wave)])).examples[0])
    assert found.shape == (3, 128)
    assert float(found.mean()) == pytest.approx(0.000657, rel=0.1)
    assert float(found.std(correction=0)) == pytest.approx(0.343, rel=0.1)
    if PCA in os.environ:
        codes = EmbeddingCodes(*read_pca(os.environ[PCA]))(found).float()
        assert float(codes.mean()) == pytest.approx(126.0, rel=0.1)
        assert float(codes.std(correction=0)) == pytest.approx(89.3, rel=0.1)
