"""A baseline for text classifiers: logistic regression on the counts of a text's tokens.

The regression is the convex problem of scikit-learn's ``LogisticRegression``: the cross-entropy over all texts plus
``l2 / 2`` times the squared weights, of two classes those of their difference; biases are not penalised. It is solved
to its optimum by L-BFGS on the host, so the result depends on no seed, order or learning rate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import optimize, sparse
from torch import Tensor, nn

from lab.errors import ConfigError
from lab.ranges import Positive, Weight
from lab.registry.models import register_model

TOLERANCE = 1e-6
"""The largest gradient at which L-BFGS stops, for the mean loss of a text."""
MOST_STEPS = 2000
BagWeights = npt.NDArray[np.float64]


class BagOfWords(nn.Module):
    """A ``lab.structures.text_classification.TextClassifier`` without parameters, which is fitted to texts once.

    Args:
        vocab_size: V.
        num_classes: K.
        l2: the penalty of the squared weights; 1 / C of scikit-learn.
        binary: whether a token counts once in a text, however often it stands there.
    """

    weight: Tensor
    bias: Tensor
    max_length = 0

    def __init__(self, vocab_size: int, num_classes: int, l2: float = 1.0, binary: bool = True) -> None:
        super().__init__()
        self.vocab_size, self.num_classes, self.l2, self.binary = vocab_size, num_classes, l2, binary
        self.register_buffer("weight", torch.zeros(vocab_size, num_classes))
        self.register_buffer("bias", torch.zeros(num_classes))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        num_tokens: int | None = None,
    ) -> Tensor:
        """Return logits (B, K) of tokens (B, T); the tokens of both texts of a pair count alike."""
        standing = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask
        if self.binary:  # of equal tokens the first one counts
            order = input_ids.masked_fill(~standing, -1).sort(dim=1, stable=True)
            new = torch.ones_like(standing)
            new[:, 1:] = order.values[:, 1:] != order.values[:, :-1]
            standing = torch.zeros_like(standing).scatter(1, order.indices, new) & standing
        shares = standing.to(self.weight.dtype)
        return torch.einsum("btk,bt->bk", self.weight[input_ids], shares) + self.bias

    def fit_texts(self, batch: Any) -> None:
        """Fit weights and biases to labelled texts; it replaces what was fitted before.

        Args:
            batch: a ``TextClassificationBatch`` of all training texts; the windows of a text count together.
        """
        counts = counted(batch, self.vocab_size, self.binary)
        weight, bias = fitted(counts, batch.targets.labels.cpu().numpy(), self.num_classes, self.l2)
        self.weight.copy_(torch.from_numpy(weight))
        self.bias.copy_(torch.from_numpy(bias))


def counted(batch: Any, vocab_size: int, binary: bool) -> Any:
    """Return how often each token stands in each text, (B, V) as scipy's CSR matrix.

    The tokens of a text in several windows are divided by the number of windows: its logits are the mean over them.
    """
    windows = np.array(batch.windows or [1] * batch.num_samples, dtype=np.int64)
    owners = np.repeat(np.arange(len(windows)), windows)
    ids = batch.input_ids.cpu().numpy()
    standing = np.ones_like(ids, dtype=bool) if batch.attention_mask is None else batch.attention_mask.cpu().numpy()
    rows, places = np.nonzero(standing)
    found = sparse.csr_matrix((np.ones(len(rows)), (rows, ids[rows, places])), shape=(len(ids), vocab_size))
    found.sum_duplicates()
    if binary:
        found.data[:] = 1.0
    mean = sparse.csr_matrix((1.0 / windows[owners], (owners, np.arange(len(owners)))), shape=(len(windows), len(ids)))
    return (mean @ found).tocsr()


def fitted(counts: Any, labels: npt.NDArray[np.int64], num_classes: int, l2: float) -> tuple[BagWeights, BagWeights]:
    """Return the weights (V, K) and biases (K,) of least penalised loss.

    Args:
        counts: (N, V), scipy's CSR matrix.
        labels: (N,) 0 to K - 1.
        num_classes: K.
        l2: the penalty.

    Raises:
        ConfigError: no optimum was found.
    """
    total, size = counts.shape
    penalty = 2 * l2 if num_classes == 2 else l2  # two columns share what is one weight in scikit-learn
    truth = np.zeros((total, num_classes))
    truth[np.arange(total), labels] = 1.0
    turned = counts.T.tocsr()

    def loss(values: BagWeights) -> tuple[float, BagWeights]:
        weight, bias = values[: size * num_classes].reshape(size, num_classes), values[size * num_classes :]
        logits = counts @ weight + bias
        logits -= logits.max(1, keepdims=True)
        log_sums = np.log(np.exp(logits).sum(1, keepdims=True))
        off = np.exp(logits - log_sums) - truth
        value = ((log_sums[:, 0] - logits[np.arange(total), labels]).sum() + penalty / 2 * (weight**2).sum()) / total
        slope = np.concatenate([(turned @ off + penalty * weight).ravel(), off.sum(0)]) / total
        return float(value), slope

    start = np.zeros((size + 1) * num_classes)
    options = {"maxiter": MOST_STEPS, "gtol": TOLERANCE, "ftol": 0.0, "maxcor": 20}
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    if not np.isfinite(found.fun) or found.nit >= MOST_STEPS:
        raise ConfigError(f"bag_of_words: no optimum in {found.nit} steps ({found.message}); raise model.net.l2={l2:g}")
    weight, bias = np.split(found.x, [size * num_classes])
    return weight.reshape(size, num_classes), bias


@register_model
def bag_of_words(vocab_size: Positive, num_classes: Positive, l2: Weight = 1.0, binary: bool = True) -> BagOfWords:
    """Build a logistic regression on token counts."""
    return BagOfWords(vocab_size, num_classes, l2, binary)
