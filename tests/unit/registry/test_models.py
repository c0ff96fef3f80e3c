"""Names, tags and sources, and weights that a test writes and serves by file:// URLs."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import lab
from lab.errors import CheckpointError, ConfigError, RegistryError
from lab.registry import models as registry
from lab.registry.names import parse_model_name, split_model_name_tag
from lab.registry.pretrained import load_pretrained


class Tiny(nn.Module):
    """A body and a head."""

    def __init__(self, num_classes: int = 2, width: int = 4) -> None:
        super().__init__()
        self.body = nn.Linear(3, width)
        self.fc = nn.Linear(width, num_classes)


@pytest.fixture(autouse=True)
def _own_registrations() -> Iterator[None]:
    known = set(registry._registered)
    yield
    for name, entry in list(registry._registered.items()):
        if name not in known and not entry.module.startswith("lab."):
            del registry._registered[name]


def write_weights(folder: Path, name: str = "tiny", **changes: int) -> tuple[str, Tiny]:
    """Write the weights of a Tiny and return the file's URL, hash in its name."""
    source = Tiny(**changes)
    for index, parameter in enumerate(source.parameters()):
        nn.init.constant_(parameter, index + 1.5)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(source.state_dict(), folder / "raw.pth")
    digest = hashlib.sha256((folder / "raw.pth").read_bytes()).hexdigest()
    path = (folder / "raw.pth").rename(folder / f"{name}-{digest[:8]}.pth")
    return path.as_uri(), source


def register_tiny(**options: object) -> Callable[..., nn.Module]:
    def tiny(num_classes: int = 2, width: int = 4) -> Tiny:
        return Tiny(num_classes, width)

    registry.register_model(classifier="fc", **options)(tiny)  # type: ignore[call-overload]
    return tiny


def test_names_are_known_without_torch() -> None:
    code = """
import sys
import lab
names = lab.list_models(), lab.list_models('resnet*', pretrained=True)
assert not {'torch', 'pydantic', 'lab.models.resnet.network'} & set(sys.modules)
assert 'resnet50.tv2_in1k' in names[1], names
"""
    subprocess.run([sys.executable, "-c", code], check=True)  # takes 0.05 s on a calm machine


def test_the_scanned_names_are_those_that_importing_registers() -> None:
    scanned = registry._ours()
    for name, entry in scanned.items():
        registry.model_entrypoint(name)
        found = registry._registered[name]
        assert (found.module, found.line) == (entry.module, entry.line)
        assert (found.pretrained, found.classifier, found.converter) == (
            entry.pretrained,
            entry.classifier,
            entry.converter,
        )
    ours = {name for name, entry in registry._registered.items() if entry.module.startswith("lab.")}
    assert ours == set(scanned)


def test_names_in_natural_order() -> None:
    names = registry.list_models("resnet*")
    assert names[:5] == ["resnet18", "resnet20", "resnet32", "resnet34", "resnet44"]
    assert names[-6:] == ["resnet110", "resnet152", "resnet152d", "resnetv1d50", "resnetv1d101", "resnetv1d152"]
    assert registry.list_models(["resnet10*", "resnet34"], exclude="*d") == ["resnet34", "resnet101"]
    assert registry.list_models("resnet50", pretrained=True) == ["resnet50.tv2_in1k", "resnet50.tv_in1k"]
    assert registry.list_models("res*.tv2_in1k", pretrained=True)[0] == "resnet50.tv2_in1k"


