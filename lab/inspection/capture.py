"""Takes activations and gradients of named modules while a network runs, by hooks.

    with lab.capture(model, ["layer3", "blocks.*.attn"]) as seen:
        model(images)[0, label].backward()
    seen["layer3"], seen.gradient("layer3")

Hooks stand only inside the context and are removed at its end, also after an error. Gradients are those of a module's
outputs, so the backward pass belongs inside the context too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lab.checking import check_choice
from lab.compat.torch import in_backward
from lab.errors import ConfigError, closest
from lab.inspection.names import compiled_around, select
from lab.inspection.nested import mapped

Reduction = Literal["mean", "max", "norm"]
Reducer = Reduction | Callable[[Tensor], Any] | None
_REDUCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda tensor: _rows(tensor).float().mean(1),
    "max": lambda tensor: _rows(tensor).amax(1),
    "norm": lambda tensor: torch.linalg.vector_norm(_rows(tensor).float(), dim=1),
}


class Captured:
    """What the modules have given so far.

    Attributes:
        activations: of each module, by its name, a list with its output in each call. An output has the form that the
            module gives: a tensor, or a tuple, list or dict of tensors and other values.
        gradients: of each module a list with the gradients of these outputs, in the same form. None stands where none
            has come: nothing was differentiated, or the output does not lead to the loss. Of several backward passes
            the last one counts.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.activations: dict[str, list[Any]] = {name: [] for name in names}
        self.gradients: dict[str, list[Any]] = {name: [] for name in self.activations}

    def __getitem__(self, name: str) -> Any:
        """Return the output of a module that was called once.

        Raises:
            ConfigError: it was not captured, not called, or called several times.
        """
        return self._only(self.activations, name)

    def gradient(self, name: str) -> Any:
        """Return the gradient of the output of a module that was called once.

        Raises:
            ConfigError: as of ``[name]``; or no gradient has come.
        """
        found = self._only(self.gradients, name)
        if found is None:
            raise ConfigError(
                f"no gradient of {name!r} was seen: call backward() inside the context, on something that depends on it"
            )
        return found

    def _only(self, held: Mapping[str, list[Any]], name: str) -> Any:
        if name not in held:
            raise ConfigError(
                f"{name!r} is not captured{closest(name, held) or '; ' + ', '.join([*held][:8]) + ' are'}"
            )
        if not held[name]:
            raise ConfigError(
                f"{name!r} was not called: the network has not run inside the context, or it computes this module "
                "inside of another one"
            )
        if len(held[name]) > 1:
            kind = "activations" if held is self.activations else "gradients"
            raise ConfigError(f"{name!r} was called {len(held[name])} times: take .{kind}[{name!r}][call]")
        return held[name][0]


class _Stop(BaseException):
    """Ends a forward pass when the last wanted module has run; no network's ``except Exception`` may swallow it."""

    def __init__(self, by: capture) -> None:
        super().__init__()
        self.by = by


class capture:
    """Context manager that captures outputs of modules and their gradients; returns a ``Captured``.

    Contexts may be nested. Calls during a backward pass (activation checkpointing runs modules again) do not count.

    Args:
        model: the network. Inside of DDP, FSDP or activation checkpointing modules have their names of the plain one.
        modules: names or patterns: ``"layer3"``, ``"blocks.*.attn"`` (``*`` is one part of a name, ``**`` any number),
            ``""`` for the network itself.
        stop: end the forward pass, and the ``with`` block, once every wanted module has run; what follows in the block
            is left out. There are no gradients then.
        detach: give copies without a graph, which nothing changes later. Otherwise the tensors themselves: what the
            network adds to them in place is in them too.
        device: move what is captured to this device (gradients too), such as ``"cpu"``.
        reduce: of each tensor (B, ...), also of gradients, keep only ``mean``, ``max`` or ``norm`` (Euclidean) of each
            sample, (B,), or what a function of the tensor returns.

    Raises:
        ConfigError: a pattern matches nothing; a wanted module is compiled by ``torch.compile``, where hooks that come
            later do not fire.
    """

    def __init__(
        self,
        model: nn.Module,
        modules: str | Iterable[str],
        *,
        stop: bool = False,
        detach: bool = True,
        device: str | torch.device | None = None,
        reduce: Reducer = None,
    ) -> None:
        if isinstance(reduce, str):
            check_choice("reduce", reduce, _REDUCTIONS)
        self._modules = select(model, modules)
        for name in self._modules:
            compiled = compiled_around(model, name)
            if compiled is not None:
                inside = repr(compiled) if compiled else "the whole network"
                raise ConfigError(
                    f"{name!r} cannot be captured: {inside} is compiled (torch.compile), and hooks that come after "
                    "that do not fire; capture the network before it is compiled"
                )
        self._stop, self._detach, self._device = stop, detach, device
        self._reduce = _REDUCTIONS[reduce] if isinstance(reduce, str) else reduce
        self._handles: list[Any] = []
        self._captured = Captured(self._modules)

    def __enter__(self) -> Captured:
        """Register the hooks."""
        if self._handles:
            raise ConfigError("this capture is in use: make another one")
        self._captured = Captured(self._modules)
        for name, module in self._modules.items():
            self._handles.append(module.register_forward_hook(self._hook(name)))
        return self._captured

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Remove the hooks; swallow the end of the forward pass that they have caused."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        return isinstance(error, _Stop) and error.by is self

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def after(module: nn.Module, arguments: Any, output: Any) -> None:
            if in_backward():
                return
            captured = self._captured
            captured.activations[name].append(mapped(output, self._kept))
            captured.gradients[name].append(None)
            if not self._stop:
                self._wait_for_gradients(name, output)
            elif all(captured.activations.values()):
                raise _Stop(self)

        return after

    def _kept(self, tensor: Tensor) -> Any:
        return self._finished(tensor.detach() if self._detach else tensor, copy=self._detach)

    def _finished(self, tensor: Tensor, copy: bool) -> Any:
        """Reduce, move, copy."""
        result = tensor if self._reduce is None else self._reduce(tensor)
        if not isinstance(result, Tensor):
            return result
        if self._device is not None:
            result = result.to(self._device)
        shared = copy and result.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
        return result.clone() if shared else result

    def _wait_for_gradients(self, name: str, output: Any) -> None:
        """Register hooks on the tensors of an output; the first gradient makes the form that the others fill."""
        place, gradients = len(self._captured.gradients[name]) - 1, self._captured.gradients[name]
        leaves: dict[int, Tensor] = {}
        mapped(output, lambda tensor: leaves.setdefault(id(tensor), tensor))
        came: dict[int, Any] = {}

        def wait(leaf: Tensor) -> None:
            def take(gradient: Tensor) -> None:
                came[id(leaf)] = self._finished(gradient.detach(), copy=True)
                gradients[place] = mapped(output, lambda tensor: came.get(id(tensor)))

            self._handles.append(leaf.register_hook(take))

        for leaf in leaves.values():
            if leaf.requires_grad:
                wait(leaf)


def _rows(tensor: Tensor) -> Tensor:
    """Return (B, ...) as (B, N)."""
    return tensor.reshape(len(tensor), -1) if tensor.ndim else tensor.reshape(1, 1)
