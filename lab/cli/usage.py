"""What ``--help`` prints."""

from __future__ import annotations

from collections.abc import Sequence

_HELP = """\
[bold]python run.py[/] [GROUP=OPTION ...] [KEY=VALUE ...]   (or: lab ...)

One command composes a model, a dataset and a trainer, trains, tests the best checkpoint and leaves a run directory
that can be resumed, repeated and read. Without any override it trains DETR on generated scenes on this machine.

[bold]Everyday[/]
  python run.py                                         train on generated scenes, on a CPU, without a network
  python run.py model=detr data=coco data.root=DIR      the same on a dataset
  python run.py experiments=NAME                        a recipe with its expected result (experiments/README.md)
  python run.py check=true model=detr data=voc          validate everything, train nothing
  python run.py -m optimizer.lr=1e-3,3e-4 seed=0,1      a sweep, with a table at the end
  python run.py stage=test ckpt=runs/NAME/checkpoints/best.ckpt
  python run.py stage=predict ckpt=... input=photos/    pictures with boxes, and results.json in COCO's format

[bold]Several devices[/]: strategy=auto picks the fastest strategy that fits; or name one. The losses stay the same.
  python run.py trainer.devices=8            torchrun and srun work too: lab then uses the ranks that they start
  python run.py check=true trainer.devices=8 print the memory that each strategy would need

[bold]Repeat a command[/] to continue its run from the last checkpoint, or to see the result of a finished run.
  resume=auto|never|DIR   never: start afresh, the old directory is kept as NAME~1; DIR: continue that run with
                          the changes given now (trainer.max_steps, trainer.devices, ...)

[bold]Sweeps[/] (-m): several jobs at a time, tried again after a crash; repeat the command to go on with a sweep.

[bold]Commands[/]  (each has --help)
{commands}

[bold]Groups and their options[/]
{groups}

[bold]Keys that are often set[/]  (all of them: --cfg)
  seed  stage=fit|validate|test|predict  ckpt  input  check  resume  extensions
  data.batch_size (of the global batch)  data.num_workers  data.root  model.net.*
  model.pretrained=true|TAG|FILE  data.preprocessing=model|TAG|data
  optimizer.lr  trainer.max_steps|max_epochs|devices|precision|accumulate_grad_batches|gradient_clip_val|
  val_every_n_steps|log_every_n_steps|checkpoint_every_n_steps|deterministic|on_nonfinite|max_skips|threads
  callbacks.ema.decay  paths.runs_dir

[bold]Flags[/]  -m, --multirun   --cfg (print the resolved config)   --config-dir DIR (your own groups and recipes)
"""


def print_help(user_dirs: Sequence[str] = ()) -> None:
    """Print the usage with the options of every group, those of the user's folders included."""
    from pathlib import Path

    from rich.console import Console
    from rich.markup import escape

    from lab.cli.commands import help_lines
    from lab.config.compose import config_dir, groups, options
    from lab.text import printable

    folders = [config_dir(), *(Path(folder) for folder in user_dirs if Path(folder).is_dir())]
    lines = [f"  {group + '=':<14}{' | '.join(options(group, folders))}" for group in groups(folders)]
    listed = escape("\n".join(printable(line) for line in lines))
    Console(highlight=False, soft_wrap=True).print(
        _HELP.format(groups=listed, commands=escape("\n".join(help_lines())))
    )
