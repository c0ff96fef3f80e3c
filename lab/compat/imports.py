"""Imports that foreign packages do and a run does not need, put off until something of them is used.

``import torchmetrics``, which Lightning does, loads every metric there is: for text with transformers, for images with
torchvision, for sound with scipy.signal. ``import torch._dynamo``, which Lightning and ``torch.optim`` do, loads the
compiler and sympy, which only ``torch.compile`` needs. Together they take longer than torch itself. Here these packages
become module objects whose code runs when it is needed. No attribute of theirs is replaced; whoever asks for a name
finds what a plain import would have given, or an object that hands on to it.
"""

from __future__ import annotations

import functools
import importlib
import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any


def put_off_imports() -> None:
    """Let the code of ``torchmetrics``, ``torch._dynamo`` and others run when it is needed, not when they are imported.

    To be called before Lightning is imported. A package that has already been imported stays as it is.
    """
    if not any(isinstance(finder, _LateFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _LateFinder({name: _LATE[name] for name in _LATE if name not in sys.modules}))


class _LateFinder(MetaPathFinder):
    """Finds packages where the other finders do, and has their code run late."""

    def __init__(self, packages: Mapping[str, Mapping[str, Callable[[], Any]]]) -> None:
        self.packages = packages

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package = fullname.rpartition(".")[0]
        if package in _WHOLE and fullname not in _ALONE:
            _load(sys.modules[package])
        if fullname.startswith("torchmetrics.") and _BASE not in sys.modules and fullname != _BASE:
            importlib.import_module(_BASE)
        if fullname not in self.packages:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if found is not None and found.loader is not None:
            found.loader = _LateLoader(found.loader, self.packages[fullname])
        return found


class _LateLoader(Loader):
    """Makes a package whose code has not run.

    Args:
        real: the loader that runs it.
        known: names of the package that are had without running it.
    """

    def __init__(self, real: Loader, known: Mapping[str, Callable[[], Any]]) -> None:
        self.real = real
        self.known = known
        self._lock = threading.RLock()
        self._runner: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["real"], name)  # what else is asked of a loader: get_source, for instance

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = _LatePackage

    def is_running(self) -> bool:
        """Whether it is this thread that runs the package's code now."""
        return self._runner == threading.get_ident()

    def run(self, module: ModuleType) -> None:
        """Run the package's code, once; a second thread waits for the first."""
        with self._lock:
            if self.is_running() or not isinstance(module, _LatePackage):
                return
            if module.__name__ == "torchmetrics":
                importlib.import_module(_BASE)
            package = module.__name__.rpartition(".")[0]
            if package in _WHOLE and _is_late(package):
                _load(sys.modules[package])
                if not isinstance(module, _LatePackage):
                    return
            self._runner = threading.get_ident()
            try:
                self.real.exec_module(module)
            finally:
                self._runner = None
            module.__class__ = ModuleType  # type: ignore[assignment]
            module.__loader__ = self.real
            if module.__spec__ is not None:
                module.__spec__.loader = self.real


class _LatePackage(ModuleType):
    """A package whose code runs when a name is asked for that is not known without it."""

    def __getattr__(self, name: str) -> Any:
        loader = self.__loader__
        if name != "__path__" and isinstance(loader, _LateLoader) and not loader.is_running():  # a package has its path
            if name in loader.known:
                return loader.known[name]()
            loader.run(self)
            if name in self.__dict__:
                return self.__dict__[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def _load(module: ModuleType) -> ModuleType:
    """Run a package's code if it has not run."""
    if isinstance(module, _LatePackage) and isinstance(module.__loader__, _LateLoader):
        module.__loader__.run(module)
    return module


class _OptimizedModule:
    """Stands for the class ``torch._dynamo.OptimizedModule`` in Lightning, which asks what is an instance of it.

    There is no instance as long as ``torch._dynamo`` has not run.
    """

    def __init__(self) -> None:
        self.__name__ = self.__qualname__ = "OptimizedModule"

    def __instancecheck__(self, instance: Any) -> bool:
        return not _is_late(_DYNAMO) and isinstance(instance, self._real())

    def __subclasscheck__(self, subclass: type) -> bool:
        return not _is_late(_DYNAMO) and issubclass(subclass, self._real())

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type]:
        return (self._real(),)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and _is_late(_DYNAMO):  # typing.Union asks for them
            raise AttributeError(name)
        return getattr(self._real(), name)

    @staticmethod
    def _real() -> Any:
        return _load(sys.modules[_DYNAMO]).OptimizedModule


