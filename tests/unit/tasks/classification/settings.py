"""Settings of small tasks."""

from typing import Any

SETTINGS: dict[str, Any] = {
    "name": "classification",
    "monitor": "top_1",
    "calibration_bins": 15,
    "top_k": 5,
    "explain": "none",
    "explain_layer": None,
}
OPTIMIZER: dict[str, Any] = {
    "name": "sgd",
    "lr": 0.05,
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 0.0,
    "no_decay_norm_bias": False,
    "groups": [],
}
SCHEDULER: dict[str, Any] = {"name": "constant", "warmup_steps": 0}
