"""The dashboard of runs in W&B, down to what saving it would send; no server is ever asked."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.loggers.offline_folders import logged_media
from scripts.wandb_dashboard import main
from tests.reports import write_run, write_sweep

pytest.importorskip("wandb_workspaces")


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No account, no current folder of others, and no way to a server."""

    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise AssertionError(f"a name was resolved: {arguments}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("WANDB_API_KEY", "WANDB_ENTITY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.chdir(tmp_path)


def with_wandb(run: Path, project: str = "vision", group: str | None = None, **settings: Any) -> None:
    """Give a run the settings of W&B, and the media that it would have logged."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["logger"] = {"wandb": {"project": project, "group": group, **settings}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    media = run / "wandb" / "offline-run-20261129_102017-0b446418" / "files" / "media"
    for name in (
        "images/val/predictions_5_2e0a9a2d5f28563463f6.png",
        "images/mask/val/predictions_5_3552bb8bf493ba63896f.mask.png",
        "metadata/boxes2D/val/predictions_5_2c906643792bd4ba1e7b.boxes2D.json",
        "table/test/samples_12_25f2906ca458e6252605.table.json",
        "table/test/confusion_matrix_table_12_83fa2349577d28fa60ce.table.json",
        "audio/val/sounds_5_83fa2349577d28fa60ce.wav",
    ):
        (media / name).parent.mkdir(parents=True, exist_ok=True)
        (media / name).write_bytes(b"")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "sweeps" / "rates"
    write_sweep(folder, 6, 20).close()
    for run in (tmp_path / "runs").glob("*-shapes-*"):
        with_wandb(run, group="rates", system_interval=15.0)
    return folder


def panels(section: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [panel["config"] for panel in section["panels"] if panel["viewType"] == kind]


def test_the_dashboard_of_a_sweep(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sweep)]) == 0
    content = json.loads((tmp_path / "rates-dashboard.json").read_text())
    assert content["project"] == "vision"
    said = capsys.readouterr().out
    assert "dashboard rates-dashboard.json (6 runs;" in said

    spec = content["workspace"]["spec"]["section"]
    sections = {section["name"]: section for section in spec["panelBankConfig"]["sections"]}
    assert list(sections) == [
        "Objective and loss", "Search", "Predictions", "Confusion matrix", "Tables", "Test", "Optimization",
        "Speed and memory", "System",
    ]  # fmt: skip
    objective, loss = panels(sections["Objective and loss"], "Run History Line Plot")
    assert objective["metrics"] == ["val/map"]
    assert loss["metrics"] == ["train/loss", "val/loss"]
    assert (loss["smoothingType"], loss["smoothingWeight"]) == ("exponentialTimeWeighted", 0.6)
    assert loss["showOriginalAfterSmoothing"] is True
    (parallel,) = panels(sections["Search"], "Parallel Coordinates Plot")
    assert parallel["columns"] == [
        {"accessor": "config:model.value.name"},
        {"accessor": "config:optimizer.value.lr", "log": True},
        {"accessor": "config:seed.value"},
        {"accessor": "summary:val/map"},
    ]
    (importance,) = panels(sections["Search"], "Parameter Importance")
    assert importance["targetKey"] == "val/map"
    scatters = panels(sections["Search"], "Scatter Plot")
    assert [(each["xAxis"], each.get("xAxisLogScale")) for each in scatters] == [
        ("config:optimizer.value.lr", True), ("config:seed.value", None)
    ]  # fmt: skip
    assert panels(sections["Search"], "Run Comparer") == [{"diffOnly": "split"}]
    browsers = panels(sections["Predictions"], "Media Browser")
    assert [browser["mediaKeys"] for browser in browsers] == [["val/predictions"], ["val/sounds"]]
    (confusion,) = panels(sections["Confusion matrix"], "Vega2")
    assert confusion["panelDefId"] == "wandb/confusion_matrix/v1"
    assert "test/confusion_matrix_table" in json.dumps(confusion["userQuery"])
    assert '"val": "test/samples"' in json.dumps(panels(sections["Tables"], "Weave"))
    assert [panel["metrics"] for panel in panels(sections["Test"], "Bar Chart")] == [["test/map"], ["test/map_small"]]
    assert [panel["metrics"] for panel in panels(sections["Optimization"], "Run History Line Plot")] == [["train/lr"]]
    assert len(panels(sections["System"], "Run History Line Plot")) == 4

    (runs,) = spec["runSets"]
    (only,) = runs["filters"]["filters"]
    assert (only["key"], only["op"], only["value"]) == ({"section": "run", "name": "group"}, "=", "rates")
    assert runs["runFeed"]["columnOrder"] == [
        "run:displayName", "run:state", "config:model.value.name", "config:optimizer.value.lr", "config:seed.value",
        "summary:val/map",
    ]  # fmt: skip
    assert runs["sort"]["keys"] == [{"key": {"section": "summary", "name": "val/map"}, "ascending": False}]

    blocks = content["report"]["spec"]["blocks"]
    headings = [block["children"][0]["text"] for block in blocks if block["type"] == "heading"]
    assert headings == list(sections)
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    assert all(grid["runSets"][0]["filters"]["filters"][0]["value"] == "rates" for grid in grids)
    assert all("project" not in grid["runSets"][0] for grid in grids)  # the server would be asked for its number
    shown = [panel["viewType"] for panel in grids[1]["panelBankSectionConfig"]["panels"]]
    assert shown == [panel["viewType"] for panel in sections["Search"]["panels"]]
    assert "python run.py -m model=detr_tiny" in json.dumps(blocks)


def test_runs_are_found_by_name_and_a_single_one_has_no_search(tmp_path: Path) -> None:
    for number in (0, 1):
        write_run(tmp_path / f"detr_tiny-shapes-{number}", seed=number)
        with_wandb(tmp_path / f"detr_tiny-shapes-{number}")
    assert main(["detr_tiny-shapes-0", "detr_tiny-shapes-1", "--out", "two.json"]) == 0
    (runs,) = json.loads(Path("two.json").read_text())["workspace"]["spec"]["section"]["runSets"]
    (only,) = runs["filters"]["filters"]
    assert (only["key"], only["op"]) == ({"section": "config", "name": "lab/run"}, "IN")
    assert sorted(only["value"]) == ["detr_tiny-shapes-0", "detr_tiny-shapes-1"]
    assert main(["detr_tiny-shapes-1", "--out", "one.json"]) == 0
    spec = json.loads(Path("one.json").read_text())["workspace"]["spec"]["section"]
    names = [section["name"] for section in spec["panelBankConfig"]["sections"]]
    assert "Search" not in names
    assert "System" not in names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere: there is no such run or sweep"),
        (["a"], "no run was logged to W&B (logger=wandb): --project NAME says which one"),
        (["b", "c"], "the runs have vision, other: --project NAME says which one"),
        (["b", "--save"], "--save needs --entity NAME (or WANDB_ENTITY)"),
        (["b", "--save", "--entity", "team"], "--save needs W&B online, but no key is configured"),
        (["b", "--out", "c"], "c is a folder; --out names a file"),
    ],
)
def test_refusals(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, project in (("a", ""), ("b", "vision"), ("c", "other")):
        write_run(tmp_path / name, seed=len(name))
        if project:
            with_wandb(tmp_path / name, project)
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {said}")
    assert len(captured.err.splitlines()) == 1
    assert not list(tmp_path.glob("*.json"))


def test_media_are_read_from_the_names_of_files(tmp_path: Path) -> None:
    assert logged_media(tmp_path) == {}
    write_run(tmp_path)
    with_wandb(tmp_path)
    assert logged_media(tmp_path) == {
        "val/predictions": "images",
        "test/samples": "table",
        "test/confusion_matrix_table": "table",
        "val/sounds": "audio",
    }
