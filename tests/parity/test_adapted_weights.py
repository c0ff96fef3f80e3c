"""Every classifier adapts published weights: another number of channels and of classes, on the meta device.

Only names and shapes are compared, so that the largest fit; values are compared with timm's in
``tests/unit/registry/test_pretrained.py``.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from lab import create_model
from lab.registry import list_models
from lab.registry.build import taken_arguments
from lab.registry.models import model_entry

CLASSIFIERS = [name for name in list_models() if {"num_classes", "features_only"} <= set(taken_arguments(name))]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_other_channels_and_classes_are_adapted_and_said(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heads = model_entry(name).classifier
    with torch.device("meta"), caplog.at_level(logging.WARNING):
        published = create_model(name).state_dict()
        state = {key: torch.zeros((), device="cpu").expand(value.shape) for key, value in published.items()}
        torch.save(state, tmp_path / "weights.pth")  # a number for each tensor
        for channels in (1, 4):
            caplog.clear()
            model = create_model(name, in_chans=channels, num_classes=7, pretrained=tmp_path / "weights.pth")
            assert f"adapted from 3 to {channels} channels of the images" in caplog.text
            assert "the head has another number of classes and was dropped, to be trained" in caplog.text
            ours = model.state_dict()
            changed = {key for key, value in ours.items() if value.shape != published[key].shape}
            stem = {key for key in changed if not key.startswith(tuple(f"{head}." for head in heads))}
            assert len(stem) == 1
            assert all(f"{key} {tuple(published[key].shape)} -> " in caplog.text for key in changed - stem)
            assert changed - stem
