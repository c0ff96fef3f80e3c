"""Finds how a network is split over ranks: the file ``parallel.py`` beside its architecture defines it.

The file implements ``lab.structures.parallel.Splitting``. Strategies look it up for the whole network, and an
architecture for its backbone. A network without such a file is one unit that cannot be divided.
"""

from __future__ import annotations

import importlib
import importlib.util

from torch import nn

from lab.errors import ConfigError
from lab.structures.parallel import Splitting, TensorSplitting


def splitting_of(net: nn.Module) -> Splitting | TensorSplitting | None:
    """Return the module ``parallel`` of an architecture, or None if it has none.

    It is looked for in the package of the network's class, then in those of its bases, because sharding makes a
    subclass.

    Raises:
        ConfigError: the module has no ``blocks``.
    """
    for kind in type(net).__mro__:
        package = kind.__module__.rpartition(".")[0]
        if package.partition(".")[0] in ("", "torch"):
            continue
        try:
            found = importlib.util.find_spec(f"{package}.parallel")
        except ModuleNotFoundError:  # the class's module is not in a package
            continue
        if found is not None:
            module = importlib.import_module(f"{package}.parallel")
            if not isinstance(module, Splitting):
                raise ConfigError(f"{package}.parallel has no function `blocks`: see lab.structures.parallel.Splitting")
            return module
    return None


def blocks_of(net: nn.Module) -> list[nn.Module]:
    """Return the units of a network, in the order of its forward pass; none if it has no module ``parallel``.

    Raises:
        ConfigError: a unit is not part of the network.
    """
    splitting = splitting_of(net)
    found = [] if splitting is None else splitting.blocks(net)
    parts = set(net.modules())
    stranger = next((unit for unit in found if unit not in parts), None)
    if stranger is not None:
        raise ConfigError(
            f"{type(net).__name__}: `blocks` of its module `parallel` names a {type(stranger).__name__} that is not "
            "part of it"
        )
    return found


def units(net: nn.Module) -> list[nn.Module]:
    """Return the parts of a network whose parameters are gathered together, each before its forward pass.

    They are the ``blocks`` of the architecture's module ``parallel``, inner ones first; none without this module.
    """
    found = blocks_of(net)
    depth = {module: name.count(".") for name, module in net.named_modules()}
    return sorted((unit for unit in found if any(True for _ in unit.parameters())), key=lambda unit: -depth[unit])
