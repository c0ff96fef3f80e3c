"""Embeddings as AudioSet publishes them: whitened by a PCA, clipped and stored in eight bits.

Gemmeke et al., "Audio Set" (ICASSP 2017), in the form of the YouTube-8M data set. The authors' code cuts numbers off
(``truncate``), torchvggish rounds them: the results differ by one in about half of the bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from lab.errors import CheckpointError
from lab.models.vggish.weights import PCA
from lab.registry.weights import read_state_dict

Rounding = Literal["truncate", "round"]
LIMIT = 2.0
"""Whitened embeddings are clipped to -2 .. 2, which become 0 .. 255."""
_VECTORS, _MEANS = "pca_eigen_vectors", "pca_means"


class EmbeddingCodes(nn.Module):
    """Turns embeddings into codes.

    Args:
        vectors: (D, D), an eigenvector in each row, scaled to unit variance.
        means: (D,) of the embeddings.
        rounding: ``truncate`` as the authors do, or ``round``.
    """

    vectors: Tensor
    means: Tensor

    def __init__(self, vectors: Tensor, means: Tensor, rounding: Rounding = "truncate") -> None:
        super().__init__()
        self.rounding = rounding
        self.register_buffer("vectors", vectors)
        self.register_buffer("means", means)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return (E, D) uint8 for embeddings (E, D)."""
        whitened = (embeddings.to(self.means.dtype) - self.means) @ self.vectors.t()
        scaled = (whitened.clamp(-LIMIT, LIMIT) + LIMIT) * (255.0 / (2 * LIMIT))
        return (scaled.round() if self.rounding == "round" else scaled).to(torch.uint8)


def read_pca(file: str | Path, embed_dim: int) -> tuple[Tensor, Tensor]:
    """Read eigenvectors (D, D) and means (D,) of ``vggish_pca_params.npz``, its torch form, or torchvggish's module.

    Raises:
        CheckpointError: the file cannot be read, or has no PCA of embeddings of this width.
    """
    state = {key.removeprefix(PCA): value for key, value in read_state_dict(file).items()}
    if _VECTORS not in state or _MEANS not in state:
        raise CheckpointError(f"{file} holds no PCA: expected {_VECTORS} and {_MEANS}, found {', '.join([*state][:4])}")
    vectors, means = state[_VECTORS].float(), state[_MEANS].float().flatten()
    if vectors.shape != (embed_dim, embed_dim) or means.shape != (embed_dim,):
        raise CheckpointError(
            f"{file}: the PCA is of {tuple(vectors.shape)} and {tuple(means.shape)}, and the embeddings have "
            f"{embed_dim} numbers"
        )
    return vectors, means