def _disable(fn: Any = None, recursive: bool = True, *, wrapping: bool = True, **others: Any) -> Any:
    """Stand for ``torch._dynamo.disable`` around functions: an optimizer's methods and what Lightning decorates.

    What is not compiled needs no disabling: the function is called as it is until ``torch._dynamo`` has run.
    """
    if not isinstance(fn, FunctionType):
        return _load(sys.modules[_DYNAMO]).disable(fn, recursive, wrapping=wrapping, **others)

    @functools.cache
    def real() -> Callable[..., Any]:
        made: Callable[..., Any] = sys.modules[_DYNAMO].disable(fn, recursive, wrapping=wrapping, **others)
        return made

    def disabled(*args: Any, **kwargs: Any) -> Any:
        return (fn if _is_late(_DYNAMO) else real())(*args, **kwargs)

    if wrapping:
        functools.update_wrapper(disabled, fn)
    disabled._torchdynamo_disable = True  # type: ignore[attr-defined]  # not to be traced itself
    return disabled


def _graph_break(msg: str = "") -> None:
    """Stand for ``torch._dynamo.graph_break``, which does nothing where nothing is compiled."""


class _NoSource:
    """Stands for a class of ``torch._dynamo.source`` that has no instances where nothing is compiled."""


def _constant_source() -> type:
    """Return what stands for ``ConstantSource``: where a tensor comes from, of which only the compiler makes code."""
    from torch._guards import Source

    class ConstantSource(Source):
        def __init__(self, source_name: str) -> None:
            object.__setattr__(self, "name", source_name)

        name = ""

    return ConstantSource


def _flop_counter(*args: Any, **kwargs: Any) -> Any:
    """Stand for the class ``FlopCounterMode`` in Lightning, whose module imports Triton."""
    return _load(sys.modules[_FLOPS]).FlopCounterMode(*args, **kwargs)


def _is_late(name: str) -> bool:
    return isinstance(sys.modules.get(name), _LatePackage)


_DYNAMO = "torch._dynamo"
_SOURCE = "torch._dynamo.source"
_FLOPS = "torch.utils.flop_counter"
_BASE = "torchmetrics.utilities"
"""It and ``torchmetrics.metric`` import each other, which works in one order only."""
_WHOLE = (_DYNAMO, "torch._inductor", "scipy.optimize", "triton")
"""Packages whose modules import each other in circles, so that the package's own code has to run before them."""
_ALONE = (
    "scipy.optimize._lsap",
    "torch._dynamo.config",  # asked for by tensors without data (FakeTensorMode)
    _SOURCE,  # by these too
    "torch._inductor.config",  # asked for by torch.use_deterministic_algorithms, which Lightning's Trainer calls
    "torch._inductor.custom_graph_pass",  # imported by the one before
    "triton._torchtlx_default",  # asked for by it, and in no release of Triton
)
"""Their modules that need nothing of it."""
_LATE: Mapping[str, Mapping[str, Callable[[], Any]]] = {
    "torchmetrics": {
        "Metric": lambda: importlib.import_module("torchmetrics.metric").Metric,
        "MetricCollection": lambda: importlib.import_module("torchmetrics.collections").MetricCollection,
        "__version__": lambda: importlib.import_module("torchmetrics.__about__").__version__,
        "_logger": lambda: logging.getLogger("torchmetrics"),
    },
    "torchmetrics.functional": {},
    "scipy.optimize": {
        "linear_sum_assignment": lambda: importlib.import_module("scipy.optimize._lsap").linear_sum_assignment,
    },
    "torch._inductor": {},
    "triton": {},
    _DYNAMO: {
        "OptimizedModule": _OptimizedModule,
        "disable": lambda: _disable,
        "graph_break": lambda: _graph_break,
    },
    _FLOPS: {"FlopCounterMode": lambda: _flop_counter},
    _SOURCE: {"ConstantSource": functools.cache(_constant_source), "RandomValueSource": lambda: _NoSource},
}
"""By package: how those of its names are had that are asked for while it is not needed."""
