"""From a resolved config to a result: fit, evaluation, planning, assembly."""
