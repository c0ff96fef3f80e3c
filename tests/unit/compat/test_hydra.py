"""Hydra's parser takes words apart as the config needs it: each test has the name of its function."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, OverrideParseException

from lab.compat import hydra as compat


def test_parse_override() -> None:
    override = compat.parse_override("++model.net.depth='50'")
    assert (override.get_key_element().lstrip("+~"), override.value()) == ("model.net.depth", "50")
    assert compat.parse_override("a=[1,{b:c}]").value() == [1, {"b": "c"}]
    with pytest.raises(HydraException):
        compat.parse_override("a=[1")


def test_parse_overrides() -> None:
    first, second = compat.parse_overrides(["a=1", "b=x,y"])
    assert (first.input_line, second.input_line) == ("a=1", "b=x,y")
    assert list(second.sweep_string_iterator()) == ["x", "y"]
    with pytest.raises(OverrideParseException) as refused:
        compat.parse_overrides(["a=1", "b=[1"])
    assert refused.value.override == "b=[1"


@pytest.mark.parametrize(
    ("word", "many"),
    [("a=1", False), ("a=[1,2]", False), ("a=1,2", True), ("a=range(3)", True), ("a=interval(0,1)", True)],
)
def test_is_many(word: str, many: bool) -> None:
    override = compat.parse_override(word)
    assert compat.is_many(override, override.value()) is many
    assert not many or override.is_sweep_override()


def test_is_glob() -> None:
    value = compat.parse_override("model=glob(detr*)").value()
    assert compat.is_glob(value)
    assert value.filter(["detr", "swin", "detr_tiny"]) == ["detr", "detr_tiny"]
    assert not compat.is_glob(compat.parse_override("model=detr").value())


def test_forget_composed(tmp_path: Path) -> None:
    initialize_config_dir(str(tmp_path), version_base="1.3")  # of a caller, who never leaves it
    with pytest.raises(ValueError, match="already initialized"):
        initialize_config_dir(str(tmp_path), version_base="1.3")
    compat.forget_composed()
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        pass


def test_composed_by_caller_and_give_back(tmp_path: Path) -> None:
    compat.forget_composed()
    assert compat.composed_by_caller() is None
    initialize_config_dir(str(tmp_path), version_base="1.3")
    before = compat.composed_by_caller()
    compat.forget_composed()
    compat.give_back(before)
    with pytest.raises(ValueError, match="already initialized"):
        initialize_config_dir(str(tmp_path), version_base="1.3")
    compat.forget_composed()


class Upper(compat.FolderSource):
    """Reads folders whose name stands behind another scheme."""

    read: ClassVar[list[str]] = []

    @staticmethod
    def scheme() -> str:
        return "lab-test"

    def load_config(self, config_path: str) -> object:
        self.read.append(self.file_of(config_path))
        return super().load_config(config_path)


def test_folder_source_and_register_source(tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "config.yaml").write_text("defaults: [group: one]\n")
    (tmp_path / "mine" / "group").mkdir(parents=True)
    (tmp_path / "mine" / "group" / "one.yaml").write_text("a: 1\n")
    compat.register_source(Upper)
    compat.register_source(Upper)
    compat.forget_composed()
    with initialize_config_dir(str(tmp_path / "main"), version_base="1.3"):
        config = compose("config", [f"hydra.searchpath=['lab-test://{tmp_path}/mine']"])
    assert config == {"group": {"a": 1}}
    assert f"{tmp_path}/mine/group/one.yaml" in Upper.read


def test_is_interval() -> None:
    floats, whole = (compat.parse_override(word).value() for word in ("a=interval(1,8)", "a=int(interval(1,8))"))
    assert compat.is_interval(floats)
    assert compat.is_interval(whole)
    assert (type(floats.start), type(whole.start)) == (float, int)
    assert not compat.is_interval(compat.parse_override("a=range(1,8)").value())


def test_is_range() -> None:
    found = compat.parse_override("a=range(0,1,0.1)").value()
    assert compat.is_range(found)
    assert found.step == 0.1
    assert not compat.is_range(compat.parse_override("a=1,2").value())


def test_choices_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A default that interpolates another one's choice is resolved as ever; no map is made where none does."""
    for name, content in {
        "config": "defaults: [{size: small}, {shape: '${size}'}]",
        "plain": "defaults: [{size: small}, {shape: small}]",
        "size/small": "n: 1",
        "size/large": "n: 2",
        "shape/small": "side: 3",
        "shape/large": "side: 4",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(content)
    made: list[object] = []
    original = compat._defaults_list._create_interpolation_map
    monkeypatch.setattr(
        compat._defaults_list, "_create_interpolation_map", lambda *args: (made.append(args), original(*args))[1]
    )
    compat.forget_composed()
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        wanted = compose("config", ["size=large"])
        assert len(made) > 1
        made.clear()
        with compat.choices_when_asked():
            assert compose("config", ["size=large"]) == wanted == {"size": {"n": 2}, "shape": {"side": 4}}
            assert len(made) == 1
            assert compose("plain", []) == {"size": {"n": 1}, "shape": {"side": 3}}
        assert len(made) == 1
        with pytest.raises(HydraException), compat.choices_when_asked():
            compose("config", ["size=none"])
        compose("config")
    assert len(made) > 2  # Hydra's own again
