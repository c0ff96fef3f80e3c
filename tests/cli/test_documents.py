"""The commands of README and docs that are marked so are run, on tiny settings; ``tests/documents.py`` says how."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data_factory import make_coco, make_image
from tests.documents import ROOT, TUTORIALS, Shown, all_commands
from tests.runs import Runs, only_run, record

SHOWN = [shown for shown in all_commands() if shown.how == "run" and shown.text.parent != TUTORIALS]


def run(shown: Shown, runs: Runs, folder: Path, stand_ins: dict[str, Path]) -> None:
    """Run the commands of a line; a word in capitals and the like stands for a path."""
    for words in shown.words:
        own = []
        for word in words:
            for name, path in stand_ins.items():
                word = word.replace(name, str(path))
            own.append(word)
        command = runs.run(*own, *shown.more, folder=folder)
        assert command.code == 0, command.out[-2000:] + command.err
        assert "Traceback" not in command.err


@pytest.fixture(scope="module")
def first(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that README's first command leaves."""
    folder = tmp_path_factory.mktemp("readme")
    (shown,) = [shown for shown in SHOWN if shown.words == ((),) and shown.text == ROOT / "README.md"]
    run(shown, runs, folder, {})
    return only_run(folder)


@pytest.mark.parametrize("shown", SHOWN, ids=str)
def test_a_command_runs(shown: Shown, runs: Runs, first: Path, tmp_path: Path) -> None:
    stand_ins = {"runs/NAME": first, "photos/": tmp_path / "photos", "=DIR": Path(f"={tmp_path / 'coco'}")}
    if any("DIR" in word for word in shown.words[0]):
        for split in ("train2017", "val2017"):
            make_coco(tmp_path / "coco", split=split)
    (tmp_path / "photos").mkdir()
    make_image(20, 30).save(tmp_path / "photos" / "a.png")
    if shown.words == ((),):
        assert record(first)["state"] == "finished"
        assert "test/map_50" in record(first)["result"]
    else:
        run(shown, runs, tmp_path, stand_ins)
