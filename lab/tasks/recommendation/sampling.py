"""Draws items for each query outside of a set of excluded items, exactly and without rejection sampling.

The weights of all items form a line, and the excluded items are cut out of it. A random point on the shortened line,
plus the excluded weight before it, gives the item.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lab.errors import DataError
from lab.ops.hashing import uniform
from lab.tasks.recommendation.ranks import Pairs


def draw_outside(
    weights: Tensor, excluded: Pairs, sequences: Tensor, ordinals: Tensor, num_draws: int, seed: int
) -> Tensor:
    """Draw items (Q, n) int64 independently, with probabilities proportional to their weights.

    A draw depends only on the values for its own query, not on other queries, the batch or the rank.

    Args:
        weights: (I,) int64 weights of items 1 to I; ones for uniform draws.
        excluded: items that must not be drawn, for each query.
        sequences: (Q,) int64 the number of each query's sequence.
        ordinals: (Q,) int64 the number of the query within its sequence.
        num_draws: n.
        seed: another seed gives other items.

    Raises:
        DataError: nothing is left to draw from.
    """
    queries = torch.arange(len(sequences), device=weights.device)
    line = torch.nn.functional.pad(weights.cumsum(0), (1, 0))  # item i lies from line[i - 1] to line[i]
    cut = torch.nn.functional.pad(weights[excluded.items - 1].cumsum(0), (1, 0))
    first, last = excluded.starts(queries), excluded.starts(queries + 1)
    left = line[-1] - (cut[last] - cut[first])
    if bool((left <= 0).any()):
        number = int(sequences[int((left <= 0).nonzero()[0, 0])])
        raise DataError(
            f"no item is left to draw negatives from for sequence {number}: it has had all that the distribution offers"
        )
    noise = uniform(seed, 0, sequences.cpu().numpy(), ordinals.cpu().numpy(), num_draws)
    fallen = (torch.from_numpy(noise).to(left.device) * left[:, None]).long()
    # The position of each excluded item's cut on the shortened line of its query; queries one after the other.
    width = line[-1] + 1
    cuts = excluded.queries * width + line[excluded.items - 1] - (cut[:-1] - cut[first][excluded.queries])
    before = torch.searchsorted(cuts, queries[:, None] * width + fallen, right=True)
    place = fallen + cut[before] - cut[first][:, None]
    return torch.searchsorted(line[1:], place, right=True) + 1
