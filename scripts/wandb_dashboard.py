"""Define a dashboard in W&B for a sweep or for runs: a workspace and a report whose panels follow from what was logged.

    python scripts/wandb_dashboard.py runs/sweeps/NAME                       # writes NAME-dashboard.json, sends nothing
    python scripts/wandb_dashboard.py runs/detr_tiny-* --out dashboard.json
    python scripts/wandb_dashboard.py runs/sweeps/NAME --save --entity TEAM  # creates both in W&B

SWEEP_OR_RUN are those of ``lab report``. The runs' directories say which metrics, pictures and tables there are and
which parameters differ; nothing is asked of W&B. The file holds what ``--save`` would send: the workspace and the
report as W&B's pages read them. ``--save`` needs ``wandb login`` and an entity; upload the runs first
(scripts/wandb_sync.py). Needs wandb-workspaces: pip install 'lab[dashboard]'.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lab.cli.refusing import refusing
from lab.compat.wandb import known_settings, view_content
from lab.config.flattening import flat
from lab.errors import ConfigError
from lab.loggers.offline_folders import logged_media
from lab.loggers.wandb_offline import choose_mode
from lab.report.dashboard import Dashboard
from lab.report.dashboard_views import RunFilter, make_report, make_workspace
from lab.report.html.page import Page
from lab.report.runs import Run
from lab.sweeps.report import Gatherer
from lab.system.files import write_text
from lab.text import printable


def read(words: Sequence[str]) -> tuple[Page, list[dict[str, Any]], dict[str, str]]:
    """Return the runs, their flat configs, and the kinds of the media keys that they have logged.

    Raises:
        RunError: a word is no run and no sweep.
    """
    page = Gatherer(words).page()
    paths = [entry.path for entry in page.entries if (entry.path / "config.yaml").is_file()]
    media: dict[str, str] = {}
    for path in paths:
        media |= logged_media(path)
    return page, [dict(flat(Run(path).config.to_dict())) for path in paths], media


def choose(name: str, given: str | None, values: Sequence[Any]) -> str:
    """Return what is given, or what all runs have in common.

    Raises:
        ConfigError: the runs differ, or have none.
    """
    found = list(dict.fromkeys(str(value) for value in values if value))
    if given:
        return given
    if len(found) != 1:
        said = f"the runs have {', '.join(found)}" if found else "no run was logged to W&B (logger=wandb)"
        raise ConfigError(f"{said}: --{name} NAME says which one")
    return found[0]


def filter_of(page: Page, configs: Sequence[Mapping[str, Any]]) -> RunFilter:
    """Return how W&B finds the runs: by their group, if all have the same one and it is their sweep's, else by name."""
    groups = {config.get("logger.wandb.group") for config in configs}
    group = groups.pop() if len(groups) == 1 else None
    numbered = all(entry.number is not None for entry in page.entries)
    return RunFilter(group=str(group) if group and numbered else "", names=[entry.path.name for entry in page.entries])


def require_account(entity: str) -> None:
    """Check that a dashboard can be saved.

    Raises:
        ConfigError: there is no entity, or no key.
    """
    if not entity:
        raise ConfigError("--save needs --entity NAME (or WANDB_ENTITY): the user or team that owns the project")
    mode, reason = choose_mode("online", known_settings())
    if mode != "online":
        raise ConfigError(
            f"--save needs W&B online, but {reason}: run `wandb login` first; without --save nothing is sent"
        )


@refusing
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the dashboard's content, or save it in W&B; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", metavar="SWEEP_OR_RUN", help="directories, or names of sweeps")
    parser.add_argument("--project", help="the W&B project (default: that of the runs)")
    parser.add_argument("--entity", default=os.environ.get("WANDB_ENTITY", ""), help="the user or team that owns it")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--out", type=Path, help="where to write it (default: NAME-dashboard.json in this folder)")
    where.add_argument("--save", action="store_true", help="create it in W&B")
    options = parser.parse_args(arguments)
    return run(options)


def run(options: argparse.Namespace) -> int:
    """Do what the options ask for.

    Raises:
        LabError: a package, a run, an account or a name is missing.
    """
    if find_spec("wandb_workspaces") is None:
        raise ConfigError("wandb-workspaces is not installed; pip install 'lab[dashboard]'")
    if options.save:
        require_account(options.entity)
    page, configs, media = read(options.words)
    project = choose("project", options.project, [config.get("logger.wandb.project") for config in configs])
    with_system = any(config.get("logger.wandb.system_interval") for config in configs)
    dashboard = Dashboard(page, configs, media, with_system)
    chosen = filter_of(page, configs)
    entity = options.entity if options.save else ""
    workspace = make_workspace(dashboard, project, entity, chosen)
    report = make_report(dashboard, project, entity, chosen)
    for wall in dashboard.walls:
        print(f"{len(wall.panels):4d} panels  {printable(wall.name)}")
    for note in dashboard.notes:
        print(f"note: {printable(note)}")
    if options.save:
        workspace.save()
        report.save()
        print(f"workspace {printable(workspace.url)}\nreport    {printable(report.url)}")
        return 0
    file = options.out or Path(f"{Path(options.words[0]).resolve().name}-dashboard.json")
    if file.is_dir():
        raise ConfigError(f"{file} is a folder; --out names a file")
    content = {"project": project, "workspace": view_content(workspace), "report": view_content(report)}
    write_text(file, json.dumps(content, indent=1) + "\n")
    print(f"dashboard {printable(file)} ({len(page.entries)} runs; --save --entity NAME creates it in W&B)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
