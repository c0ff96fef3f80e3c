"""The arguments of a ``_target_``, read from its source text without importing it.

The source file is found and parsed, never run, so that a misspelt argument is refused before torch is imported.
Where the text alone cannot tell (star imports, ``**kwargs``, compiled modules), nothing is refused here.
"""

from __future__ import annotations

import ast
from dataclasses import replace

from lab.config.annotations import TypeHint
from lab.config.fields import Signature, fields_of, is_dataclass, plain_values, spread
from lab.config.sources import absolute, find_module, parse, statements
from lab.errors import closest

_DEFINED = (ast.ClassDef, ast.FunctionDef)


def find_signature(target: str) -> Signature | None:
    """Return the signature of a dotted path; None if the source text cannot tell.

    Raises:
        LookupError: there is no such module, or no such name in it; its arguments are the problem and a hint.
    """
    parts = target.split(".")
    if not all(parts):
        raise LookupError(f"{target!r} is no dotted path", "")
    count = next((n for n in range(len(parts) - 1, 0, -1) if find_module(".".join(parts[:n]))), 0)
    if not count:
        raise LookupError(f"there is no package {parts[0]!r}", "")
    module, name = ".".join(parts[:count]), parts[count]
    found = _find(module, name)
    return _signature(*found) if found is not None and count == len(parts) - 1 else None


def _find(module: str, name: str, depth: int = 0) -> tuple[str, ast.ClassDef | ast.FunctionDef] | None:
    """Follow a name to its definition and module; None if the source text cannot tell.

    Raises:
        LookupError: the module has no such name; its arguments are the problem and a hint.
    """
    file = find_module(module)
    tree = parse(file) if file is not None else None
    if file is None or tree is None or depth > 8:
        return None
    known: dict[str, None] = {}
    unsure = False
    for node in statements(tree.body):
        if isinstance(node, _DEFINED):
            if node.name == name:
                return module, node
            unsure |= node.name == "__getattr__"
            known[node.name] = None
        elif isinstance(node, ast.ImportFrom):
            unsure |= any(alias.name == "*" for alias in node.names)
            alias = next((alias for alias in node.names if (alias.asname or alias.name) == name), None)
            if alias is not None:
                source = absolute(node, module, file)
                return None if find_module(f"{source}.{alias.name}") else _find(source, alias.name, depth + 1)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.Import):
            unsure |= name in ast.unparse(node)
    if unsure:
        return None
    below = [path.stem for path in file.parent.iterdir()] if file.name == "__init__.py" else []
    public = [item for item in [*known, *below] if not item.startswith("_")]
    raise LookupError(f"{module} has no {name!r}", closest(name, public))


def _signature(module: str, node: ast.ClassDef | ast.FunctionDef) -> Signature | None:
    """Return the signature of a definition; an entry function with ``**overrides`` has the arguments of its class."""
    function, name = node, node.name
    if isinstance(node, ast.ClassDef):
        found = next(
            (item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None
        )
        if found is None and is_dataclass(node):
            return fields_of(module, node)
        if found is None:
            base = node.bases[0] if len(node.bases) == 1 and not node.decorator_list else None
            return _named(module, base, name)
        function = found
    assert isinstance(function, ast.FunctionDef)
    own = spread(_of_function(name, module, function, is_method=function is not node))
    if function.args.kwarg is None:
        return own
    # The defaults of an entry function replace those of its class.
    returned = _named(module, function.returns, name) if function is node else None
    if returned is None:
        return None
    return Signature(name, {**returned.arguments, **own.arguments}, {}, own.required, own.by_position)


def _of_function(name: str, module: str, function: ast.FunctionDef, is_method: bool) -> Signature:
    given = function.args
    first = given.posonlyargs[:1] or given.args[:1] if is_method else []  # self
    positional = [arg for arg in [*given.posonlyargs, *given.args] if arg not in first]
    named = [arg for arg in [*given.args, *given.kwonlyargs] if arg not in first]
    last = zip(reversed([*given.posonlyargs, *given.args]), reversed(given.defaults), strict=False)
    by_name = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    defaults = {arg.arg: value for arg, value in [*last, *by_name] if value is not None}
    return Signature(
        name,
        {arg.arg: TypeHint(arg.annotation, module) if arg.annotation is not None else None for arg in named},
        plain_values(defaults),
        [arg.arg for arg in named if arg.arg not in defaults],
        [arg.arg for arg in positional],
    )


def _named(module: str, expression: ast.expr | None, name: str) -> Signature | None:
    """Return the signature of the class that an expression of ``module`` names, under another name."""
    if isinstance(expression, ast.Constant) and isinstance(expression.value, str):
        expression = ast.parse(expression.value, mode="eval").body
    if not isinstance(expression, ast.Name):
        return None
    try:
        found = _find(module, expression.id)
    except LookupError:  # a builtin
        return None
    signature = _signature(*found) if found is not None and isinstance(found[1], ast.ClassDef) else None
    return replace(signature, name=name) if signature is not None else None
