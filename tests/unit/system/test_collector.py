"""``lab.system.collector``."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from lab.system.collector import SELDOM, collect_as_usual, collect_seldom


def test_thresholds_come_back() -> None:
    before = gc.get_threshold()
    collect_as_usual()
    assert gc.get_threshold() == before
    for _ in range(2):  # the second time changes nothing
        collect_seldom()
        assert gc.get_threshold() == (SELDOM, *before[1:])
    collect_as_usual()
    assert gc.get_threshold() == before


def test_objects_are_set_aside_where_cycles_are_seldom_looked_for() -> None:
    program = (
        "import gc\n"
        "from lab.system.collector import collect_seldom, set_aside\n"
        "set_aside()\n"
        "assert not gc.get_freeze_count()\n"
        "collect_seldom()\n"
        "set_aside()\n"
        "assert gc.get_freeze_count() > 1000\n"
        "class Node: pass\n"
        "node = Node(); node.self = node; del node\n"
        "assert gc.collect()"  # what comes later is looked at
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_a_job_sets_its_imports_aside() -> None:
    program = (
        "import gc, sys\n"
        "from lab.cli.main import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "assert gc.get_freeze_count() > 100_000"
    )
    command = [sys.executable, "-c", program, "check=true", "trainer=cpu"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_triton_has_nothing_to_complain_of() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    program = "import triton\nfrom lab.system.collector import collect_seldom, set_aside\ncollect_seldom()\nset_aside()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
