"""``scripts/release.py``: what it refuses, the tag, what sdist and wheel hold. Their trials take minutes: by hand."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from lab.errors import RunError
from scripts.release import main
from scripts.releasing import archives, ready

ROOT = Path(__file__).resolve().parents[2]
CHANGES = """\
# Changelog

## [Unreleased]

## [0.2.0] - 2026-12-01

### Added

- A thing.

## [0.1.0] - 2026-11-01
"""


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "-c", "commit.gpgsign=false", "commit", "-q", "--allow-empty", "-m", "all")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository on main that is ready for 0.2.0."""
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "config", "user.name", "a")
    git(tmp_path, "config", "user.email", "a@localhost")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "lab"\nversion = "0.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGES)
    (tmp_path / "CITATION.cff").write_text("version: 0.2.0\ndate-released: 2026-12-01\n")
    commit(tmp_path)
    return tmp_path


def test_a_checkout_that_is_ready_gets_a_tag_with_its_changes(checkout: Path) -> None:
    assert ready.version_of(checkout) == "0.2.0"
    assert ready.obstacles(checkout, "0.2.0") == []
    ready.set_tag(checkout, "0.2.0")
    assert ready.git(checkout, "cat-file", "-t", "v0.2.0") == "tag"
    message = ready.git(checkout, "tag", "--list", "--format=%(contents)", "v0.2.0")
    assert message == "lab 0.2.0\n\n### Added\n\n- A thing."
    assert ready.obstacles(checkout, "0.2.0") == ["the tag v0.2.0 exists: raise the version in pyproject.toml"]


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("CHANGELOG.md", "## [0.2.0] - 2026-12-01", "## [0.2.0]", "'## [0.2.0] - YEAR-MONTH-DAY'"),
        ("CHANGELOG.md", "## [0.2.0] -", "## [0.3.0] -", "has ## [0.3.0] - 2026-12-01 where"),
        ("CHANGELOG.md", CHANGES, "# Changelog\n", "no heading of a version"),
        ("CHANGELOG.md", "[Unreleased]\n", "[Unreleased]\n\n- Another.\n", "move them to [0.2.0]"),
        ("CITATION.cff", "version: 0.2.0", "version: 0.1.0", "has version 0.1.0: write 0.2.0"),
        ("CITATION.cff", "2026-12-01", "2026-12-02", "has date-released 2026-12-02"),
    ],
)
def test_a_text_that_is_not_ready(checkout: Path, file: str, old: str, new: str, said: str) -> None:
    text = (checkout / file).read_text()
    assert old in text
    (checkout / file).write_text(text.replace(old, new))
    commit(checkout)
    found = ready.obstacles(checkout, "0.2.0")
    assert found[0].startswith(f"{file} has ")
    assert said in found[0]


def test_a_branch_or_a_change_that_is_not_committed(checkout: Path) -> None:
    (checkout / "new.txt").write_text("")
    assert ready.obstacles(checkout, "0.2.0") == ["1 uncommitted changes, first ?? new.txt: commit or remove them"]
    git(checkout, "switch", "-q", "-c", "other")
    assert ready.obstacles(checkout, "0.2.0")[1] == "this is the branch other: check out main"


@pytest.mark.parametrize("version", ["1.2", "v1.2.3", "1.2.3-rc1", "1.2.3.dev4"])
def test_a_version_of_another_form(checkout: Path, version: str) -> None:
    (checkout / "pyproject.toml").write_text(f'[project]\nversion = "{version}"\n')
    with pytest.raises(RunError, match=r"is not of the form 1\.2\.3"):
        ready.version_of(checkout)


def test_a_trial_without_dependencies_makes_no_release(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--fast"]) == 2
    assert capsys.readouterr().err.startswith("error: --fast does not try the dependencies")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The sdist and the wheel of what is committed."""
    pytest.importorskip("hatchling", reason="hatchling builds the files (pip install hatchling)")
    if not (ROOT / ".git").exists():
        pytest.skip("no repository: the files are built from what is committed")
    scratch = tmp_path_factory.mktemp("release")
    return archives.build(ROOT, ready.version_of(ROOT), scratch, scratch / "dist")


def test_what_the_files_hold(built: list[Path]) -> None:
    version = ready.version_of(ROOT)
    sdist, wheel = built
    for file in built:
        assert archives.check(file, ROOT, version) > 1000
        assert file.stat().st_size < archives.LIMIT
    in_sdist, in_wheel = set(archives.names_in(sdist)), set(archives.names_in(wheel))
    assert {"LICENSE", "tests/cli/test_release.py", "experiments/shapes.yaml", "conf/config.yaml"} <= in_sdist
    assert {"lab/conf/config.yaml", "lab/conf/experiments/shapes.yaml", "lab/py.typed"} <= in_wheel
    for notice in ("echarts.LICENSE", "echarts.LICENSE-d3", "echarts.NOTICE", "echarts.min.js"):
        assert f"lab/report/html/assets/{notice}" in in_sdist & in_wheel
    assert {name.split("/")[0] for name in in_wheel} == {"lab", f"lab-{version}.dist-info"}


def test_a_wheel_with_too_much_or_too_little_is_refused(built: list[Path], tmp_path: Path) -> None:
    changed = tmp_path / built[1].name
    with zipfile.ZipFile(built[1]) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            if name != "lab/conf/config.yaml":
                new.writestr(name, old.read(name))
        new.writestr("tests/test_api.py", "")
    with pytest.raises(RunError) as refused:
        archives.check(changed, ROOT, "9.9.9")
    assert str(refused.value) == (
        f"{changed.name}: lab/conf/config.yaml is missing; tests/test_api.py does not belong there; "
        f"the metadata has version {ready.version_of(ROOT)}, not 9.9.9"
    )


def test_an_sdist_with_data_is_refused(built: list[Path], tmp_path: Path) -> None:
    changed = tmp_path / built[0].name
    top = changed.name.removesuffix(".tar.gz")
    with tarfile.open(built[0]) as old:
        old.extractall(tmp_path, filter="data")
    (tmp_path / top / "data").mkdir()
    (tmp_path / top / "data" / "images.npy").write_bytes(b"")
    with tarfile.open(changed, "w:gz") as new:
        new.add(tmp_path / top, arcname=top)
    with pytest.raises(RunError, match=r"gz: data/images\.npy does not belong there$"):
        archives.check(changed, ROOT, ready.version_of(ROOT))


def test_help_says_what_it_does() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "release.py"), "--help"]
    assert "Nothing leaves this machine" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
