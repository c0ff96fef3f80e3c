"""VGGish beside the published code: its front end in numpy, a file at a time, and its network of plain torch layers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from benchmarks.pairs import Made, Pair, Size, fill_norms, worst
from torch import Tensor, nn
from torch.nn import functional as F

from lab import create_model
from lab.layers.linear import Linear
from lab.models.vggish.front_end import BANDS, EXAMPLE, EXAMPLE_HOP, FRAMES, HOP, POINTS, SAMPLE_RATE, WINDOW
from lab.structures.audio import LogMel

NAMES = ("vggish", "vggish_tiny")
Sound = np.ndarray[Any, np.dtype[np.float64]]


class PlainNetwork(nn.Module):
    """The layers of a network as they are published: channels first, one call for each layer.

    Args:
        net: whose layers and weights are copied.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.features = copy.deepcopy(net.features)
        self.embeddings = nn.Sequential(*map(_plain, net.embeddings))
        self.classifier = None if net.classifier is None else _plain(net.classifier)

    def embed(self, examples: Tensor) -> Tensor:
        """Return the embeddings of examples (E, 96, 64)."""
        x = self.features(examples[:, None])
        found: Tensor = self.embeddings(x.transpose(1, 3).transpose(1, 2).contiguous().view(len(x), -1))
        return found

    def forward(self, mel: LogMel) -> Tensor:
        """Return logits of clips that have all examples."""
        assert self.classifier is not None
        logits: Tensor = self.classifier(self.embed(mel.examples.flatten(0, 1)))
        return logits.view(*mel.present.shape, -1).mean(1)


def _plain(layer: nn.Module) -> nn.Module:
    if not isinstance(layer, Linear):
        return copy.deepcopy(layer)
    plain = nn.Linear(layer.in_features, layer.out_features)
    plain.load_state_dict(layer.state_dict())
    return plain


def make(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return the pair of a registered VGGish on log-mel examples.

    Args:
        name: the name of the model.
        batch: clips.
        size: (examples of a clip, classes).
        device: to compute on.
        training: training mode.
        dropout: has no effect: the peer has none, so lab's is off.
    """
    examples, classes = size
    torch.manual_seed(0)
    ours: Any = create_model(name, num_classes=classes, dropout=0.0, init_std=0.0)
    fill_norms(ours)
    peer = PlainNetwork(ours)
    ours, peer = (net.to(device).train(training) for net in (ours, peer))
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(batch, examples, FRAMES, BANDS, generator=generator) - 2
    mel = LogMel(values.to(device), torch.ones(batch, examples, dtype=torch.bool, device=device))
    labels = (torch.arange(batch) % classes).to(device)
    return Pair(
        ours,
        lambda: ours(mel),
        batch,
        lambda: F.cross_entropy(ours(mel), labels),
        peer,
        lambda: peer(mel),
        lambda: F.cross_entropy(peer(mel), labels),
    )


def published_front_end(samples: Sound) -> Sound:
    """Return the examples (N, 96, 64) of a file as the published code does: in float64, with bands of its own."""
    starts = HOP * np.arange(1 + (len(samples) - WINDOW) // HOP)
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[starts]
    window = 0.5 - 0.5 * np.cos(2 * np.pi / WINDOW * np.arange(WINDOW))
    magnitudes = np.abs(np.fft.rfft(frames * window, POINTS))
    bins = 1127.0 * np.log(1.0 + np.linspace(0.0, SAMPLE_RATE / 2, POINTS // 2 + 1) / 700.0)
    edges = np.linspace(*(1127.0 * np.log(1.0 + np.array([125.0, 7500.0]) / 700.0)), BANDS + 2)
    weights = np.empty((POINTS // 2 + 1, BANDS))
    for band in range(BANDS):
        left, centre, right = edges[band : band + 3]
        rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
        weights[:, band] = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0
    bands = np.log(magnitudes @ weights + 0.01)
    count = len(bands) // FRAMES
    found: Sound = bands[: count * FRAMES].reshape(count, FRAMES, BANDS)
    return found


def sounds(batch: int, seconds: int) -> list[Sound]:
    """Return noise: files of one example up to ``seconds``, evenly spread."""
    generator = np.random.default_rng(0)
    longest = max(0, (seconds * SAMPLE_RATE - EXAMPLE) // EXAMPLE_HOP)
    counts = np.linspace(0, longest, batch).round().astype(int)
    lengths = EXAMPLE + counts * EXAMPLE_HOP + generator.integers(0, EXAMPLE_HOP, batch)
    return [0.1 * generator.standard_normal(length) for length in lengths]


def padded(files: list[Sound]) -> tuple[Tensor, Tensor]:
    """Return files as a batch: waveforms (B, T) float32, and their lengths."""
    lengths = torch.tensor([len(file) for file in files])
    waveforms = torch.zeros(len(files), int(lengths.max()))
    for row, file in zip(waveforms, files, strict=True):
        row[: len(file)] = torch.from_numpy(file)
    return waveforms, lengths


def front_end_row(batch: int, size: Size, device: torch.device) -> Made:
    """Return the front ends on files in memory of up to (seconds, -): a batch of all, and each file by itself."""
    net: Any = create_model("vggish_tiny").to(device)
    files = sounds(batch, size[0])
    waveforms, lengths = (part.to(device) for part in padded(files))

    def ours() -> LogMel:
        mel: LogMel = net.front_end(waveforms, lengths)
        return mel

    def peer() -> list[Sound]:
        return [published_front_end(file) for file in files]

    return ours, peer, worst(_present(ours()), torch.from_numpy(np.concatenate(peer())).float())


def embeddings_row(batch: int, size: Size, device: torch.device) -> Made:
    """Return embeddings of files in memory of up to (seconds, -): a batch of all, and each file by itself."""
    torch.manual_seed(0)
    net: Any = create_model("vggish", init_std=0.0).to(device).eval()
    plain = PlainNetwork(net).eval()
    files = sounds(batch, size[0])
    waveforms, lengths = (part.to(device) for part in padded(files))

    @torch.inference_mode()
    def ours() -> Tensor:
        found: Tensor = net.embed(_present(net.front_end(waveforms, lengths)))
        return found

    @torch.inference_mode()
    def peer() -> Tensor:
        examples = (torch.from_numpy(published_front_end(file)).float().to(device) for file in files)
        return torch.cat([plain.embed(each) for each in examples])

    return ours, peer, worst(ours(), peer())


def _present(mel: LogMel) -> Tensor:
    return mel.examples[mel.present]
