"""Measure time and memory of a full ranking, random states against random items, as in a recommender's test.

    python scripts/measure_ranking.py --items 1000000 --queries 10000

Prints the peak memory of the process, and the memory that all scores at once would need.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

from lab.tasks.recommendation.metrics import RankingMetrics
from lab.tasks.recommendation.ranks import rank_targets


def main() -> None:
    """Rank in batches and print time and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--batch", type=int, default=512, help="queries in a batch")
    parser.add_argument("--top", type=int, default=0, help="also find the best N items of each query, as a test does")
    parser.add_argument("--max-scores", type=int, help="scores held at once")
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    items = torch.randn(arguments.items, arguments.dim, generator=generator)
    states = torch.randn(arguments.queries, arguments.dim, generator=generator)
    targets = torch.randint(1, arguments.items + 1, (arguments.queries,), generator=generator)
    metric, before = RankingMetrics([20]), _peak()
    start = time.perf_counter()
    for rows in torch.arange(arguments.queries).split(arguments.batch):
        block = states[rows]
        ranking = rank_targets(
            lambda part, columns, block=block: block[part] @ items[columns.start - 1 : columns.stop - 1].T,
            targets[rows],
            arguments.items,
            top=arguments.top,
            max_scores=arguments.max_scores,
        )
        metric.update(ranking.greater, ranking.equal)
    seconds = time.perf_counter() - start
    print(
        f"{arguments.queries} queries x {arguments.items} items, D={arguments.dim}, {torch.get_num_threads()} threads"
    )
    print(f"{seconds:.1f} s, {1e3 * seconds / arguments.queries:.2f} ms a query; {metric.compute()}")
    print(f"peak {_peak():.0f} MiB, {before:.0f} MiB of it before ranking began")
    print(f"all scores at once would take {4 * arguments.queries * arguments.items / 2**20:.0f} MiB")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
