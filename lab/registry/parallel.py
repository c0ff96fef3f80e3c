"""How a network is split over ranks, as the file ``parallel.py`` beside its architecture says it.

Strategies ask for the whole network, and an architecture asks for its backbone, whatever that is:
``lab.structures.parallel.Splitting`` is what the file offers. A network without one is a unit that nothing divides.
"""

from __future__ import annotations

import importlib
import importlib.util

from torch import nn

from lab.errors import ConfigError
from lab.structures.parallel import Splitting, TensorSplitting


def splitting_of(net: nn.Module) -> Splitting | TensorSplitting | None:
    """Return the module ``parallel`` that stands beside an architecture, None where there is none.

    It is looked for in the package of the network's class, then in those of its bases: sharding makes a subclass.

    Raises:
        ConfigError: there is one, and it has no ``blocks``.
    """
    for kind in type(net).__mro__:
        package = kind.__module__.rpartition(".")[0]
        if package.partition(".")[0] in ("", "torch"):
            continue
        try:
            found = importlib.util.find_spec(f"{package}.parallel")
        except ModuleNotFoundError:  # the class's own module is no member of a package
            continue
        if found is not None:
            module = importlib.import_module(f"{package}.parallel")
            if not isinstance(module, Splitting):
                raise ConfigError(f"{package}.parallel has no function `blocks`: see lab.structures.parallel.Splitting")
            return module
    return None


def blocks_of(net: nn.Module) -> list[nn.Module]:
    """Return the units of a network, in the order of its forward pass; none where nothing says which there are.

    Raises:
        ConfigError: a unit is no part of the network.
    """
    splitting = splitting_of(net)
    found = [] if splitting is None else splitting.blocks(net)
    parts = set(net.modules())
    stranger = next((unit for unit in found if unit not in parts), None)
    if stranger is not None:
        raise ConfigError(
            f"{type(net).__name__}: `blocks` of its module `parallel` names a {type(stranger).__name__} that is no "
            "part of it"
        )
    return found
