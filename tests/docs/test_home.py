"""The files that a repository's host and its readers look for: valid, and in step with each other."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
TEXTS = [*ROOT.glob("*.md"), ROOT / "CITATION.cff", *(path for path in (ROOT / ".github").rglob("*") if path.is_file())]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_citation_is_of_this_project() -> None:
    """Validated against the schema 1.2.0 by cffconvert 2.0.0 (2026-11-29); here, what changes."""
    citation = read(ROOT / "CITATION.cff")
    assert {"cff-version", "title", "message", "authors"} <= set(citation)  # what the schema needs
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] == PROJECT["name"]
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


def test_no_address_is_made_up() -> None:
    for path in TEXTS:
        found = re.findall(r"[\w.+-]+@[\w-]+\.[\w.]+", path.read_text(encoding="utf-8"))
        assert found == [], path


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_is_one_that_the_host_reads(path: Path) -> None:
    """The fields of GitHub's issue forms: unique ids, and of each part what its type needs."""
    form = read(path)
    if path.name == "config.yml":
        assert form == {"blank_issues_enabled": True}
        return
    assert {"name", "description", "body"} <= set(form)
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(set(ids)) == len(ids) > 0
    for part in form["body"]:
        assert part["type"] in ("markdown", "textarea")
        assert part["attributes"]["value" if part["type"] == "markdown" else "label"]


def test_reports_ask_for_the_environment() -> None:
    for name in ("bug.yml", "wrong-number.yml"):
        text = (ROOT / ".github" / "ISSUE_TEMPLATE" / name).read_text(encoding="utf-8")
        assert "Output of `lab env`" in text


def test_hooks_fetch_nothing() -> None:
    """Every hook is local and of the environment, so that they work without a network."""
    repos = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    hooks = {hook["id"]: hook for hook in repos[0]["hooks"]}
    assert {"ruff-check", "ruff-format", "mypy", "import-linter", "codespell", "links"} <= set(hooks)
    assert {hook["language"] for hook in hooks.values()} == {"system"}


WORKFLOW = read(ROOT / ".github" / "workflows" / "ci.yml")


def test_the_workflow_runs_what_every_machine_runs() -> None:
    """Its form was checked against GitHub's schema by check-jsonschema and zizmor (2026-11-29), never by GitHub."""
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "secrets" not in (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    steps = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
    for step in steps:
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])
        else:
            script = ROOT / step["run"].split()[0]
            assert script in (ROOT / ".ci" / "run", ROOT / ".ci" / "versions")
            assert os.access(script, os.X_OK)
    lowest = PROJECT["requires-python"].removeprefix(">=")
    assert WORKFLOW["jobs"]["run"]["strategy"]["matrix"]["python"][0] == lowest


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile: the word, and what comes after it in one line."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", "").splitlines() if line.strip()]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Return the instructions of each stage of the Dockerfile, those of the stage it stands on before its own."""
    found: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for word, rest in instructions():
        if word == "FROM":
            origin, _, name = rest.partition(" AS ")
            current = found[name] = list(found.get(origin, []))
        else:
            current.append((word, rest))
    return found


@pytest.mark.parametrize("stage", ["build", "dev", "final"])
def test_an_image_belongs_to_a_user_without_roots_rights(stage: str) -> None:
    users = [rest for word, rest in stages()[stage] if word == "USER"]
    assert users[-1] == "lab"


def test_the_image_is_made_from_files_that_reach_it() -> None:
    """.dockerignore leaves out everything but what it names, so data and runs never do."""
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignore[1] == "*"
    kept = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = {
        name
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for name in [part for part in rest.split() if not part.startswith("--")][:-1]
    }
    assert copied == kept
    assert all((ROOT / name).exists() for name in kept)


def test_the_image_has_tested_versions_and_names_no_host() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"https?:|\w\.(?:com|org|io)\b", text) == []
    installs = re.findall(r"pip install .*", text)
    assert len(installs) == 4
    assert all("-c constraints.txt" in line for line in installs)


def test_the_development_container_is_a_stage_of_the_same_file() -> None:
    found = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert (ROOT / ".devcontainer" / found["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert found["build"]["target"] in stages()
    assert ("USER", found["remoteUser"]) in stages()[found["build"]["target"]]
