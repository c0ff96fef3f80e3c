"""``lab new``: what is refused, what is listed, and a project that is made, checked, tested and trained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.cli.main import main
from lab.scaffold.rendering import kinds_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(folder: Path, *command: str, **more: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "lab new what?; there are project, model, data, task"),
        (["modle", "owl"], "lab new modle: there is no such thing to make; did you mean 'model'?"),
        (["task", "sorting"], "is not inside a project: make one with `lab new project NAME`"),
        (["project"], "lab new project: the name is missing"),
        (["project", "owl", "nest"], "nest: one name at a time"),
        (["project", "owl", "--kid", "x"], "--kid: lab new has no such flag; did you mean '--kind'?"),
        (["project", "owl", "--kind"], "argument --kind: expected one argument"),
        (
            ["project", "owl", "--kind", "sorting"],
            "there is no template for this kind; there are audio, classification",
        ),
        (["project", "Owl"], "lab new project Owl: a name has lower-case letters"),
        (["model", "owl", "--kind", "detection"], "is not inside a project: make one with `lab new project NAME`"),
    ],
)
def test_a_mistake_is_one_line(place: Path, words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert line in err
    assert len(err.splitlines()) == 1
    assert list(place.iterdir()) == []


def test_a_dry_run_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "project", "owls", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "first.yaml" in out
    assert "files would be written; nothing was" in out
    assert list(place.iterdir()) == []


def test_the_help_names_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "--help"]) == 0
    assert "of model: audio, classification, detection" in capsys.readouterr().out


def test_it_imports_no_torch(place: Path) -> None:
    code = (
        "import sys\nfrom lab.cli.main import main\nmain(['new', 'project', 'owls'])\nassert 'torch' not in sys.modules"
    )
    (place / "made.py").write_text(code)
    assert "files written. Next:" in run(place, "made")


def test_what_exists_is_not_overwritten(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "owls").mkdir()
    (place / "owls" / "README.md").write_text("mine")
    assert main(["new", "project", "owls"]) == 2
    assert "README.md exists already, and nothing is overwritten" in capsys.readouterr().err
    assert [str(path.relative_to(place)) for path in place.rglob("*")] == ["owls", "owls/README.md"]


@pytest.mark.slow
def test_a_project_passes_its_tests_and_trains(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own tests hold a training of each recipe for two steps; a model and a kind are added to it before."""
    pytest.importorskip("mypy")
    assert main(["new", "project", "owls"]) == 0
    monkeypatch.chdir(place / "owls")
    assert main(["new", "model", "tiny_owl", "--kind", "detection"]) == 0
    assert main(["new", "task", "sorting"]) == 0
    for words in (["check", "."], ["format", "--check", "."]):
        run(place / "owls", "ruff", *words)
    run(
        place / "owls", "mypy", "--follow-imports=skip", "--no-warn-unused-ignores", MYPY_CACHE_DIR=str(place / "cache")
    )
    out = run(place / "owls", "pytest", "-q", "-p", "no:cacheprovider")
    assert " passed" in out
    assert "skipped" not in out


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of each kind, called ``of_`` and the number of the kind, in a folder."""
    folder = tmp_path_factory.mktemp("made") / "projects"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for number, kind in enumerate(kinds_of("project")):
            assert main(["new", "project", f"of_{number}", "--kind", kind]) == 0
    return folder


@pytest.fixture(scope="module")
def outcomes(projects: Path) -> dict[str, dict[str, bool]]:
    """By project, whether each of its tests passed. They run in one process, since most of the time is imports."""
    names = sorted(path.name for path in projects.iterdir())
    found: dict[str, dict[str, bool]] = {name: {} for name in names}
    report = projects.parent / "report.xml"
    words = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib", f"--rootdir={projects.parent}")
    paths = os.pathsep.join(map(str, (ROOT, *(projects / name for name in names))))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", *words, f"--junitxml={report}", *(f"{name}/tests" for name in names)]
    subprocess.run(command, cwd=projects, env=environment, capture_output=True, check=False)
    for case in ElementTree.parse(report).iter("testcase"):
        project = next(name for name in names if f".{name}." in case.get("classname", ""))
        found[project][f"{case.get('classname')}.{case.get('name')}"] = len(case) == 0  # nor skipped
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("number", "kind"), list(enumerate(kinds_of("project"))), ids=kinds_of("project"))
def test_what_is_made_for_a_kind_passes_its_tests(outcomes: dict[str, dict[str, bool]], number: int, kind: str) -> None:
    """Those of its data and of its model, and a training of its recipe for two steps."""
    found = outcomes[f"of_{number}"]
    assert [name for name, passed in found.items() if not passed] == []
    parts = {part for part in ("data", "models", "test_recipes") if any(f".tests.{part}" in name for name in found)}
    assert parts == {"data", "test_recipes", *(["models"] if kind in kinds_of("model") else [])}


@pytest.mark.slow
def test_types_of_what_is_made_are_right(projects: Path) -> None:
    pytest.importorskip("mypy")
    words = ("--follow-imports=skip", "--no-warn-unused-ignores", "--disallow-untyped-defs", "--check-untyped-defs")
    packages = [f"{path.name}/{path.name}" for path in sorted(projects.iterdir())]
    run(projects, "mypy", *words, "--ignore-missing-imports", *packages, MYPY_CACHE_DIR=str(projects.parent / "cache"))
