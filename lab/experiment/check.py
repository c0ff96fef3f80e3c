"""``check=true``: everything is built and checked, nothing is trained."""

from __future__ import annotations

from typing import Any

import torch

from lab.data.datamodule import DataModule
from lab.data.presence import describe_presence, describe_sizes
from lab.experiment.assembly import (
    build_data,
    build_task,
    check_unfreezing,
    check_weights,
    freeze,
    give_plan,
    make_plan,
    prepare,
)
from lab.experiment.context import say_warmup
from lab.experiment.planning import Subject, of_many, print_plan
from lab.report.tables import print_config, print_notes, print_tables
from lab.system.collector import set_aside
from lab.text import printable


def check(config: dict[str, Any], own: DataModule | None = None) -> None:
    """Build and check everything, train nothing: data, task, optimizer, network, one batch on the meta device.

    Args:
        config: the resolved config.
        own: a DataModule object of the caller, which replaces the one that the config names.

    Raises:
        LabError: the first thing that is wrong.
    """
    prepare(config)
    data = build_data(config, own)
    place = of_many(config)
    plan = make_plan(config, data, place)
    give_plan(data, plan.load)
    with torch.device("meta"):
        task = build_task(config, data, plan.schedule_steps)
    weights = check_weights(config, task)
    freezing = freeze(config, task, plan.steps_per_epoch)
    if task.is_trained:
        task.configure_optimizers()
    line = task.dry_run(data.first_batch().to("meta"))
    count = sum(parameter.numel() for parameter in task.parameters())
    print_config(config)
    print_tables(data.tables())
    print_notes([*describe_presence(data, ("train", "val", "test")), *task.remarks(data)])
    print(f"samples   {describe_sizes(data)}")
    print(f"dataset   {data.fingerprint()}")
    print(f"model     {config['model']['name']}: {count / 1e6:.2f} M parameters, {printable(task.spec.describe())}")
    print(f"training  {plan.max_steps} steps, {plan.steps_per_epoch} an epoch, validation every {plan.val_every}")
    print(f"batch     {line}")
    say_warmup(config, plan)
    if weights:
        print(f"weights   {weights}")
    if freezing is not None:
        check_unfreezing(config, freezing)
        for stage in freezing.stages:
            print(f"frozen    {freezing.describe(stage)}")
    print_plan(Subject(config, task, data, place))
    print("check passed: nothing was trained")
    set_aside()  # what was imported on the way, and nothing that must be taken apart
