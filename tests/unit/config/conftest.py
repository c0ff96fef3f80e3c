"""A composed and checked config, and a folder of one's own groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lab.config.compose import Composed, compose_config
from lab.errors import LabError
from lab.launch.targets import check_all

Check = Callable[..., Composed]
Refuse = Callable[..., str]


@pytest.fixture
def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Compose and check in an empty folder, as a command there would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAB_DATA_DIR", raising=False)

    def check(*words: str, dirs: Sequence[Path] = (), machine: bool = True) -> Composed:
        composed = compose_config(words, map(str, dirs))
        check_all(composed, machine=machine)
        return composed

    return check


@pytest.fixture
def refused(checked: Check) -> Refuse:
    """Return the one line with which a command is refused."""

    def refuse(*words: str, dirs: Sequence[Path] = ()) -> str:
        with pytest.raises(LabError) as caught:
            checked(*words, dirs=dirs)
        line = str(caught.value)
        assert "\n" not in line
        for noise in ("full_key", "object_type", "HYDRA_FULL_ERROR", "hydra.cc", "pydantic", "_target_ field"):
            assert noise not in line
        return line

    return refuse


@pytest.fixture
def mine(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a YAML file into a folder of one's own groups and return that folder."""

    def write(name: str, content: str) -> Path:
        file = tmp_path / "mine" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        return tmp_path / "mine"

    return write
