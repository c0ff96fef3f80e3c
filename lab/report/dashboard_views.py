"""A dashboard as the workspace and the report of wandb-workspaces; no server is asked before they are saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.report.dashboard import Dashboard
from lab.report.html.page import Page
from lab.text import one_line


@dataclass(frozen=True)
class RunFilter:
    """How W&B finds the runs of a dashboard.

    Attributes:
        group: their group; empty: they are found by their names.
        names: those of their directories, which W&B has as ``lab/run`` in their config.
    """

    group: str
    names: Sequence[str]

    def expression(self) -> Any:
        """Return it as wandb-workspaces has it."""
        from wandb_workspaces.expr import And, Config, Metric

        return And(Metric("Group") == self.group if self.group else Config("lab/run").isin(list(self.names)))


def make_workspace(dashboard: Dashboard, project: str, entity: str, chosen: RunFilter) -> Any:
    """Return a workspace of wandb-workspaces; no server is asked.

    Args:
        dashboard: the panels.
        project: the W&B project.
        entity: who owns it; empty for a workspace that is not saved.
        chosen: its runs.
    """
    from wandb_workspaces.expr import Ordering, Summary
    from wandb_workspaces.workspaces import RunsetSettings, Section, Workspace, WorkspaceSettings

    page = dashboard.page
    columns = [f"config:{_accessor(name)}" for name, _ in dashboard.parameters]
    columns += [f"summary:{page.monitor}"] if page.monitor else []
    runs = RunsetSettings(filters=chosen.expression(), pinned_columns=["run:displayName", "run:state", *columns])
    if page.monitor:
        runs.order = [Ordering(Summary(page.monitor), ascending=page.monitor in page.lower)]
    return Workspace(
        entity=entity,
        project=project,
        name=_title(page),
        sections=[Section(name=wall.name, panels=wall.panels, is_open=wall.is_open) for wall in dashboard.walls],
        settings=WorkspaceSettings(max_runs=max(10, min(len(page.entries), 100))),
        runset_settings=runs,
    )


def make_report(dashboard: Dashboard, project: str, entity: str, chosen: RunFilter) -> Any:
    """Return a report of wandb-workspaces; with an entity it asks the server for the project when it is saved.

    Args:
        dashboard: the panels.
        project: the W&B project.
        entity: who owns it; empty for a report that is not saved.
        chosen: its runs.
    """
    from wandb_workspaces.reports.v2 import H1, CodeBlock, P, PanelGrid, Report, Runset, TableOfContents

    page = dashboard.page
    blocks: list[Any] = [TableOfContents(), *(P(line) for line in _facts(page))]
    if page.command:
        blocks.append(CodeBlock(code=page.command, language="markdown"))
    for wall in dashboard.walls:
        runs = Runset(entity=entity, project=project, name="runs", filters=chosen.expression())
        blocks += [H1(wall.name), PanelGrid(runsets=[runs], panels=wall.panels, hide_run_sets=True)]
    return Report(project=project, entity=entity, title=_title(page)[:128], blocks=blocks, width="fluid")


def _title(page: Page) -> str:
    """Return the title; W&B refuses characters such as emoji in it."""
    return "".join(char if char.isascii() and char.isprintable() else "_" for char in page.title) or "runs"


def _facts(page: Page) -> list[str]:
    facts = [
        f"{len(page.entries)} runs" if len(page.entries) > 1 else page.entries[0].name if page.entries else "no run"
    ]
    facts += [f"{name}: {value}" for name, value in page.facts]
    if page.best is not None:
        entry = page.entries[page.best]
        value = entry.result.get(page.monitor)
        facts.append(f"best by {page.monitor}: {entry.label}" + ("" if value is None else f", {value:.4g}"))
    return [one_line(fact) for fact in facts]


def _accessor(key: str) -> str:
    """Return a config key as W&B's table of runs has it: ``optimizer.value.lr``."""
    first, *rest = key.split(".")
    return ".".join([first, "value", *rest])
