"""What a kind of problem tells the config: how it is measured, what its models ask of their data. No torch.

Kinds stand above the config, which knows none of them: whoever checks a config hands over a way to find them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.config.schemas import Strict, Text


class EvalSettings(Strict):
    """How a kind is measured: its group ``eval``. A kind where nothing can be chosen takes it as it is.

    Attributes:
        name: of the kind.
    """

    name: Text

    @property
    def most_samples(self) -> int | None:
        """Measure at most so many samples, chosen at random; None: all."""
        return None

    @property
    def sample_seed(self) -> int:
        """Of that choice."""
        return 0


class Asks(Strict):
    """What a model of a kind asks of its data: ``model.asks``.

    Every field may be left out. A data YAML takes one by ``${oc.select:model.asks.KEY,DEFAULT}``; a command line can
    still say otherwise in the group ``data``.
    """


def no_conflict(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Find nothing that does not go together."""
    return None


@dataclass(frozen=True)
class TaskSettings:
    """What a kind of problem tells the config.

    Attributes:
        eval: the schema of the group ``eval``.
        asks: the schema of ``model.asks``.
        from_data: the arguments of networks that the data decides: the names that ``DataSpec.net_arguments`` returns.
        conflict: looks at a config for what does not go together in this kind alone; returns the dotted key and why it
            cannot be and what can, or None.
    """

    eval: type[EvalSettings] = EvalSettings
    asks: type[Asks] = Asks
    from_data: tuple[str, ...] = ()
    conflict: Callable[[Mapping[str, Any]], tuple[str, str] | None] = no_conflict


FindSettings = Callable[[str], TaskSettings]
"""Returns the settings of a kind by its name.

Raises:
    ConfigError: there is no such kind.
"""
