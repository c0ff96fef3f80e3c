"""OmegaConf reads the same by libyaml as by its own class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf, _utils

from lab.compat.omegaconf import CParser, by_libyaml

ROOT = Path(__file__).resolve().parents[3]
ODD = {
    "numbers": "a: 1e-3\nb: 1E5\nc: 1_000\nd: 0x1F\ne: .5\nf: 1e3\ng: .inf\nh: -.nan\ni: 010\nj: 1:30\nk: '1'\n",
    "words": 'a: yes\nb: null\nc: ~\nd: true\ne: 2026-11-30\nf: ${oc.env:HOME}\ng: "\\u00e9"\nh: é\n',
    "anchors": "a: &x {b: 1}\nc:\n  <<: *x\n  d: 2\n",
    "blocks": "a: |\n  two\n  lines\nb: >-\n  one\n  line\n",
    "lists": "- 1\n- [a, {b: c}]\n- {}\n",
    "nothing": "",
    "a comment": "# nothing\n",
}
BAD = {
    "twice": "a: 1\nb: 2\na: 3\n",
    "twice below": "c:\n  a: 1\n  a: 3\n",
    "open": "a: [1\n",
    "indented": "a: 1\n  b: 2\n",
    "tab": "a:\n\tb: 2\n",
    "tag": "a: !!python/object/apply:os.system [ls]\n",
    "two documents": "a: 1\n---\nb: 2\n",
    "control": "a: \x07\n",
    "alias": "a: *b\n",
}


def read(path: Path) -> Any:
    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except (yaml.YAMLError, OSError) as error:
        return f"{type(error).__name__}: {error}"


def both(path: Path) -> tuple[Any, Any]:
    with by_libyaml():
        fast = read(path)
    return fast, read(path)


def test_by_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    own = _utils.get_yaml_loader
    with by_libyaml(), by_libyaml():
        assert issubclass(_utils.get_yaml_loader(), CParser)
    assert _utils.get_yaml_loader is own
    with pytest.raises(KeyError), by_libyaml():
        raise KeyError
    assert _utils.get_yaml_loader is own
    monkeypatch.setattr("lab.compat.omegaconf.CParser", None)
    with by_libyaml():
        assert _utils.get_yaml_loader is own


def test_all_files_of_conf_read_the_same() -> None:
    paths = [path for path in sorted((ROOT / "conf").rglob("*.yaml")) if path.is_file()]
    assert len(paths) > 100
    for path in paths:
        fast, slow = both(path)
        assert fast == slow, path
        assert not isinstance(slow, str)


@pytest.mark.parametrize("name", ODD)
def test_odd_documents_read_the_same(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(ODD[name], encoding="utf-8")
    fast, slow = both(path)
    assert repr(fast) == repr(slow)  # repr: nan equals no nan
    assert not isinstance(slow, str)


@pytest.mark.parametrize("name", BAD)
def test_errors_have_the_same_words(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(BAD[name], encoding="utf-8")
    fast, slow = both(path)
    assert fast == slow
    assert "a.yaml" in slow
