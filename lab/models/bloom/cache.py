"""Keys and values of the tokens so far, in memory that is allocated once for the whole continuation.

Names: B sequences, H heads (those of this rank under tensor parallelism) of width D, S tokens that there is room for.
"""

from __future__ import annotations

from torch import Tensor

from lab.errors import ConfigError


class LayerCache:
    """The keys and values of one layer; memory is taken at the first call, for as many heads as the layer has here.

    Args:
        size: S.
    """

    def __init__(self, size: int) -> None:
        self.size, self.length = size, 0
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append (B, H, T, D) each, and return all so far, (B, H, length, D) each, as views.

        Raises:
            ConfigError: there is no room.
        """
        first, last = self.length, self.length + keys.shape[2]
        if last > self.size:
            raise ConfigError(f"a cache of {self.size} tokens has no room for {last}")
        if self._keys is None or self._values is None:
            batch, heads, _, width = keys.shape
            shape = (batch, heads, self.size, width)
            self._keys, self._values = keys.new_empty(shape), values.new_empty(shape)
        self._keys[:, :, first:last] = keys
        self._values[:, :, first:last] = values
        self.length = last
        return self._keys[:, :, :last], self._values[:, :, :last]


class KeyValueCache:
    """The caches of all layers.

    Args:
        num_layers: of the network.
        size: tokens that there is room for.
    """

    def __init__(self, num_layers: int, size: int) -> None:
        self.size = size
        self.layers = [LayerCache(size) for _ in range(num_layers)]

    @property
    def length(self) -> int:
        """The number of tokens so far."""
        return self.layers[0].length