@pytest.mark.parametrize(
    ("name", "source", "rest"),
    [
        ("resnet50.tv_in1k", "lab", "resnet50.tv_in1k"),
        ("timm:resnet50.a1_in1k", "timm", "resnet50.a1_in1k"),
        ("local-dir:/some/where", "local-dir", "/some/where"),
        ("hf_hub:owner/name@v1", "hf-hub", "owner/name@v1"),
    ],
)
def test_sources(name: str, source: str, rest: str) -> None:
    assert parse_model_name(name) == (source, rest)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tim:resnet50", "unknown source 'tim'"),
        ("timm:", "empty"),
        ("timm/resnet50", "write 'timm:resnet50'"),
        ("owner/name", "'hf-hub:owner/name' or 'local-dir:owner/name'"),
    ],
)
def test_bad_sources(name: str, message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        parse_model_name(name)


def test_tags_split_at_the_first_dot() -> None:
    assert split_model_name_tag("resnet50.a.b") == ("resnet50", "a.b")
    assert split_model_name_tag("resnet50") == ("resnet50", "")
    assert registry.is_model("resnet50.whatever")
    assert not registry.is_model("resnet51")


def test_unknown_names_and_tags_answer_with_the_closest() -> None:
    with pytest.raises(RegistryError, match="unknown model 'resnet51'; did you mean 'resnet56' or 'resnet50'"):
        lab.create_model("resnet51")
    with pytest.raises(RegistryError, match="not the tag 'tv_in2k'; did you mean 'tv_in1k'"):
        lab.create_model("resnet50.tv_in2k")
    with pytest.raises(ConfigError, match=r"resnet50\.num_class: .*did you mean 'num_classes'"):
        lab.create_model("resnet50", num_class=3)


def test_a_duplicate_names_both_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_tiny()
    register_tiny()  # the same line again: a reload
    for module, name in (("first_package", "tiny"), ("second_package", "resnet50")):
        (tmp_path / f"{module}.py").write_text(
            f"from lab.registry.models import register_model\n\n\n@register_model\ndef {name}():\n    return None\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RegistryError, match=r"'tiny' is registered twice: in .*test_models.*first_package.py:4"):
        __import__("first_package")
    with pytest.raises(RegistryError, match=r"'resnet50' .*resnet.*variants.py:\d+.*second_package.py:4"):
        __import__("second_package")


def test_a_users_package_registers_on_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "third_package.py").write_text(
        "from torch import nn\nfrom lab.registry.models import register_model\n\n\n@register_model\n"
        "def their_model(width: int = 3):\n    return nn.Linear(width, width)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not registry.is_model("their_model")
    __import__("third_package")
    assert registry.list_models("their*") == ["their_model"]
    assert lab.create_model("their_model", width=5).in_features == 5


def test_weights_by_tag_are_fetched_once_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, source = write_weights(tmp_path / "server")
    register_tiny(pretrained={"first": url})
    monkeypatch.setenv("LAB_WEIGHTS_DIR", str(tmp_path / "cache"))
    model = lab.create_model("tiny.first", pretrained=True)
    torch.testing.assert_close(model.state_dict(), source.state_dict())
    cached = tmp_path / "cache" / url.rpartition("/")[2]
    assert [path.name for path in cached.parent.iterdir()] == [cached.name]
    (tmp_path / "server" / cached.name).unlink()
    lab.create_model("tiny", pretrained=True)  # from the cache; the first tag is the default
    cached.write_bytes(cached.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=rf"{cached.name} has SHA-256 .*delete it"):
        lab.create_model("tiny", pretrained=True)


def test_a_download_with_another_hash_is_not_kept(tmp_path: Path) -> None:
    url, _ = write_weights(tmp_path / "server")
    register_tiny(pretrained={"first": {"url": url, "sha256": "0" * 64, "file_name": "tiny.pth"}})
    with pytest.raises(CheckpointError, match="expected 0000"):
        lab.create_model("tiny", pretrained=True, weights_dir=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_absent_weights_are_one_line_with_the_place(tmp_path: Path) -> None:
    url = (tmp_path / "nowhere" / "tiny-01234567.pth").as_uri()
    register_tiny(pretrained={"first": url})
    with pytest.raises(CheckpointError) as caught:
        lab.create_model("tiny", pretrained=True, weights_dir=tmp_path / "cache")
    line = str(caught.value)
    assert "\n" not in line
    assert str(tmp_path / "cache" / "tiny-01234567.pth") in line
    assert url in line


def test_weights_need_a_hash() -> None:
    with pytest.raises(RegistryError, match="no SHA-256"):
        register_tiny(pretrained={"first": "https://example.com/tiny.pth"})


@pytest.mark.parametrize("wrap", ["plain", "model", "lightning", "safetensors"])
def test_local_files(wrap: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    register_tiny()
    _, source = write_weights(tmp_path)
    state = source.state_dict()
    path = tmp_path / ("w.safetensors" if wrap == "safetensors" else "w.pth")
    if wrap == "safetensors":
        save_file(state, path)
    elif wrap == "lightning":
        torch.save({"epoch": 3, "state_dict": {f"net.{key}": value for key, value in state.items()}}, path)
    else:
        torch.save({"model": state} if wrap == "model" else state, path)
    torch.testing.assert_close(lab.create_model("tiny", pretrained=path).state_dict(), state)


class Evil:
    """Would run code when unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return print, ("pickle ran",)


def test_a_file_never_runs_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register_tiny()
    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="cannot be read as tensors alone") as caught:
        lab.create_model("tiny", pretrained=tmp_path / "evil.pth")
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""
    with pytest.raises(CheckpointError, match="do not exist"):
        lab.create_model("tiny", pretrained=tmp_path / "absent.pth")
    with pytest.raises(RegistryError, match="no pretrained weights"):
        lab.create_model("tiny", pretrained=True)


def test_a_head_of_another_class_count_is_dropped_and_said_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url, source = write_weights(tmp_path)
    register_tiny(pretrained={"first": url})
    with caplog.at_level(logging.WARNING):
        model = lab.create_model("tiny", pretrained=True, num_classes=5, weights_dir=tmp_path)
    assert "fc.weight (2, 4) -> (5, 4)" in caplog.text
    assert torch.equal(model.body.weight, source.body.weight)
    with pytest.raises(CheckpointError, match=r"body.weight \(4, 3\) -> \(6, 3\)"):
        lab.create_model("tiny", pretrained=True, width=6, weights_dir=tmp_path)


def test_weights_without_a_head_begin_a_classifier(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All of the head may lack, which is said; a part of it, or anything else, may not."""
    state = Tiny().state_dict()
    register_tiny()
    torch.save({key: value for key, value in state.items() if not key.startswith("fc.")}, tmp_path / "body.pth")
    with caplog.at_level(logging.WARNING):
        model = lab.create_model("tiny", pretrained=str(tmp_path / "body.pth"), num_classes=5)
    assert "it has no weights of fc, which stays as it is, to be trained" in caplog.text
    assert torch.equal(model.body.weight, state["body.weight"])
    for lacking in ("fc.bias", "body.weight"):
        torch.save({key: value for key, value in state.items() if key != lacking}, tmp_path / "part.pth")
        with pytest.raises(CheckpointError, match=f"missing 1 \\({lacking}"):
            lab.create_model("tiny", pretrained=str(tmp_path / "part.pth"))


def test_missing_and_unexpected_keys_are_reported(tmp_path: Path) -> None:
    state = Tiny().state_dict()
    state["boddy.weight"] = state.pop("body.weight")
    torch.save(state, tmp_path / "w.pth")
    register_tiny()
    with pytest.raises(CheckpointError, match=r"missing 1 \(body.weight\); unexpected 1 \(boddy.weight\)"):
        lab.create_model("tiny", pretrained=tmp_path / "w.pth")
    report = load_pretrained(Tiny(), tmp_path / "w.pth", strict=False)
    assert (report.missing, report.unexpected) == (("body.weight",), ("boddy.weight",))


def test_a_backbone_takes_its_part_of_a_classifiers_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = lab.create_model("resnet18", num_classes=2)
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    part = lab.create_model(
        "resnet18", pretrained=tmp_path / "w.pth", features_only=True, out_indices=(2,), norm="frozen_batch_norm"
    )
    assert torch.equal(part.layer2[0].conv1.weight, whole.layer2[0].conv1.weight)
    assert not hasattr(part, "layer3")


def test_a_local_folder(tmp_path: Path) -> None:
    whole = lab.create_model("resnet18", num_classes=3)
    torch.save(whole.state_dict(), tmp_path / "model.pth")
    config = {"architecture": "resnet18", "model_args": {"num_classes": 3}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = lab.create_model(f"local-dir:{tmp_path}", pretrained=True)
    torch.testing.assert_close(model.state_dict(), whole.state_dict())
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        lab.create_model(f"local-dir:{tmp_path}/nowhere")


def test_timm_models_as_backbones() -> None:
    pytest.importorskip("timm")
    model = lab.create_model("timm:resnet18", features_only=True, out_indices=(1, 4))
    assert model.num_channels == (64, 512)
    with pytest.raises(RegistryError, match="did you mean"):
        lab.create_model("timm:resnet5O")
