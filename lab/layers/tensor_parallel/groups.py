"""Groups of ranks for data and tensor parallelism.

Shoeybi et al., "Megatron-LM: Training Multi-Billion Parameter Language Models Using Model Parallelism", 2019. Ranks are
numbered with the tensor group fastest, so that its ranks, which talk in every layer, are neighbours on one machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.distributed as dist

from lab.errors import ConfigError


@dataclass(frozen=True)
class RankGroup:
    """Ranks that work together, as one of them sees them. Where a group may be None, None stands for one rank alone.

    Attributes:
        group: the process group.
        rank: the number of this rank within the group.
        size: the number of ranks.
    """

    group: dist.ProcessGroup
    rank: int
    size: int

    @classmethod
    def of(cls, group: dist.ProcessGroup) -> RankGroup:
        """Return a process group as this rank sees it."""
        return cls(group, dist.get_rank(group), dist.get_world_size(group))

    def part(self, whole: int, what: str) -> int:
        """Return the share of each rank.

        Args:
            whole: the size to be shared.
            what: what it is, for the message.

        Raises:
            ConfigError: the ranks cannot share it equally.
        """
        if whole % self.size:
            raise ConfigError(f"strategy.tensor_parallel_size={self.size} does not divide {whole}, {what}")
        return whole // self.size


@dataclass(frozen=True)
class RankGrid:
    """The two groups of a rank.

    Attributes:
        data: the ranks that hold the same part of the network and see other samples.
        tensor: the ranks that see the same samples and hold other parts.
    """

    data: RankGroup
    tensor: RankGroup


def lay_out(tensor_size: int) -> RankGrid:
    """Arrange all ranks as (data, tensor) and return the groups of this rank; every rank must call it.

    With 4 ranks and ``tensor_size=2`` the tensor groups are (0, 1) and (2, 3), the data groups (0, 2) and (1, 3).

    Raises:
        ConfigError: the number of ranks is not a multiple of ``tensor_size``.
    """
    ranks, own = dist.get_world_size(), dist.get_rank()
    if ranks % tensor_size:
        raise ConfigError(f"strategy.tensor_parallel_size={tensor_size} does not divide the {ranks} ranks of the job")
    tensor = [list(range(first, first + tensor_size)) for first in range(0, ranks, tensor_size)]
    data = [list(range(first, ranks, tensor_size)) for first in range(tensor_size)]
    return RankGrid(_own_group(data, own), _own_group(tensor, own))


def _own_group(lists: list[list[int]], own: int) -> RankGroup:
    found = None
    for ranks in lists:
        group = dist.new_group(ranks)  # every rank takes part in making every group
        if own in ranks:
            found = group
    assert isinstance(found, dist.ProcessGroup)
    return RankGroup.of(found)
