"""Patches of an image as tokens."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lab.layers.linear import linear


class PatchProjection(nn.Conv2d):
    """A convolution of patches that do not overlap, as one product: on CPUs PyTorch's own is slow.

    Args:
        in_chans: channels of the images.
        embed_dim: features of a token.
        patch_size: side of a patch in pixels, or (height, width) of one.
    """

    def __init__(self, in_chans: int, embed_dim: int, patch_size: int | tuple[int, int]) -> None:
        super().__init__(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, in_chans, H, W), whole patches, to (B, H / patch_size, W / patch_size, embed_dim)."""
        height, width = self.kernel_size[0], self.kernel_size[1]
        patches = images.unflatten(3, (-1, width)).unflatten(2, (-1, height)).permute(0, 2, 4, 1, 3, 5).flatten(3)
        return linear(patches, self.weight.flatten(1), self.bias)


def pad_to_patches(images: Tensor, patch_size: int) -> Tensor:
    """Return (B, C, H, W) images padded with zeros, below and to the right, to whole patches."""
    height, width = images.shape[-2:]
    if height % patch_size or width % patch_size:
        images = F.pad(images, (0, -width % patch_size, 0, -height % patch_size))
    return images
