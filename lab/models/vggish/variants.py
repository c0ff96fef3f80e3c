"""The registered VGGish, and a small one to train from scratch on a CPU.

The authors' weights have no published hash, so they are not downloaded: give ``pretrained=FILE`` (TensorFlow's
``vggish_model.ckpt``, torchvggish's ``vggish-10086976.pth`` or torchaudio's).
"""

from __future__ import annotations

from typing import Annotated

from lab.models.vggish.network import Channels, VGGish
from lab.ranges import Count, Dropout, Ge, Le, OneOf, Size
from lab.registry.models import register_model


@register_model(classifier="classifier", converter="lab.models.vggish.weights.convert")
def vggish(
    num_classes: Count = 0,
    embedding: Annotated[str, OneOf("pre_activation", "post_activation")] = "pre_activation",
    head_dim: Count = 0,
    dropout: Dropout = 0.0,
    init_std: Annotated[float, Ge(0), Le(1)] = 0.01,
) -> VGGish:
    """Build VGGish: 72.1 M parameters without a classifier; its authors report no accuracy of the published weights."""
    return VGGish(num_classes, embedding=embedding, head_dim=head_dim, dropout=dropout, init_std=init_std)


@register_model(classifier="classifier", converter="lab.models.vggish.weights.convert")
def vggish_tiny(
    num_classes: Count = 0,
    channels: Channels = (16, 32, 64, 64),
    hidden_dim: Size = 128,
    embed_dim: Size = 64,
    embedding: Annotated[str, OneOf("pre_activation", "post_activation")] = "post_activation",
    norm: Annotated[str, OneOf("none", "batch_norm", "group_norm")] = "group_norm",
    head_dim: Count = 0,
    dropout: Dropout = 0.1,
    init_std: Annotated[float, Ge(0), Le(1)] = 0.0,
) -> VGGish:
    """Build a VGGish of 0.3 M parameters with norms, to be trained from scratch on a CPU."""
    return VGGish(num_classes, channels, hidden_dim, embed_dim, embedding, norm, head_dim, dropout, init_std)
