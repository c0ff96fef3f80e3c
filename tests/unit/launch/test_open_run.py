"""Run directories whose records are damaged or missing: one line, nothing lost, made anew where it can be."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.errors import ConfigError, LabError, RunError
from lab.launch.jobs import Job
from lab.launch.open_run import open_run
from lab.launch.prepare import Prepared, carry_out, prepare_job
from lab.run_directory import RunDirectory
from lab.run_record import read_record

WORDS = ["logger=csv", "seed=3"]
DEEP = "[" * 100_000 + "]" * 100_000


def as_text(text: str) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        file.write_text(text, encoding="utf-8")

    return damage


def as_bytes(file: Path) -> None:
    file.write_bytes(b'{"state": "\xff\xfe"}')


def as_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()
    (file / "mine").write_text("kept")


def as_dead_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def with_entry(**changes: Any) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return damage


def without(*keys: str) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k not in keys}))

    return damage


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no UTF-8": (as_bytes, "not UTF-8"),
    "half": (as_text('{"state": "fini'), "no JSON"),
    "empty": (as_text(""), "no JSON"),
    "deep": (as_text(DEEP), "no JSON"),
    "list": (as_text("[]"), "a JSON list"),
    "null": (as_text("null"), "a JSON NoneType"),
    "number": (as_text("7"), "a JSON int"),
    "no entry": (as_text("{}"), "without state, sources"),
    "folder": (as_folder, "a folder"),
    "dead link": (as_dead_link, "a link that leads nowhere"),
    "without state": (without("state"), "without state"),
    "without result": (without("result"), "without result"),
    "without sources": (without("sources"), "without sources"),
    "without resumed_at": (without("resumed_at", "changes"), "without resumed_at, changes"),
    "unknown state": (with_entry(state="half done"), "with a wrong state"),
    "state of another type": (with_entry(state=["finished"]), "with a wrong state"),
    "result of texts": (with_entry(result={"test/map": "good"}), "with a wrong result"),
    "result a list": (with_entry(result=[1]), "with a wrong result"),
    "resumed at texts": (with_entry(resumed_at=["3"]), "with a wrong resumed_at"),
    "words no texts": (with_entry(overrides=[1]), "with a wrong overrides"),
    "finished without a result": (with_entry(state="finished", result={}), "finished without a result"),
}


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    return prepare_job(WORDS, []).config


@pytest.fixture
def config(composed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return copy.deepcopy(composed)


def trained(config: dict[str, Any], state: str = "interrupted", checkpoint: bool = True) -> Path:
    """Make the directory of a run that was trained and left in ``state``."""
    run, report = open_run(config, [], WORDS)
    assert not report
    (run.path / "metrics.csv").write_text("step,epoch,train/loss\n1,0,2.0\n")
    if checkpoint:
        (run.checkpoints / "last.ckpt").mkdir()
        (run.checkpoints / "last.ckpt" / "index.json").write_text("weights")
    run.end(state, 0, result={"test/map": 0.5} if state == "finished" else {})
    run.release()
    return run.path


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("state", ["interrupted", "finished"])
def test_a_damaged_record_is_written_anew_and_kept(
    config: dict[str, Any], name: str, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained(config, state)
    damage, word = DAMAGES[name]
    damage(path / "run.json")
    before = content(path)
    if name == "state of another type" and state == "finished":
        assert read_record(path / "run.json")[0]["result"]  # what can be read of it counts
    run, report = open_run(config, [], WORDS)
    line = capsys.readouterr().err
    assert word in line
    assert line.count("\n") == 1
    kept = {
        key: value for key, value in content(path).items() if not key.startswith(("run.json", "run.lock", "config"))
    }
    assert kept.items() <= before.items()
    assert kept["checkpoints/last.ckpt/index.json"] == b"weights"
    if report:  # nothing is written where there is nothing to do
        assert (state, run.record["result"]) == ("finished", {"test/map": 0.5})
        assert content(path).keys() == before.keys()
    else:
        record, damage_left = read_record(run.file)
        assert damage_left == ""
        assert record["state"] == "running"
        old = path / "run.json.damaged"
        assert old.is_symlink() or old.exists()
        if old.is_file():
            assert old.read_bytes() == before["run.json"]
    run.release()


def test_a_record_that_is_damaged_twice_is_kept_twice(config: dict[str, Any]) -> None:
    path = trained(config)
    for text in ("one", "two"):
        (path / "run.json").write_text(text)
        open_run(config, [], WORDS)[0].release()
    assert [(path / f"run.json.damaged{number}").read_text() for number in ("", "1")] == ["one", "two"]


@pytest.mark.parametrize("name", DAMAGES)
def test_resume_never_keeps_a_damaged_run_aside(config: dict[str, Any], name: str) -> None:
    path = trained(config)
    DAMAGES[name][0](path / "run.json")
    before = content(path)
    run, report = open_run({**config, "resume": "never"}, [], WORDS)
    assert (run.path, report, run.is_new) == (path, False, True)
    assert content(path.with_name(f"{path.name}~1")) == before
    run.release()


def test_resume_never_keeps_a_run_without_a_record_aside(config: dict[str, Any]) -> None:
    path = trained(config)
    (path / "run.json").unlink()
    open_run({**config, "resume": "never"}, [], WORDS)[0].release()
    assert (path.with_name(f"{path.name}~1") / "checkpoints" / "last.ckpt" / "index.json").read_text() == "weights"


MISSING = [(), ("run.json",), ("metrics.csv",), ("config.yaml",), ("run.json", "metrics.csv", "config.yaml")]


@pytest.mark.parametrize("missing", MISSING, ids=" ".join)
@pytest.mark.parametrize("left", ["last.ckpt", "best.ckpt", "previous.ckpt", ".last.ckpt.old", "metrics.csv"])
def test_what_has_trained_is_never_discarded(config: dict[str, Any], missing: tuple[str, ...], left: str) -> None:
    path = trained(config, checkpoint=False)
    if left != "metrics.csv":
        (path / "checkpoints" / left).mkdir()
        (path / "checkpoints" / left / "index.json").write_text("weights")
    for name in missing:
        if name != left:
            (path / name).unlink()
    run, _ = open_run(config, [], WORDS)
    with pytest.raises(LabError):
        carry_out(Job("fit", config), run, lambda: refuse(RunError("no")))
    kept = (
        path / "metrics.csv" if left == "metrics.csv" else path / "checkpoints" / left.strip(".").removesuffix(".old")
    )
    assert kept.exists()


def refuse(error: Exception) -> None:
    raise error


def test_a_refused_new_run_leaves_nothing(config: dict[str, Any], tmp_path: Path) -> None:
    run, _ = open_run(config, [], WORDS)
    with pytest.raises(ConfigError):
        carry_out(Job("fit", config), run, lambda: refuse(ConfigError("no")))
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("trace", ["steps", "notes.txt"])
def test_a_refused_run_that_took_a_step_stays(config: dict[str, Any], trace: str) -> None:
    run = RunDirectory(Path("runs/x"))
    if trace == "notes.txt":  # a file of the user's, put there before
        run.path.mkdir(parents=True)
        (run.path / trace).write_text("mine")
    run.lock()
    run.begin(config, WORDS, "s")
    if trace == "steps":
        run.update(steps=1)
    with pytest.raises(ConfigError):
        carry_out(Job("fit", config), run, lambda: refuse(ConfigError("no")))
    assert run.file.exists()
    assert (run.path / trace).exists() == (trace == "notes.txt")


def test_a_run_that_another_process_has_finished_meanwhile_is_not_new(config: dict[str, Any]) -> None:
    run = RunDirectory(Path(config["paths"]["runs_dir"]) / "x")
    assert run.is_new
    other = RunDirectory(run.path)
    other.lock()
    other.begin(config, WORDS, "s")
    other.end("finished", 0, result={"test/map": 1.0})
    other.release()
    run.lock()
    assert (run.is_new, run.state) == (False, "finished")
    run.release()


@pytest.mark.parametrize("name", ["checkpoints", "checkpoints as a dead link", "config.yaml", "run.lock"])
def test_other_names_that_are_not_what_they_should_be(
    config: dict[str, Any], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained(config, checkpoint=False)
    if name.startswith("checkpoints"):
        shutil.rmtree(path / "checkpoints")
        if name == "checkpoints":
            (path / name).write_text("a file")
        else:
            (path / "checkpoints").symlink_to("nowhere")
        with pytest.raises(RunError, match=r"checkpoints is .*resume=never"):
            open_run(config, [], WORDS)
    elif name == "config.yaml":
        as_folder(path / name)
        open_run(config, [], WORDS)[0].release()
        assert capsys.readouterr().err.count("\n") == 1
        assert (path / "config.yaml.damaged" / "mine").read_text() == "kept"
        assert yaml.safe_load((path / name).read_text())["seed"] == 3
        return
    else:
        as_folder(path / name)
        with pytest.raises(RunError, match="cannot be written"):
            open_run(config, [], WORDS)
    assert (path / "metrics.csv").exists()
    assert read_record(path / "run.json")[0]["state"] == "interrupted"


@pytest.mark.parametrize("text", [None, "", "[1]", "trainer: 3", "trainer: {max_steps: many}", "a: [", b"\xff\xfe"])
def test_a_named_run_goes_on_without_its_config(
    config: dict[str, Any], text: str | bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained(config)
    file = path / "config.yaml"
    file.unlink() if text is None else file.write_bytes(text if isinstance(text, bytes) else text.encode())
    run, report = open_run({**config, "resume": str(path)}, [], WORDS)
    assert not report
    assert capsys.readouterr().err.count("\n") <= 1
    assert yaml.safe_load(file.read_text())["seed"] == 3
    assert run.record["changes"]
    run.release()


def test_hidden_files_of_the_user_stay(config: dict[str, Any]) -> None:
    path = trained(config)
    for name in (".gitignore", ".dvc", ".run.json.123", ".wandb.json.tmp"):
        (path / name).write_text(name)
    open_run(config, [], WORDS)[0].release()
    assert sorted(file.name for file in path.glob(".*")) == [".dvc", ".gitignore"]


def finished(made: Prepared) -> tuple[RunDirectory, Path]:
    """Return the run of a job as it is after its end, and its best checkpoint, which holds nothing."""
    run, _ = open_run(made.config, [], made.words)
    best = run.checkpoints / "best.ckpt"
    best.mkdir()
    (best / "index.json").write_text("{}")
    run.end("finished", 0, result={"test/map": 1.0})
    run.release()
    return run, best


NAMED = [("{}", "runs", ""), ("'{}'", "my runs", ""), ('"{}"', "my runs", ""), ("'{}'", "runs", "++")]


@pytest.mark.parametrize(("form", "folder", "sign"), NAMED)
def test_words_are_inherited_however_the_run_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, folder: str, sign: str
) -> None:
    monkeypatch.chdir(tmp_path)
    made = prepare_job([*WORDS, "data.num_val=16", f"paths.runs_dir='{folder}'"], [])
    run, best = finished(made)
    stage = f"{sign}stage={form.format('test')}"
    tested = prepare_job([stage, f"{sign}ckpt={form.format(best)}"], [])
    assert (tested.config["data"]["num_val"], tested.config["seed"], tested.config["stage"]) == (16, 3, "test")
    assert tested.path.resolve() == run.path.resolve()
    resumed = prepare_job([f"{sign}resume={form.format(run.path)}"], [])
    assert (resumed.config["data"]["num_val"], resumed.config["seed"]) == (16, 3)
    assert open_run(resumed.config, [], resumed.words)[1]  # it is finished: its result is reported, nothing is trained


def test_another_network_than_the_trained_one_is_refused(config: dict[str, Any]) -> None:
    """It would be ignored: the checkpoint says what the network is."""
    made = prepare_job([*WORDS, "model.net.num_queries=7", f"paths.runs_dir={config['paths']['runs_dir']}"], [])
    _, best = finished(made)
    stage = ["stage=test", f"ckpt={best}"]
    for same in (["model.net.num_queries=7"], ["model=detr_tiny"], []):
        assert prepare_job([*stage, *same], []).config["model"]["net"]["num_queries"] == 7
    said = "model.net.num_queries=8: stage=test takes the network of ckpt as it was trained, with num_queries=7"
    with pytest.raises(ConfigError, match=said):
        prepare_job([*stage, "model.net.num_queries=8"], [])


def test_words_are_inherited_of_a_path_that_the_config_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = prepare_job([*WORDS, "data.num_val=16"], [])
    run, _ = open_run(made.config, [], made.words)
    run.end("interrupted", 130)
    run.release()
    monkeypatch.setenv("MY_RUN", str(run.path))
    for word in ("resume=${oc.env:MY_RUN}", f"resume='${{paths.runs_dir}}/{run.path.name}'"):
        assert prepare_job([word], []).config["data"]["num_val"] == 16


@pytest.mark.parametrize("record", ["[]", None, "{}"])
def test_a_run_whose_words_are_lost_is_no_reason_to_measure_other_data(
    config: dict[str, Any], record: str | None
) -> None:
    path = trained(config)
    best = path / "checkpoints" / "best.ckpt"
    best.mkdir()
    (best / "index.json").write_text("{}")
    (path / "run.json").unlink()
    if record is not None:
        (path / "run.json").write_text(record)
    with pytest.raises(RunError, match="the overrides of this run are not known"):
        prepare_job(["stage=test", f"ckpt='{best}'"], [])


def test_an_earlier_damaged_checkpoint_is_not_replaced(tmp_path: Path) -> None:
    from lab.experiment.start import _free_name

    names = []
    for _ in range(3):
        names.append(_free_name(tmp_path / "damaged.ckpt"))
        names[-1].mkdir()
    assert [name.name for name in names] == ["damaged.ckpt", "damaged-1.ckpt", "damaged-2.ckpt"]
