"""VGGish as an architecture of the house: its protocol, clips of several lengths, what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import lab
from lab.errors import ConfigError
from lab.models.vggish.front_end import EXAMPLE, EXAMPLE_HOP, num_examples
from lab.models.vggish.network import VGGish
from lab.registry.models import model_entry
from lab.structures.audio import AudioClassifier, LogMel
from lab.training.freezing import make_freezing


@pytest.fixture(scope="module")
def tiny() -> VGGish:
    torch.manual_seed(0)
    net: VGGish = lab.create_model("vggish_tiny", num_classes=5).eval()
    return net


@pytest.fixture(scope="module")
def clips() -> Tensor:
    return 0.3 * torch.randn(3, EXAMPLE + 2 * EXAMPLE_HOP, generator=torch.Generator().manual_seed(1))


def test_it_is_an_audio_classifier(tiny: VGGish) -> None:
    assert isinstance(tiny, AudioClassifier)
    assert tiny.sample_rate == 16_000
    assert lab.create_model("vggish_tiny").classifier is None


def test_published_size() -> None:
    """72,141,184 parameters, as torchvggish counts them; 94 % of them in linear layers."""
    with torch.device("meta"):
        net = lab.create_model("vggish")
    assert sum(parameter.numel() for parameter in net.parameters()) == 72_141_184
    assert not net.state_dict().keys() - dict(net.named_parameters()).keys()


@torch.inference_mode()
def test_a_clip_has_the_logits_that_it_has_alone(tiny: VGGish, clips: Tensor) -> None:
    """In a batch of longer ones; lengths are respected to the sample."""
    lengths = torch.tensor([clips.shape[1], EXAMPLE + EXAMPLE_HOP - 1, EXAMPLE])
    padded = clips * (torch.arange(clips.shape[1]) < lengths[:, None])
    mel = tiny.front_end(padded, lengths)
    assert mel.present.tolist() == [[True, True, True], [True, False, False], [True, False, False]]
    together = tiny(mel)
    for row, length in enumerate(lengths.tolist()):
        alone = tiny(tiny.front_end(clips[row : row + 1, :length], torch.tensor([length])))
        # Measured: 6e-7; 1.9e-5 where oneDNN takes another algorithm for another batch (two threads).
        torch.testing.assert_close(together[row], alone[0], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_logits_are_the_mean_over_examples(tiny: VGGish, clips: Tensor) -> None:
    mel = tiny.front_end(clips, torch.full((3,), clips.shape[1]))
    expected = torch.stack([tiny.classifier(tiny.embed(examples)).mean(0) for examples in mel.examples])
    torch.testing.assert_close(tiny(mel), expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_a_clip_without_an_example_has_logits_of_zero(tiny: VGGish, clips: Tensor) -> None:
    short = clips[:, : EXAMPLE - 1]
    assert num_examples(short.shape[1]) == 0
    mel = tiny.front_end(short, torch.full((3,), short.shape[1]))
    assert mel.examples.shape == (3, 0, 96, 64)
    assert tiny(mel).tolist() == [[0.0] * 5] * 3


def test_it_learns_from_sound(clips: Tensor) -> None:
    """Every parameter gets a gradient."""
    net = lab.create_model("vggish_tiny", num_classes=5, channels=(4, 4, 8, 8), hidden_dim=16, head_dim=8)
    net(net.front_end(clips, torch.full((3,), clips.shape[1]))).square().sum().backward()
    assert not [name for name, value in net.named_parameters() if value.grad is None or not value.grad.any()]


def test_a_classifier_on_frozen_embeddings_learns(clips: Tensor) -> None:
    """What ``callbacks=head_only`` freezes: the classifier alone learns, and embeddings stay as they are."""
    torch.manual_seed(0)
    net = lab.create_model("vggish_tiny", num_classes=3, dropout=0.0)
    heads = model_entry("vggish_tiny").classifier
    make_freezing(net, {"train": ["head"]}, heads, steps_per_epoch=1).freeze_for_good(net)
    trained = [value for value in net.parameters() if value.requires_grad]
    assert sum(value.numel() for value in trained) == 3 * (net.embed_dim + 1)
    mel = net.front_end(clips, torch.full((3,), clips.shape[1]))
    before, losses = net.embed(mel.examples[0]).detach(), []
    optimizer = torch.optim.Adam(trained, 0.01)
    for _ in range(20):
        loss = torch.nn.functional.cross_entropy(net(mel), torch.arange(3))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert torch.equal(net.embed(mel.examples[0]), before)


def test_what_it_refuses(tiny: VGGish) -> None:
    with pytest.raises(ConfigError, match=r"examples of shape \(2, 64, 96\): expected \(E, 96, 64\)"):
        tiny.embed(torch.zeros(2, 64, 96))
    with pytest.raises(ConfigError, match="embeddings alone: make it with num_classes"):
        lab.create_model("vggish_tiny")(LogMel(torch.zeros(1, 1, 96, 64), torch.ones(1, 1, dtype=torch.bool)))
    with pytest.raises(ConfigError, match="embedding"):
        lab.create_model("vggish_tiny", embedding="relu")
