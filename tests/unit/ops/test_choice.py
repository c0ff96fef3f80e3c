"""Which way is taken, where the answer is kept, and who else may ask."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lab.errors import ConfigError
from lab.ops import choice
from lab.ops.choice import Choices, choices, kernels, processor, size_class, timed
from lab.ops.cpu import plain_float32

ABOUT = {"version": 1}


def busy(milliseconds: float) -> Callable[[], None]:
    """Return what takes this time of the processor."""

    def run() -> None:
        end = time.thread_time() + milliseconds / 1e3
        while time.thread_time() < end:
            pass

    return run


def never() -> None:
    raise AssertionError("it was timed")


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As users have it, with one thread; other tests take PyTorch's way (tests/conftest.py)."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setenv("LAB_KERNELS", "measured")
    kernels.cache_clear()
    yield
    kernels.cache_clear()


@pytest.mark.parametrize(("own", "taken"), [(1.0, "own"), (1.97, "torch"), (4.0, "torch")])
def test_the_quicker_way_is_taken_if_it_is_clearly_so(tmp_path: Path, own: float, taken: str) -> None:
    table = Choices(tmp_path / "table.json", ABOUT)
    ways = {"torch": busy(2.0), "own": busy(own)}
    assert table.fastest("product", (3, 4), lambda: ways) == taken
    kept = json.loads((tmp_path / "table.json").read_text())
    assert kept["about"] == ABOUT
    assert kept["chosen"]["product 3 4"]["way"] == taken
    assert kept["chosen"]["product 3 4"]["ms"]["torch"] == pytest.approx(2.0, abs=0.5)


def test_later_processes_read_what_one_has_measured(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.json"
    Choices(path, ABOUT).fastest("product", (1,), lambda: {"torch": busy(1), "own": busy(0.2)})
    later = Choices(path, ABOUT)
    assert later.fastest("product", (1,), lambda: {"torch": never, "own": never}) == "own"
    with pytest.raises(AssertionError, match="timed"):
        later.fastest("product", (2,), lambda: {"torch": never, "own": never})


@pytest.mark.parametrize("damage", ["cut", "text", "list", "other machine", "way of old"])
def test_what_cannot_be_read_is_measured_anew(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "table.json"
    entry = {"product 1": {"way": "gone" if damage == "way of old" else "own", "ms": {}}}
    whole = json.dumps({"about": {"version": 0} if damage == "other machine" else ABOUT, "chosen": entry})
    texts = {"cut": whole[:-9], "text": "x", "list": "[]"}
    path.write_text(texts.get(damage, whole))
    ways = {"torch": busy(0.2), "own": busy(1)}
    assert Choices(path, ABOUT).fastest("product", (1,), lambda: ways) == "torch"
    assert json.loads(path.read_text())["chosen"]["product 1"]["way"] == "torch"


def test_where_nothing_can_be_written_the_answer_holds_for_the_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    table = Choices(tmp_path / "file" / "table.json", ABOUT)
    assert table.fastest("product", (1,), lambda: {"torch": busy(1), "own": busy(0.2)}) == "own"
    assert table.fastest("product", (1,), lambda: {"torch": never, "own": never}) == "own"


def test_a_process_that_holds_the_lock_for_ever_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "PATIENCE", 0.05)
    path = tmp_path / "table.json"
    with path.with_suffix(".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        way = Choices(path, ABOUT).fastest("product", (1,), lambda: {"torch": busy(1), "own": busy(0.2)})
    assert way == "own"
    assert not path.exists()


def test_a_way_that_has_lost_is_timed_in_the_first_round_only() -> None:
    calls: list[str] = []
    slow, fast = busy(3), busy(0.5)
    times = timed({"torch": lambda: (calls.append("torch"), fast()), "own": lambda: (calls.append("own"), slow())})
    assert calls.count("own") == 1 + choice.AGAIN
    assert calls.count("torch") == choice.ROUNDS + choice.AGAIN
    assert times["torch"] < times["own"]


def test_what_a_first_call_costs_once_does_not_count() -> None:
    """oneDNN compiles a kernel in it, which takes longer than many a product."""
    once = iter([busy(5), busy(2)])
    fast, faster = busy(1), busy(0.4)
    times = timed({"torch": fast, "own": lambda: (next(once, int)(), faster())})
    assert times["own"] < times["torch"] < 5


def test_a_way_that_has_to_choose_itself(tmp_path: Path) -> None:
    """MobileNet's blocks are timed whole, and the products in them are chosen meanwhile."""
    path = tmp_path / "t.json"
    outer = Choices(path, ABOUT)

    def within() -> None:
        inner = {"torch": busy(20), "own": busy(1)}
        assert outer.fastest("product", (1,), lambda: inner) == "own"
        inner["own"]()

    assert outer.fastest("block", (1,), lambda: {"torch": busy(8), "own": within}) == "own"
    chosen = json.loads(path.read_text())["chosen"]
    assert {name: entry["way"] for name, entry in chosen.items()} == {"block 1": "own", "product 1": "own"}
    assert chosen["block 1"]["ms"]["own"] < 8  # without the time in which the product was measured
    again = Choices(path, ABOUT)
    assert again.fastest("block", (1,), lambda: {"torch": never, "own": never}) == "own"


def test_nothing_is_measured_where_algorithms_are_deterministic(tmp_path: Path) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        assert (
            Choices(tmp_path / "t", ABOUT).fastest("product", (1,), lambda: {"torch": never, "own": never}) == "torch"
        )
    finally:
        torch.use_deterministic_algorithms(False)


def test_each_number_of_threads_has_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_KERNELS_DIR", str(tmp_path))
    choice._choices.cache_clear()
    one = choices()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    two = choices()
    choice._choices.cache_clear()
    assert one.path.parent == two.path.parent == tmp_path
    assert one.path != two.path
    assert (one.about["threads"], two.about["threads"]) == (1, 2)
    assert one.about["processor"] == processor() != {}


@pytest.mark.parametrize("said", ["", "measured", "fixed", "torch"])
def test_the_variable_switches_them_off(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_KERNELS", said)
    kernels.cache_clear()
    assert plain_float32(torch.ones(1)) == (said != "torch")
    way = Choices(tmp_path / "table.json", ABOUT).fastest("p", (1,), lambda: {"torch": busy(1), "own": busy(0.2)})
    assert way == ("own" if said in ("", "measured") else "torch")


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_KERNELS", "fast")
    kernels.cache_clear()
    with pytest.raises(ConfigError, match="LAB_KERNELS=fast: it is one of measured, fixed, torch"):
        kernels()


def test_classes_of_sizes() -> None:
    assert [size_class(count) for count in (0, 1, 2, 3, 4, 7, 8)] == [1, 1, 2, 2, 3, 3, 4]


def test_two_processes_give_the_same_bits(tmp_path: Path) -> None:
    """The second reads the table of the first, so that it takes the same ways."""
    script = (
        "import torch; from lab.ops.convolution import conv3x3; torch.manual_seed(0);"
        "x = torch.randn(2, 64, 32, 32).to(memory_format=torch.channels_last).requires_grad_();"
        "w = torch.randn(64, 64, 3, 3, requires_grad=True); conv3x3(x, w).square().sum().backward();"
        "print(x.grad.double().sum().item(), w.grad.double().sum().item())"
    )
    environment = {**os.environ, "LAB_KERNELS_DIR": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert said[0].stdout == said[1].stdout != ""
    (table,) = tmp_path.glob("*.json")
    assert len(json.loads(table.read_text())["chosen"]) == 3
