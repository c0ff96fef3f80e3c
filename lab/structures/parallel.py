"""What an architecture says of itself to the strategies that split it, and a backbone to the architecture around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import nn

if TYPE_CHECKING:
    from torch.distributed.tensor.parallel import ParallelStyle


@runtime_checkable
class Splitting(Protocol):
    """The protocol of the module ``parallel`` that stands beside an architecture's network."""

    def blocks(self, net: Any) -> list[nn.Module]:
        """Return the units of a network, in the order of its forward pass.

        The parameters of a unit are gathered together, just before its own forward pass is called. What the units leave
        out belongs to the whole network. Of a backbone they are ``lab.registry.parallel.blocks_of(net.backbone)``.
        """
        ...


@runtime_checkable
class TensorSplitting(Splitting, Protocol):
    """The same with a plan for tensor parallelism, which an architecture need not have."""

    def tensor_plan(self, net: Any) -> dict[str, ParallelStyle]:
        """Return the dotted names of the layers whose matrices are split over ranks, and how each is."""
        ...
