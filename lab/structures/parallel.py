"""What a strategy must know of an architecture to split it over ranks, and an architecture of its backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import nn

if TYPE_CHECKING:
    from torch.distributed.tensor.parallel import ParallelStyle


@runtime_checkable
class Splitting(Protocol):
    """The protocol of the module ``parallel.py`` in an architecture's folder."""

    def blocks(self, net: Any) -> list[nn.Module]:
        """Return the units of a network, in the order of its forward pass.

        The parameters of a unit are gathered together, just before the unit's forward pass. Parameters outside of all
        units are gathered with the whole network. For a backbone use ``lab.registry.parallel.blocks_of(net.backbone)``.
        """
        ...


@runtime_checkable
class TensorSplitting(Splitting, Protocol):
    """``Splitting`` with a plan for tensor parallelism, which is optional."""

    def tensor_plan(self, net: Any) -> dict[str, ParallelStyle]:
        """Return how to split matrices over ranks: the dotted name of each layer to split, and its style.

        Layers of ``lab.layers.tensor_parallel`` that are not named here are split as they say themselves.
        """
        ...
