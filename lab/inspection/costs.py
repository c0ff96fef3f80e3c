"""What each module of a network costs: parameters, multiplications, memory for the backward pass, processor time.

``measure`` runs the network a few times in evaluation mode. Multiplications are counted by PyTorch's own counter with
gradients enabled, since without them it misses fused attention. The memory is that of the tensors that autograd keeps.
Hooks stand on every module meanwhile: where a network computes several modules in one kernel, it calls them one by one
then, so shares of time are those of the plain modules.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lab.compat.torch import children_of, storage_id
from lab.inspection.nested import tensors_in
from lab.ops.cpu import pytorch_kernels


@dataclass
class Node:
    """A module with its costs; those of the modules inside it are included unless said otherwise.

    Attributes:
        name: in the network; "" for the network itself.
        kind: the name of its class.
        parameters: numbers in parameters, each shared one once.
        trainable: of these, those with ``requires_grad``.
        buffers: numbers in buffers, the non-persistent ones too.
        num_bytes: bytes of parameters and buffers.
        shapes: of the parameters and buffers of the module itself, by name.
        calls: how often it ran in one pass; 0 where the network goes past it to the modules inside, whose sums it has.
        inputs: shapes of the tensors in its first call's arguments.
        outputs: of those that this gave.
        macs: multiplications with addition, over all calls.
        kept_bytes: of what the backward pass would need.
        seconds: of processor time, the mean of some passes.
        own_seconds: without the modules inside it.
        same_as: the name under which a shared module stands first; it has no costs here then, and no children.
        children: the modules inside it.
    """

    name: str
    kind: str
    parameters: int = 0
    trainable: int = 0
    buffers: int = 0
    num_bytes: int = 0
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    calls: int = 0
    inputs: list[tuple[int, ...]] = field(default_factory=list)
    outputs: list[tuple[int, ...]] = field(default_factory=list)
    macs: float = 0.0
    kept_bytes: int = 0
    seconds: float = 0.0
    own_seconds: float = 0.0
    same_as: str = ""
    children: list[Node] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """Yield the module and all inside it, as ``named_modules`` does."""
        yield self
        for child in self.children:
            yield from child.walk()

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        plain = {key: value for key, value in vars(self).items() if key != "children"}
        return {**plain, "children": [child.to_plain() for child in self.children]}


def tree_of(model: nn.Module) -> Node:
    """Return the tree of a network with its parameters and buffers; nothing is run."""
    return _grow(model, "", {})


def measure(model: nn.Module, run: Callable[[], Any], repeats: int = 3) -> Node:
    """Return the tree of a network with all its costs.

    Args:
        model: the network; it is in evaluation mode while it runs.
        run: runs it once, on one batch.
        repeats: passes whose time is taken, after one that warms up; 0 takes no time.
    """
    tree = tree_of(model)
    nodes = {node.name: node for node in tree.walk() if not node.same_as}
    modules = {name: module for name, module in model.named_modules() if name in nodes}
    mode = model.training
    model.eval()
    try:
        with torch.enable_grad(), pytorch_kernels():
            _count(model, modules, nodes, run)
        with torch.no_grad():
            for number in range(repeats + 1 if repeats else 0):
                with _timed(modules, nodes, repeats) if number else nullcontext():
                    run()
    finally:
        model.train(mode)
    _sum_up(tree)
    return tree


def _sum_up(node: Node) -> None:
    """Give a module that is not called itself (a list, a part whose methods are called) the sums of those inside."""
    for child in node.children:
        _sum_up(child)
    if not node.calls:
        node.macs = sum(child.macs for child in node.children)
        node.kept_bytes = sum(child.kept_bytes for child in node.children)
        node.seconds = sum(child.seconds for child in node.children)


def _grow(module: nn.Module, name: str, first: dict[nn.Module, str]) -> Node:
    if module in first:
        return Node(name, type(module).__name__, same_as=first[module])
    first[module] = name
    parameters, buffers = list(module.parameters()), list(module.buffers())
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return Node(
        name,
        type(module).__name__,
        parameters=sum(tensor.numel() for tensor in parameters),
        trainable=sum(tensor.numel() for tensor in parameters if tensor.requires_grad),
        buffers=sum(tensor.numel() for tensor in buffers),
        num_bytes=sum(tensor.numel() * tensor.element_size() for tensor in (*parameters, *buffers)),
        shapes={key: tuple(tensor.shape) for key, tensor in own},
        children=[_grow(child, f"{name}.{key}" if name else key, first) for key, child in children_of(module).items()],
    )


def _count(model: nn.Module, modules: dict[str, nn.Module], nodes: dict[str, Node], run: Callable[[], Any]) -> None:
    """Fill calls, shapes, multiplications and kept bytes, in one pass."""
    active: list[tuple[Node, float]] = []
    owned = {storage_id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    seen: dict[int, Tensor] = {}  # kept alive, since the id of a freed storage is used again

    def keep(tensor: Tensor) -> Tensor:
        key = storage_id(tensor)
        if active and key not in owned and key not in seen:
            seen[key] = tensor
            for node, _ in active:
                node.kept_bytes += tensor.untyped_storage().nbytes()
        return tensor

    def enter(node: Node, arguments: Any) -> None:
        if not node.calls:
            node.inputs = [tuple(tensor.shape) for tensor in tensors_in(arguments)]
        active.append((node, counter.get_total_flops()))

    def leave(node: Node, output: Any) -> None:
        _, before = active.pop()
        node.macs += (counter.get_total_flops() - before) / 2
        if not node.calls:
            node.outputs = [tuple(tensor.shape) for tensor in tensors_in(output)]
        node.calls += 1

    with (
        FlopCounterMode(display=False) as counter,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        _hooks(modules, nodes, enter, leave),
    ):
        run()


@contextmanager
def _timed(modules: dict[str, nn.Module], nodes: dict[str, Node], repeats: int) -> Iterator[None]:
    """Add the processor time of one of some passes."""
    active: list[list[float]] = []  # when it began, and the time of the modules inside

    def enter(node: Node, arguments: Any) -> None:
        active.append([time.process_time(), 0.0])

    def leave(node: Node, output: Any) -> None:
        began, inside = active.pop()
        took = time.process_time() - began
        node.seconds += took / repeats
        node.own_seconds += (took - inside) / repeats
        if active:
            active[-1][1] += took

    with _hooks(modules, nodes, enter, leave):
        yield


@contextmanager
def _hooks(
    modules: dict[str, nn.Module],
    nodes: dict[str, Node],
    enter: Callable[[Node, Any], None],
    leave: Callable[[Node, Any], None],
) -> Iterator[None]:
    handles: list[Any] = []
    try:
        for name, module in modules.items():
            node = nodes[name]
            handles.append(
                module.register_forward_pre_hook(
                    lambda _, arguments, named, node=node: enter(node, (arguments, named)), with_kwargs=True
                )
            )
            handles.append(module.register_forward_hook(lambda _, arguments, output, node=node: leave(node, output)))
        yield
    finally:
        for handle in handles:
            handle.remove()
