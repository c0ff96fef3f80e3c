"""The memory that is left, from files as Linux writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.system.memory import available_memory


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, proc__meminfo="MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    return tmp_path


def test_without_a_limit_it_is_what_the_kernel_calls_available(root: Path) -> None:
    assert available_memory(root) == 5000 * 1024


def test_the_tightest_cgroup_above_the_process_counts(root: Path) -> None:
    write(root, proc__self__cgroup="0::/job/step\n")
    group = "sys__fs__cgroup__job"
    write(root, **{f"{group}__memory_dot_max": "3000000\n", f"{group}__memory_dot_current": "1000000\n"})
    write(root, **{f"{group}__memory_dot_stat": "anon 5\ninactive_file 250000\n"})
    step = f"{group}__step"
    write(root, **{f"{step}__memory_dot_max": "max\n", f"{step}__memory_dot_current": "900000\n"})
    assert available_memory(root) == 3000000 - 1000000 + 250000


def test_a_cgroup_of_the_first_version(root: Path) -> None:
    write(root, proc__self__cgroup="5:cpu,cpuacct:/x\n4:memory:/x\n0::/\n")
    folder = root / "sys/fs/cgroup/memory/x"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text("2000000\n")
    (folder / "memory.usage_in_bytes").write_text("500000\n")
    (folder / "memory.stat").write_text("total_inactive_file 100\n")
    assert available_memory(root) == 1500100


def test_elsewhere_it_is_all_that_there_is(tmp_path: Path) -> None:
    assert available_memory(tmp_path) > 2**28
