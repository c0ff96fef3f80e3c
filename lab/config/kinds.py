"""The schemas that a kind of problem gives: ``eval``, ``model.asks``, ``model.learning``, groups of its own. No torch.

The package ``config`` may not import the kinds, so a caller that checks a config passes a function that finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from lab.config.value_types import Int, Strict, Text

Smoothing = Annotated[float, Field(ge=0, lt=1)]
ClassWeight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class EvalSettings(Strict):
    """The schema of a kind's group ``eval``. A kind without settings uses this class itself.

    Attributes:
        name: the name of the kind.
    """

    name: Text

    @property
    def most_samples(self) -> int | None:
        """Measure at most this number of samples, chosen at random; None: all."""
        return None

    @property
    def sample_seed(self) -> int:
        """The seed of that choice."""
        return 0


class TextEvalSettings(EvalSettings):
    """The schema of the group ``eval`` of a kind on text.

    Attributes:
        features: ``stage=predict`` writes the states of these layers for each token instead; None: predictions.
    """

    features: list[Int] | None = None


class Asks(Strict):
    """The settings that a model of a kind asks of its data: ``model.asks``.

    Every field may be left out. A data YAML reads one by ``${oc.select:model.asks.KEY,DEFAULT}``; the command line can
    still override it in the group ``data``.
    """


class Learning(Strict):
    """How a model of a kind learns: ``model.learning``, of which the task gets every field. Each has a default."""

    @classmethod
    def chosen(cls, given: Mapping[str, Any]) -> type[Learning]:
        """Return the schema for some settings, where one of them decides which others there are."""
        return cls


class ClassLearning(Learning):
    """How a model of a kind with one class for each sample learns; both in training only.

    Attributes:
        label_smoothing: share of the target that is spread over all classes.
        class_weights: weight of each class in the loss, a list; ``balanced``: by its number of training samples; None.
    """

    label_smoothing: Smoothing = 0.0
    class_weights: Literal["balanced"] | list[ClassWeight] | None = None


def no_conflict(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return None: no combination of settings is refused."""
    return None


@dataclass(frozen=True)
class TaskSettings:
    """The schemas and rules that a kind of problem gives to the config.

    Attributes:
        eval: the schema of the group ``eval``.
        asks: the schema of ``model.asks``.
        from_data: the network arguments that are taken from the data: the names in ``DataSpec.net_arguments``.
        conflict: checks a config for combinations that this kind refuses; returns the dotted key and a text that says
            why not and what works instead, or None.
        learning: the schema of ``model.learning``; None where the network's own loss is all there is: the block does
            not exist then.
        groups: the schemas of groups that only configs of this kind have, by the name of the group. Its ``eval`` brings
            them by its defaults list: ``- /GROUP@_global_.GROUP: OPTION``.
    """

    eval: type[EvalSettings] = EvalSettings
    asks: type[Asks] = Asks
    from_data: tuple[str, ...] = ()
    conflict: Callable[[Mapping[str, Any]], tuple[str, str] | None] = no_conflict
    learning: type[Learning] | None = None
    groups: Mapping[str, type[Strict]] = field(default_factory=dict)


FindSettings = Callable[[str], TaskSettings]
"""Returns the settings of a kind by its name.

Raises:
    ConfigError: there is no such kind.
"""
