"""VGGish: a VGG of six convolutions and three linear layers on log-mel examples, and a classifier on its embeddings.

Hershey et al., "CNN Architectures for Large-Scale Audio Classification" (ICASSP 2017), and Gemmeke et al., "Audio Set"
(ICASSP 2017), which publishes embeddings of it. Keys are those of the port harritaylor/torchvggish: ``features`` and
``embeddings``; ``classifier`` is ours. The map is flattened with its channels last, as TensorFlow does, so that the
published weights of the first linear layer fit.

Legend: B clips, N examples of a clip, E examples, D embedding, K classes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Annotated, cast

import torch
from torch import Tensor, nn

from lab.errors import ConfigError
from lab.layers.convolution import NormName, convolve, make_norm
from lab.layers.dropout import dropout as drop
from lab.layers.linear import Linear
from lab.models.vggish.front_end import BANDS, FRAMES, SAMPLE_RATE, MelFrontEnd, tells_at_once
from lab.models.vggish.weights import adapt
from lab.ranges import Count, Dropout, Ge, Le, Len, OneOf, Size
from lab.structures.audio import LogMel

Channels = Annotated[Sequence[Size], Len(4, 4)]
"""Channels of the four resolutions, of which the last two have two convolutions each."""
_CONVOLUTIONS = (1, 1, 2, 2)


class VGGish(nn.Module):
    """A ``lab.structures.audio.AudioClassifier``: embeddings of examples, and logits of clips.

    Args:
        num_classes: K; 0 for embeddings alone.
        channels: of the convolutions.
        hidden_dim: width of the two linear layers before the last one.
        embed_dim: D.
        embedding: ``pre_activation`` as the authors' code has it today, or ``post_activation``, with a ReLU at the end,
            as it was published first and torchvggish and torchaudio have it.
        norm: ``none`` as published, or the norm behind each convolution of a network to be trained from scratch.
        head_dim: width of a hidden layer of the classifier; 0: it is linear.
        dropout: probability, before each linear layer from the second one on, in training.
        init_std: deviation of new weights, 0.01 as the authors train; 0: by the number of inputs (He et al., 2015).

    Attributes:
        sample_rate: 16,000 Hz.

    Raises:
        ConfigError: an unknown word.
    """

    def __init__(
        self,
        num_classes: Count = 0,
        channels: Channels = (64, 128, 256, 512),
        hidden_dim: Size = 4096,
        embed_dim: Size = 128,
        embedding: Annotated[str, OneOf("pre_activation", "post_activation")] = "pre_activation",
        norm: Annotated[str, OneOf("none", "batch_norm", "group_norm")] = "none",
        head_dim: Count = 0,
        dropout: Dropout = 0.0,
        init_std: Annotated[float, Ge(0), Le(1)] = 0.0,
    ) -> None:
        super().__init__()
        self.sample_rate = SAMPLE_RATE
        self.embed_dim, self.dropout = embed_dim, dropout
        self.groups_norms = norm == "group_norm"
        self.mel = MelFrontEnd()
        self.features = nn.Sequential(*_convolutions(channels, norm))
        self.map_shape = (FRAMES // 16, BANDS // 16, channels[-1])
        flat = self.map_shape[0] * self.map_shape[1] * self.map_shape[2]
        layers = [Linear(flat, hidden_dim), nn.ReLU(True), Linear(hidden_dim, hidden_dim), nn.ReLU(True)]
        layers.append(Linear(hidden_dim, embed_dim))
        self.embeddings = nn.Sequential(*layers, *([nn.ReLU(True)] if embedding == "post_activation" else []))
        self.classifier = _make_head(embed_dim, head_dim, num_classes) if num_classes else None
        self.apply(functools.partial(_initialise, std=init_std))

    def front_end(self, waveforms: Tensor, lengths: Tensor) -> LogMel:
        """Return the examples of waveforms (B, T), see ``MelFrontEnd``."""
        mel: LogMel = self.mel(waveforms, lengths)
        return mel

    def embed(self, examples: Tensor) -> Tensor:
        """Return the embeddings (E, D) of examples (E, 96, 64).

        Raises:
            ConfigError: they have another shape.
        """
        if examples.ndim != 3 or examples.shape[1:] != (FRAMES, BANDS):
            raise ConfigError(f"examples of shape {tuple(examples.shape)}: expected (E, {FRAMES}, {BANDS})")
        x = examples[:, None]
        if not (self.groups_norms and torch.is_grad_enabled()):  # group norms are slow in this layout, backwards
            x = x.to(memory_format=torch.channels_last)
        x = _run(self.features, x)
        x = x.permute(0, 2, 3, 1).flatten(1)
        for index, layer in enumerate(self.embeddings):
            if index and isinstance(layer, nn.Linear):
                x = drop(x, self.dropout, self.training)
            x = layer(x)
        return x

    def forward(self, mel: LogMel) -> Tensor:
        """Return logits (B, K): the mean over the examples of a clip that are present; 0 where a clip has none.

        Raises:
            ConfigError: the network was made without classes.
        """
        if self.classifier is None:
            raise ConfigError("this network gives embeddings alone: make it with num_classes")
        examples, present = mel.examples.flatten(0, 1), mel.present.flatten()
        ragged = tells_at_once(examples) and not bool(present.all())  # a GPU would have to wait for the answer
        embedded = self.embed(examples[present] if ragged else examples)
        logits: Tensor = self.classifier(drop(embedded, self.dropout, self.training))
        if ragged:
            logits = logits.new_zeros(len(present), logits.shape[1]).index_put((present,), logits)
        return mean_present(logits.unflatten(0, mel.present.shape), mel.present)

    def adapt_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return pretrained weights without a PCA, and with a new classifier where they have none."""
        return adapt(state, self.state_dict())


def mean_present(values: Tensor, present: Tensor) -> Tensor:
    """Return the mean (B, K) of values (B, N, K) over the examples that are present; 0 where there are none."""
    count = present.sum(1, keepdim=True).clamp(min=1)
    return (values * present[..., None]).sum(1) / count


def _convolutions(channels: Sequence[int], norm: str) -> list[nn.Module]:
    layers: list[nn.Module] = []
    before = 1
    for width, count in zip(channels, _CONVOLUTIONS, strict=True):
        for _ in range(count):
            layers.append(nn.Conv2d(before, width, 3, padding=1))
            if norm != "none":
                layers.append(make_norm(cast(NormName, norm), width))
            layers.append(nn.ReLU(inplace=True))
            before = width
        layers.append(nn.MaxPool2d(2, 2))
    return layers


def _run(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Run convolutions and poolings, each norm and ReLU within its convolution."""
    parts = list(layers)
    index = 0
    while index < len(parts):
        part = parts[index]
        if not isinstance(part, nn.Conv2d):
            x = part(x)
            index += 1
            continue
        norm = None if isinstance(parts[index + 1], nn.ReLU) else parts[index + 1]
        x = convolve(x, part, norm)
        index += 2 if norm is None else 3
    return x


def _make_head(embed_dim: int, head_dim: int, num_classes: int) -> nn.Module:
    if not head_dim:
        return Linear(embed_dim, num_classes)
    return nn.Sequential(Linear(embed_dim, head_dim), nn.ReLU(inplace=True), Linear(head_dim, num_classes))


def _initialise(module: nn.Module, std: float) -> None:
    if not isinstance(module, nn.Conv2d | nn.Linear):
        return
    if std:
        nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
    else:
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    if module.bias is not None:
        nn.init.zeros_(module.bias)
