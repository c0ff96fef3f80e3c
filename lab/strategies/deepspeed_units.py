"""Units of a network under ZeRO-3: their parameters are gathered together, with one all-gather before their forward.

They are deepspeed's leaf modules, but for their gradients. DeepSpeed 0.19.8 reduces all gradients of a leaf module in a
full backward hook of the module. Where no input of the module needs a gradient (the first unit of a network, or the
first that is not frozen), torch calls that hook before the module's backward pass: zeros would be reduced. Here each
parameter's gradient is reduced as soon as it is complete, as it is outside of leaf modules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from lab.strategies.sharding import units


def mark_units(net: nn.Module) -> None:
    """Make the units of a network leaf modules, before deepspeed is initialized."""
    from deepspeed.utils import set_z3_leaf_module

    for unit in units(net):
        set_z3_leaf_module(unit, True)


def reduce_as_they_come(optimizer: Any) -> None:
    """Replace the backward hooks of leaf modules by hooks of their parameters.

    Args:
        optimizer: deepspeed's ZeRO-3 optimizer.
    """
    from deepspeed.runtime.utils import count_used_parameters_in_backward

    for handle in optimizer._leaf_module_hooks:
        handle.remove()
    optimizer._leaf_module_hooks.clear()
    trained = [parameter for group in optimizer.fp16_groups for parameter in group]

    def hook(parameter: nn.Parameter) -> Callable[..., None]:
        def reduce(*_: Any) -> None:
            refresh = optimizer.should_refresh_expected_hook_count()
            optimizer.reenter_backward_if_needed()
            optimizer.reduce_ready_partitions_and_remove_grads(parameter)
            seen = optimizer._max_expected_hooks_seen
            optimizer.update_hook_state_and_maybe_run_epilogue(
                count_used_parameters_in_backward(trained) if refresh else seen
            )

        return reduce

    for parameters in optimizer.leaf_parameters.values():
        for parameter in parameters:
            if parameter.requires_grad:
                handle = parameter.register_post_accumulate_grad_hook(hook(parameter))
                optimizer._grad_acc_hooks.append(handle)
