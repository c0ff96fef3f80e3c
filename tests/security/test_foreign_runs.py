"""A stranger's run directory: what its record and its config folders ask for never has a package imported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.errors import ConfigError
from lab.launch.open_run import open_run
from lab.launch.prepare import prepare_job
from lab.launch.rerun import prepare_rerun

PACKAGE = "evil_pkg"
ASK = f"extensions=[{PACKAGE}]"
RECIPE = f"# @package _global_\nextensions: [{PACKAGE}]\nseed: 5\n"


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory as it came from somebody else, a package of that name in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / PACKAGE).mkdir()
    (tmp_path / PACKAGE / "__init__.py").write_text("raise SystemExit('imported')")
    made = prepare_job(["logger=csv", "data.num_val=16"], [])
    run, _ = open_run(made.config, [], made.words)
    best = run.checkpoints / "best.ckpt"
    best.mkdir()
    (best / "index.json").write_text("{}")
    run.end("interrupted", 130)
    run.release()
    for folder in ("theirs", "mine"):
        (tmp_path / folder / "experiments").mkdir(parents=True)
        (tmp_path / folder / "experiments" / "recipe.yaml").write_text(RECIPE)
    return run.path


def ask(run: Path, words: list[str], folders: list[str] | None = None) -> None:
    record = json.loads((run / "run.json").read_text())
    record |= {"overrides": [*record["overrides"], *words]}
    record |= {"config_dirs": [str(Path(folder).resolve()) for folder in folders or []]}
    (run / "run.json").write_text(json.dumps(record))


def uses(run: Path) -> list[list[str]]:
    best = f"ckpt={run / 'checkpoints' / 'best.ckpt'}"
    return [["stage=test", best], ["stage=predict", best, "input=."], [f"resume={run}"], [f"++resume='{run}'"]]


ASKED = {
    "a word": ([ASK], []),
    "a word with a sign": ([f"++{ASK}"], []),
    "two words": (["extensions=[]", ASK], []),
    "a word before others": ([ASK, "seed=4"], []),
    "a recipe in its own folder": (["experiments=recipe"], ["theirs"]),
    "a recipe, and a key of it": (["experiments=recipe", "seed=4"], ["theirs"]),
}


@pytest.mark.parametrize("how", ASKED)
def test_a_run_directory_has_no_package_imported(theirs: Path, how: str) -> None:
    ask(theirs, *ASKED[how])
    for words in uses(theirs):
        with pytest.raises(ConfigError, match=r"to be imported, evil_pkg, .* add extensions=\[evil_pkg\]"):
            prepare_job(words, [])
        assert prepare_job([*words, "extensions=[]"], []).config["extensions"] == []


@pytest.mark.parametrize("how", ASKED)
def test_the_users_own_words_vouch(theirs: Path, how: str) -> None:
    ask(theirs, *ASKED[how])
    for words in uses(theirs):
        found = prepare_job([*words, ASK], []).config
        assert (found["extensions"], found["data"]["num_val"]) == ([PACKAGE], 16)


def test_the_users_own_config_folder_vouches(theirs: Path) -> None:
    ask(theirs, ["experiments=recipe"], ["mine"])
    for words in uses(theirs):
        with pytest.raises(ConfigError, match="add extensions="):
            prepare_job(words, [])
        found = prepare_job(words, ["mine"]).config
        assert (found["extensions"], found["seed"]) == ([PACKAGE], 5)


def test_more_than_the_user_vouches_for_is_refused(theirs: Path) -> None:
    ask(theirs, ["experiments=recipe", "extensions=[evil_pkg,my_pkg]"], ["mine"])
    with pytest.raises(ConfigError, match=r"imported, my_pkg, .* add extensions=\[evil_pkg,my_pkg\]"):
        prepare_job([f"resume={theirs}"], ["mine"])


@pytest.mark.parametrize("how", ASKED)
def test_a_rerun_has_no_package_imported(theirs: Path, how: str) -> None:
    ask(theirs, *ASKED[how])
    with pytest.raises(ConfigError, match=r"to be imported, evil_pkg, .* add extensions=\[evil_pkg\]"):
        prepare_rerun(theirs)
