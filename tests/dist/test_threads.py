"""The number of threads that the parent has decided holds on every rank, for torch and in the environment."""

from __future__ import annotations

import os
from unittest import mock

import torch

from lab.launch import jobs
from lab.launch.jobs import Job
from lab.system.ranks import Place
from tests.distributed import run_distributed


def threads_of(rank: int, text: str) -> list[tuple[int, str]]:
    """Run the job on this rank up to its work; return the threads there."""
    seen = []

    def work(*_: object) -> None:
        seen.append((torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]))

    with mock.patch.object(jobs, "_run_job", work):
        jobs.run_job(Job.from_json(text), Place(rank, rank, 2, 2))
    return seen


def test_all_ranks_compute_with_the_job_s_threads() -> None:
    for number in (1, 3):
        found = run_distributed(threads_of, 2, (Job("fit", {}, threads=number).to_json(),))
        assert found == 2 * [[(number, str(number))]]
