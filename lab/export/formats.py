"""What a format is: it writes a network for an engine and runs that engine, which it imports when it is used."""

from __future__ import annotations

import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from lab.checking import check_choice
from lab.errors import ExportError
from lab.export.description import ExportDescription
from lab.export.names import FORMATS
from lab.export.network import ExportNetwork

EngineRunner = Callable[[Tensor], Sequence[Tensor]]
"""Runs an engine on images (B, 3, H, W) and returns the outputs of ``ExportNetwork``."""


@dataclass(frozen=True)
class ExportOrder:
    """What is to be written.

    Attributes:
        net: in evaluation mode, on the CPU.
        images: (B, 3, H, W) float32 from 0 to 1, which the network is captured with; B is 2 or more.
        dynamic: the dimensions of the input that shall be open: of ``batch``, ``height``, ``width``.
        description: of the network; the format adds itself.
        options: of the format, by the name of their flag.
    """

    net: ExportNetwork
    images: Tensor
    dynamic: tuple[str, ...]
    description: ExportDescription
    options: Mapping[str, Any] = field(default_factory=dict)


class ExportFormat(ABC):
    """Writes a network for an engine and runs that engine.

    Attributes:
        suffix: of the file's name.
        engine: the name of what runs it, for the table.
        needs: packages that have to be installed.
    """

    suffix: ClassVar[str]
    engine: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def write(self, order: ExportOrder, path: Path) -> ExportDescription:
        """Write the file; return the description with what is open and the format's own details.

        Raises:
            ExportError: the network has something that the format does not.
        """

    @abstractmethod
    def load(self, path: Path) -> EngineRunner:
        """Return what runs the file, on as many threads as torch."""


def make_format(name: str) -> ExportFormat:
    """Return a format by name.

    Raises:
        ConfigError: there is none of that name.
        ExportError: a package that it needs is not installed.
    """
    check_choice("format", name, tuple(FORMATS))
    module, _, kind = FORMATS[name].partition(":")
    made: ExportFormat = getattr(importlib.import_module(module), kind)()
    missing = [package for package in made.needs if importlib.util.find_spec(package) is None]
    if missing:
        raise ExportError(f"format {name} needs {', '.join(missing)}, not installed: pip install 'lab[export]'")
    return made
