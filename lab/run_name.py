"""A run's stable name: ``<model>-<data>-<hash>``. No torch.

The hash covers the resolved config except ``NOT_IN_HASH``, so that the same config always finds the same directory.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

SWEEPS = "sweeps"
"""The folder of all sweeps below ``paths.runs_dir``."""
NOT_IN_HASH = (
    "paths",
    "logger",
    "resume",
    "check",
    "stage",
    "input",
    "expected",
    "generation",
    "rollout",
    "debug.profile",
    "data.num_workers",
    "data.tasks",
    "data.requires",
    "data.how_to_get",
    "data.cache_images",
    "callbacks.progress",
    "callbacks.pictures",
    "trainer.checkpoint_every_n_steps",
    "trainer.max_skips",
    "trainer.threads",
)
"""Keys that do not change the training. ``ckpt`` is hashed only in a fit, which takes its weights from it."""


HASHED_UNLESS = {
    "trainer.on_nonfinite": "stop",
    "data.images": None,
    "data.annotations": None,
    "data.val_share": None,
    "data.test_share": None,
    "optimizer.layer_decay": 1.0,
    "callbacks.early_stopping": None,
    "callbacks.unfreeze": None,
}
"""Keys that were added later. They are hashed only if they differ from this value, so that older names stay valid."""
HASHED_UNLESS_OF = {
    "detection": {
        "eval.also": None,
        "data.augmentation.letterbox": False,
        "data.augmentation.grey": 114,
        "data.augmentation.mosaic": 0.0,
        "data.augmentation.mosaic_scale": [0.5, 1.5],
        "data.augmentation.mosaic_off": 0.0,
        "data.augmentation.hsv": None,
        "data.augmentation.contrast": None,
        "data.augmentation.brightness": None,
        "data.augmentation.multi_scale": None,
    }
}
"""The same of one kind of problem, by ``eval.name``."""


def run_name(config: Mapping[str, Any]) -> str:
    """Return ``<model>-<data>-<hash>`` for a resolved config."""
    content = copy.deepcopy(dict(config))
    ignored = NOT_IN_HASH if content.get("stage") == "fit" else (*NOT_IN_HASH, "ckpt")
    later = HASHED_UNLESS | HASHED_UNLESS_OF.get(str((content.get("eval") or {}).get("name")), {})
    for key in (*ignored, *later):
        node: Any = content
        *parents, leaf = key.split(".")
        for part in parents:
            node = node.get(part) or {}
        if key not in later or node.get(leaf) == later[key]:
            node.pop(leaf, None)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    return f"{config['model']['name']}-{config['data']['name']}-{digest}"
