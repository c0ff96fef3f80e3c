"""What a dashboard in W&B shows of runs, chosen from what they have logged: panels in sections. No torch.

``wandb-workspaces`` (the extra ``dashboard``) makes them; nothing here speaks to a server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lab.report.columns import is_wide, numbers_of
from lab.report.html.page import Page, ShownValue

SMOOTHING = 0.6
"""Of training losses; the unsmoothed curve stays visible."""
_MOST_SCATTERS = 6
_MOST_CURVES = 30
"""Curves of classes in one panel."""
_SPEED = ("samples_per_s", "data_wait", "peak_memory_gib")
_CHART = "confusion_matrix_table"


@dataclass(frozen=True)
class Wall:
    """A section of a dashboard.

    Attributes:
        name: its heading.
        panels: objects of wandb-workspaces.
        is_open: whether it is shown unfolded.
    """

    name: str
    panels: list[Any]
    is_open: bool = True


@dataclass
class Dashboard:
    """The panels that fit runs.

    Args:
        page: the runs, from ``lab.sweeps.report.Gatherer``.
        configs: the flat config of each run.
        media: the kind of each media key that the runs have logged: ``images``, ``table``, ``audio`` and so on.
        with_system: whether W&B has recorded the machine.

    Attributes:
        notes: what could not be shown, a line each.
    """

    page: Page
    configs: Sequence[Mapping[str, Any]]
    media: Mapping[str, str]
    with_system: bool = False
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        entries = self.page.entries
        self._metrics = list(dict.fromkeys(name for entry in entries for name in entry.series))
        # A finished run has its test in W&B's summary; val/... there is of the last validation.
        self._results = list(dict.fromkeys(name for entry in entries for name in entry.result))
        self._shown: set[str] = set()

    @property
    def objective(self) -> str:
        """The metric that the runs are compared by; empty if they have none."""
        return self.page.monitor

    @cached_property
    def walls(self) -> list[Wall]:
        """The sections that have something to show, the most important ones first."""
        made = (
            Wall("Objective and loss", self._losses()),
            Wall("Search", self._search()),
            Wall("Predictions", self._pictures()),
            Wall("Confusion matrix", self._confusion()),
            Wall("Tables", self._tables(), is_open=False),
            Wall("Test", self._tests()),
            Wall("Optimization", self._optimization(), is_open=False),
            Wall("Speed and memory", self._lines(_of("train/", _SPEED, self._metrics)), is_open=False),
            Wall("Classes", self._classes(), is_open=False),
            Wall("Other metrics", self._others(), is_open=False),
            Wall("System", self._system(), is_open=False),
        )
        return [wall for wall in made if wall.panels]

    @cached_property
    def parameters(self) -> list[tuple[str, list[ShownValue]]]:
        """The config key of each parameter in which the runs differ, as W&B has it, and its values."""
        found = []
        for key in self.page.keys:
            values = [entry.values[key] for entry in self.page.entries if key in entry.values]
            name = next((name for name in (key, f"{key}.name") if any(name in config for config in self.configs)), "")
            if name:
                found.append((name, values))
            elif self.configs:
                self.notes.append(f"{key} is no key of the config, so W&B does not have it")
        return found

    def _losses(self) -> list[Any]:
        from wandb_workspaces.reports.v2 import LinePlot

        first = [self.objective] if self.objective in self._metrics else []
        pairs: dict[str, list[str]] = {}
        for name in self._metrics:
            split, _, rest = name.partition("/")
            if split in ("train", "val") and (rest == "loss" or rest.startswith(("loss_", "loss/"))):
                pairs.setdefault(rest, []).append(name)
        panels = self._lines(first)
        for rest, names in pairs.items():
            self._shown.update(names)
            panels.append(
                LinePlot(
                    title=rest,
                    y=[*names],
                    smoothing_type="exponentialTimeWeighted",
                    smoothing_factor=SMOOTHING,
                    smoothing_show_original=True,
                )
            )
        return panels

    def _search(self) -> list[Any]:
        from wandb_workspaces.reports.v2 import (
            Config,
            ParallelCoordinatesPlot,
            ParallelCoordinatesPlotColumn,
            ParameterImportancePlot,
            RunComparer,
            ScatterPlot,
            SummaryMetric,
        )

        if len(self.page.entries) < 2:
            return []
        found = self.parameters
        panels: list[Any] = []
        if found and self.objective:
            columns = [ParallelCoordinatesPlotColumn(metric=Config(name), log=is_wide(v) or None) for name, v in found]
            lower = self.objective in self.page.lower
            last = ParallelCoordinatesPlotColumn(metric=SummaryMetric(self.objective), inverted=lower or None)
            panels += [
                ParallelCoordinatesPlot(title=f"what varies, and {self.objective}", columns=[*columns, last]),
                ParameterImportancePlot(with_respect_to=self.objective),
            ]
            numeric = [(name, values) for name, values in found if numbers_of(values) and len(set(values)) > 1]
            if len(numeric) > _MOST_SCATTERS:
                self.notes.append(f"{len(numeric) - _MOST_SCATTERS} more parameters have no scatter plot")
            panels += [
                ScatterPlot(
                    title=f"{self.objective} by {name}",
                    x=Config(name),
                    y=SummaryMetric(self.objective),
                    log_x=is_wide(values) or None,
                )
                for name, values in numeric[:_MOST_SCATTERS]
            ]
        return [*panels, RunComparer(diff_only="split")]

    def _pictures(self) -> list[Any]:
        from wandb_workspaces.reports.v2 import MediaBrowser

        browsable = {key: kind for key, kind in self.media.items() if kind not in ("table", "json")}
        return [MediaBrowser(title=key, media_keys=[key], num_columns=2) for key in sorted(browsable)]

    def _confusion(self) -> list[Any]:
        from wandb_workspaces.reports.v2 import CustomChart

        names = ("Actual", "Predicted", "nPredictions")
        return [
            CustomChart(
                query={"summaryTable": {"tableKey": key}},
                chart_name="wandb/confusion_matrix/v1",
                chart_fields={name: name for name in names},
                chart_strings={"title": key.removesuffix("_table")},
            )
            for key in self._table_keys()
            if key.endswith(_CHART)
        ]

    def _tables(self) -> list[Any]:
        from wandb_workspaces.reports.v2 import WeavePanelSummaryTable

        keys = [key for key in self._table_keys() if not key.endswith(_CHART)]
        return [WeavePanelSummaryTable(table_name=key) for key in keys]

    def _table_keys(self) -> list[str]:
        return sorted(key for key, kind in self.media.items() if kind == "table")

    def _tests(self) -> list[Any]:
        from wandb_workspaces.reports.v2 import BarPlot

        names = [name for name in self._results if name.startswith("test/") and not _of_class(name)]
        names = names or [name for name in self._metrics if name.startswith("test/") and not _of_class(name)]
        self._shown.update(names)
        return [BarPlot(title=name, metrics=[name]) for name in names]

    def _optimization(self) -> list[Any]:
        rates = [name for name in self._metrics if name == "train/lr" or name.startswith(("train/lr_", "train/lr/"))]
        rest = _of("train/", ("grad_norm", "skipped_steps"), self._metrics)
        return [*self._together("learning rate", rates), *self._lines(rest)]

    def _classes(self) -> list[Any]:
        groups: dict[str, list[str]] = {}
        for name in self._metrics:
            if _of_class(name):
                groups.setdefault(name.rpartition("/")[0], []).append(name)
        return [panel for title, names in groups.items() for panel in self._together(title, names)]

    def _others(self) -> list[Any]:
        """Return curves of what no other section shows; sections before this one have been made."""
        return self._lines([name for name in self._metrics if name not in self._shown])

    def _system(self) -> list[Any]:
        from wandb_workspaces.reports.v2 import LinePlot

        if not self.with_system:
            return []
        shown = {
            "processor": r"^system/(cpu|proc\.cpu\.threads)$",
            "memory": r"^system/(memory_percent|proc\.memory\..*)$",
            "GPU": r"^system/gpu\.\d+\.(gpu|memory|memoryAllocated|powerPercent)$",
            "disk and network": r"^system/(disk|network)\..*$",
        }
        return [LinePlot(title=title, metric_regex=names) for title, names in shown.items()]

    def _lines(self, names: Sequence[str]) -> list[Any]:
        return [panel for name in names for panel in self._together(name, [name])]

    def _together(self, title: str, names: Sequence[str]) -> list[Any]:
        from wandb_workspaces.reports.v2 import LinePlot

        self._shown.update(names)
        if len(names) > _MOST_CURVES:
            self.notes.append(f"{title}: the first {_MOST_CURVES} of {len(names)} curves")
        return [LinePlot(title=title, y=[*names[:_MOST_CURVES]])] if names else []


def _of(split: str, names: Sequence[str], metrics: Sequence[str]) -> list[str]:
    return [f"{split}{name}" for name in names if f"{split}{name}" in metrics]


def _of_class(name: str) -> bool:
    """Whether a metric is that of a class: ``val/map_per_class/cat``."""
    return name.count("/") > 1
