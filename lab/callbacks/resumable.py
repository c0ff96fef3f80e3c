"""Checks the plain data of a training's checkpoint (all but its tensors) before any of it is restored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lab.checkpoint.format import CheckpointReader
from lab.checkpoint.plain import alike
from lab.checkpoint.rng import rng_state
from lab.errors import CheckpointError
from lab.training.stored import kind_of


def read_training(reader: CheckpointReader, task: str | None = None) -> dict[str, Any]:
    """Return the plain data of a checkpoint that a training can resume from.

    Args:
        reader: reads the checkpoint.
        task: the kind of problem of the training, if it is known yet.

    Raises:
        CheckpointError: the checkpoint holds only weights or another task, or an entry is missing or has another type.
    """
    state = reader.state
    if "optimizer_groups" not in state:
        raise CheckpointError(
            f"{reader.path} holds only weights, so a training cannot continue from it; give them as ckpt="
        )
    problem = _problem(state, reader.step)
    if problem:
        raise CheckpointError(f"{reader.path} is damaged: {problem}")
    found = kind_of(state["task"])
    if task is not None and found != task:
        raise CheckpointError(f"{reader.path} is of a model for {found[:80]}, not for {task}")
    return state


def check_alike(
    reader: CheckpointReader, what: str, saved: Mapping[str, Any], now: Mapping[str, Any], needed: str
) -> None:
    """Check that saved values can replace the current ones.

    Args:
        reader: reads the checkpoint; named in the message.
        what: what the values are, for the message.
        saved: the values of the checkpoint; another version of torch may have written fewer.
        now: the current values.
        needed: the key that must not be missing.

    Raises:
        CheckpointError: ``needed`` is missing, or a value has another type.
    """
    if needed not in saved:
        raise CheckpointError(f"{reader.path} is damaged: its {what} lack {needed!r}")
    for key, value in now.items():
        if key in saved and not alike(saved[key], value):
            kinds = f"is a {type(saved[key]).__name__} that cannot take the place of the {type(value).__name__} here"
            raise CheckpointError(f"{reader.path} is damaged: {key!r} of its {what} {kinds}")


def _problem(state: Mapping[str, Any], step: int) -> str:
    """Say what is missing or has another type; "" if nothing is wrong."""
    kinds: dict[str, type | tuple[type, ...]] = {
        "task": str,
        "optimizer_groups": list,
        "lr_schedulers": list,
        "precision": dict,
        "rng": list,
        "network": dict,
        "best": (int, float, type(None)),
    }
    for name, kind in kinds.items():
        if name not in state:
            return f"its state has no {name}"
        if not isinstance(state[name], kind):
            return f"its {name} is a {type(state[name]).__name__}"
    if state.get("step", step) != step:
        return f"its index is of step {step}, its state of {str(state['step'])[:40]!r}"
    for name in ("optimizer_groups", "lr_schedulers", "rng"):
        if not all(isinstance(item, dict) for item in state[name]):
            return f"its {name} are no dictionaries"
    if not all(isinstance(group.get("params"), list) for group in state["optimizer_groups"]):
        return "its optimizer_groups name no parameters"
    if not all(isinstance(value, Tensor) for value in state["network"].values()):
        return "its network holds more than tensors"
    if "ema" in state and (
        not isinstance(state["ema"], dict)
        or type(state["ema"].get("updates")) is not int
        or state["ema"]["updates"] < 0
    ):
        return "its ema counts no updates"
    if "early_stopping" in state and not _counts_validations(state["early_stopping"]):
        return "its early_stopping counts no validations"
    return _rng_problem(state["rng"])


def _counts_validations(saved: Any) -> bool:
    kinds: dict[str, tuple[type, ...]] = {
        "best": (float, type(None)),
        "best_step": (int,),
        "waited": (int,),
        "monitor": (str,),
    }
    return isinstance(saved, dict) and all(type(saved.get(name)) in kind for name, kind in kinds.items())


def _rng_problem(states: list[dict[str, Any]]) -> str:
    """Say what is wrong with the ranks' generator states; torch's state is a tensor with a fixed number of bytes."""
    if not states:
        return "its rng is empty"
    now = rng_state()
    for state in states:
        for name in ("python", "numpy", "torch", "cuda"):
            if name not in state:
                return f"its rng has no {name}"
        internal = (
            state["python"][1] if isinstance(state["python"], list | tuple) and len(state["python"]) == 3 else None
        )
        if not isinstance(internal, list | tuple) or len(internal) != len(now["python"][1]):
            return "its rng holds no state of Python's generator"
        if not all(type(number) is int and 0 <= number < 2**32 for number in internal):
            return "its rng holds no state of Python's generator"
        if not isinstance(state["numpy"], list | tuple) or not alike(state["numpy"], now["numpy"]):
            return "its rng holds no state of numpy's generator"
        if any(
            not isinstance(saved, Tensor) or saved.dtype != here.dtype or saved.shape != here.shape
            for saved, here in ((state["numpy"][1], now["numpy"][1]), (state["torch"], now["torch"]))
        ):
            return "its rng holds no state of numpy's and torch's generators"
        if not isinstance(state["cuda"], list) or not all(isinstance(item, Tensor) for item in state["cuda"]):
            return "its rng holds no states of CUDA's generators"
    return ""
